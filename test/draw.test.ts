/** `deepseek-ts draw` in its own processes, with small models of random weights: pictures, batches that are cut short, refusals. */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseCaption } from "../src/data/world/captions.ts";
import { readScene } from "../src/data/world/checker.ts";
import { worldCheckpoint } from "../src/data/world/testing-checkpoints.ts";
import { judge } from "../src/data/world/verdict.ts";
import { draw } from "../src/engine/draw/draw.ts";
import type { DrawRequest } from "../src/engine/draw/events.ts";
import { pixelsOf } from "../src/engine/draw/testing.ts";
import { load } from "../src/pretrained/node-load.ts";
import { createReferenceDevice } from "../src/tensor/reference/backend.ts";
import { decodeImage } from "../src/vision/image/decode.ts";
import { pngTexts } from "../src/vision/image/png-text.ts";
import { commandsIn } from "./command-process.ts";

const machine = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);
const work = mkdtempSync(join(tmpdir(), "deepseek-ts-draw-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const path = (name: string) => join(work, name);

const { start, run } = commandsIn(work, { HF_HOME: path("hub"), HF_HUB_OFFLINE: "1" });

beforeAll(async () => {
  const device = createReferenceDevice();
  for (const kind of ["janus", "janusflow"] as const) {
    for (const [name, bytes] of await worldCheckpoint(kind, device)) {
      mkdirSync(dirname(path(`${kind}/${name}`)), { recursive: true });
      writeFileSync(path(`${kind}/${name}`), bytes);
    }
  }
  await device[Symbol.asyncDispose]();
});

const one = ["--threads", "1"];
const prompt = "a red ring left of a blue cross";

/** The pixels that the same request gives in this process. */
async function drawn(model: string, request: DrawRequest): Promise<Uint8Array[]> {
  await using opened = await load(path(model), { drawing: true });
  return await pixelsOf(draw(opened, request));
}

const pixels = async (file: string) => (await decodeImage(readFileSync(path(file)), { name: file })).rgb;
const texts = (file: string) => Object.fromEntries(pngTexts(readFileSync(path(file))));
const files = (folder: string) => readdirSync(path(folder)).sort();

describe("draw", () => {
  it.each([
    ["janus", { guidance: 3, temperature: 0.5 }, { topK: "0", topP: "1" }],
    ["janusflow", { guidance: 3, steps: 4 }, { solver: "euler" }],
  ])(
    "writes with %s the pictures of the engine, which say how they were made",
    async (model, settings, others) => {
      const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, `${value}`]);
      const args = [
        "draw",
        model,
        prompt,
        "--count",
        "2",
        "--seed",
        "7",
        "--out",
        `one/${model}`,
        ...flags,
        ...one,
      ];
      const { code, out, err } = await run(...args);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      const names = [1, 2].map((n) => `one/${model}/a-red-ring-left-of-a-blue-cross-seed7-${n}.png`);
      expect(out).toBe(`${names.join("\n")}\n`);
      const expected = await drawn(model, { prompt, count: 2, seed: 7, ...settings });
      expect(await Promise.all(names.map(pixels))).toEqual(expected);
      const shared = Object.entries(settings).map(([name, value]) => [name, `${value}`]);
      expect(texts(names[1])).toEqual({
        ...{ Software: "deepseek-ts draw", prompt, model, seed: "7", image: "2", dtype: "auto" },
        ...Object.fromEntries(shared),
        ...others,
      });
      // The same pictures are there already; one more is drawn, and another setting gets another name.
      const more = await run(...args.map((arg) => (arg === "2" ? "3" : arg)), "--json");
      expect(more.err).toMatch(
        /^3 pictures drawn \(2 of them before\); \d+ prompt tokens, 16 image tokens\n$/,
      );
      const lines = more.out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines.map(({ image, earlier }) => [image, earlier])).toEqual([
        [1, true],
        [2, true],
        [3, undefined],
      ]);
      expect(more.err).toContain(`; ${lines[2].promptTokens} prompt tokens, ${lines[2].imageTokens} image`);
      const other = await run(...args, "--guidance", "1", "--count", "1", "--preview", "file");
      expect(other.err).toBe(`preview: one/${model}/a-red-ring-left-of-a-blue-cross-seed7-1.2.preview.png\n`);
      expect(files(`one/${model}`).map((name) => name.replace(/.*seed7-/, ""))).toEqual([
        ...["1.2.png", "1.png", "2.png", "3.png"],
      ]);
    },
  );

  it("keeps what is finished after Ctrl-C, and says how to go on", async () => {
    const args = [
      "draw",
      "janusflow",
      prompt,
      "--count",
      "40",
      "--steps",
      "6",
      "--seed",
      "5",
      "--out",
      "cut",
      ...one,
    ];
    const cut = start(args);
    while (!existsSync(path("cut")) || files("cut").length === 0) {
      if (cut.child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    cut.child.kill("SIGINT");
    const { code, err, out } = await cut.ended();
    const there = files("cut");
    expect(code).toBe(130);
    expect(there.length).toBeLessThan(40);
    expect(there.every((name) => /-\d+\.png$/.test(name))).toBe(true);
    expect(out.trimEnd().split("\n").length).toBe(there.length);
    expect(err).toBe(
      `stopped; ${there.length} of 40 pictures drawn; the same command with --seed 5 goes on\n`,
    );
  });

  it("refuses before a model is read what cannot be drawn", async () => {
    const wrong: [string[], number, RegExp][] = [
      [["janus", prompt, "--steps", "3"], 1, /this is a setting of JanusFlow; name: --steps/],
      [["janusflow", prompt, "--temperature", "1"], 1, /this is a setting of Janus; name: --temperature/],
      [["janus", prompt, "--count", "65"], 2, /Expected an integer, 1 to 64/],
      [["janus"], 2, /no prompt given/],
      [["janus", " "], 1, /the prompt is empty/],
      [["janus", "unpronounceable"], 1, /lacks a piece of the text; name: unpronounceable/],
      [["no-such", prompt], 1, /no-such/],
      [["janus", prompt, "--out", "janus/config.json"], 1, /janus\/config.json/],
    ];
    for (const [args, status, message] of wrong) {
      const { code, out, err } = await run("draw", ...args, ...one);
      expect({ code, out, err }).toEqual({ code: status, out: "", err: expect.stringMatching(message) });
      if (status === 1) expect(err.trimEnd().split("\n")).toHaveLength(1);
    }
  });

  it("says how to get the autoencoder that is missing, without which JanusFlow sees", async () => {
    renameSync(path("janusflow/vae"), path("elsewhere"));
    try {
      const { code, err } = await run("draw", "janusflow", prompt, ...one);
      expect({ code, err }).toEqual({
        code: 1,
        err: expect.stringContaining("Run `deepseek-ts download stabilityai/sdxl-vae` once"),
      });
      const answer = await run("ask", "janusflow", "what is in the image ?", "--max-tokens", "4", ...one);
      expect(answer.code).toBe(0);
      const named = await run(
        "draw",
        "janusflow",
        prompt,
        "--vae",
        "elsewhere",
        "--seed",
        "1",
        "--steps",
        "1",
        "--out",
        "named",
        ...one,
      );
      expect({ code: named.code, err: named.err }).toEqual({ code: 0, err: "" });
      expect(texts(named.out.trimEnd()).vae).toBe("elsewhere");
    } finally {
      renameSync(path("elsewhere"), path("janusflow/vae"));
    }
  });
});

describe("draw --from", () => {
  const lines = [
    { prompt: "a red ring", count: 3 },
    { prompt: "a blue cross", seed: 4, guidance: 1 },
    ...Array.from({ length: 12 }, (_, i) => ({ prompt: "a green square", seed: i, count: 2 })),
  ];
  const total = 3 + 1 + 24;
  const batch = (out: string, ...more: string[]) => [
    "draw",
    "janusflow",
    "--from",
    "prompts.jsonl",
    "--out",
    out,
    "--steps",
    "2",
    ...more,
    ...one,
  ];
  beforeAll(() => writeFileSync(path("prompts.jsonl"), lines.map((line) => JSON.stringify(line)).join("\n")));

  it("draws every line, and goes on after a kill without drawing one twice", async () => {
    const whole = await run(...batch("whole"));
    expect({ code: whole.code, err: whole.err }).toEqual({ code: 0, err: "" });
    const expected = files("whole");
    expect(expected).toHaveLength(total);
    expect(expected.slice(0, 5)).toEqual([
      ...["001-a-red-ring-seed0-1.png", "001-a-red-ring-seed0-2.png", "001-a-red-ring-seed0-3.png"],
      ...["002-a-blue-cross-seed4-1.png", "003-a-green-square-seed0-1.png"],
    ]);
    expect(texts(`whole/${expected[3]}`)).toMatchObject({
      prompt: "a blue cross",
      seed: "4",
      guidance: "1",
      steps: "2",
    });

    const killed = start(batch("killed"));
    while ((!existsSync(path("killed")) || files("killed").length < 4) && killed.child.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    killed.child.kill("SIGKILL");
    await killed.ended();
    const there = files("killed").filter((name) => name.endsWith(".png") && !name.includes("tmp"));
    expect(there.length).toBeLessThan(total);
    const kept = new Map(there.map((name) => [name, readFileSync(path(`killed/${name}`))]));
    // As a kill between a picture's two names leaves it, and one while a picture grows.
    const [done] = there;
    const left = `${done}.tmp-${killed.child.pid}-${machine}-00000000`;
    copyFileSync(path(`killed/${done}`), path(`killed/${left}`));
    const again = await run(...batch("killed"));
    expect({ code: again.code, err: again.err }).toMatchObject({
      code: 0,
      err: expect.stringMatching(
        new RegExp(`^${total} pictures drawn \\(\\d+ of them before\\); .* image tokens\n$`),
      ),
    });
    expect(files("killed")).toEqual(expected);
    for (const name of expected)
      expect(readFileSync(path(`killed/${name}`)).equals(readFileSync(path(`whole/${name}`)))).toBe(true);
    for (const [name, bytes] of kept) expect(readFileSync(path(`killed/${name}`)).equals(bytes)).toBe(true);
  });

  it("refuses lines by number, pictures drawn in another way, and files of others", async () => {
    const other = await run(...batch("whole", "--guidance", "4"));
    expect(other).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(
        /001-a-red-ring-seed0-1.png: the existing picture was drawn in another way; name: guidance; expected: 4; found: 2/,
      ),
    });
    mkdirSync(path("foreign"));
    writeFileSync(path("foreign/001-a-red-ring-seed0-2.png"), "mine");
    const foreign = await run(...batch("foreign"));
    expect(foreign).toMatchObject({ code: 1, err: expect.stringContaining("was not drawn by this program") });
    expect(readFileSync(path("foreign/001-a-red-ring-seed0-2.png"), "utf8")).toBe("mine");
    expect(files("foreign")).toHaveLength(1);
    writeFileSync(path("bad.jsonl"), '{"prompt": "a red ring"}\n{"prompt": "a red ring", "cfg": 2}\n');
    const bad = await run("draw", "no-model", "--from", "bad.jsonl", "--out", "bad", ...one);
    expect(bad).toMatchObject({
      code: 1,
      err: expect.stringContaining("bad.jsonl: line 2: unknown field; name: cfg"),
    });
    writeFileSync(path("mixed.jsonl"), '{"prompt": "a red ring"}\n{"prompt": "a red ring", "topK": 2}\n');
    const mixed = await run("draw", "janusflow", "--from", "mixed.jsonl", "--out", "mixed", ...one);
    expect(mixed).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/mixed.jsonl: line 2: .*JanusFlow draws without this.*topK/),
    });
    expect(files("mixed")).toEqual([]);
  });
});

describe("models/world-janus", () => {
  it("draws triangles", { timeout: 300_000 }, async () => {
    const model = join(import.meta.dirname, "../models/world-janus");
    const { code, out, err } = await run(
      ...["draw", model, "a triangle", "--count", "8", "--seed", "1", "--out", "triangles"],
    );
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const files = out.trimEnd().split("\n");
    expect(files).toHaveLength(8);
    const caption = parseCaption("a triangle");
    const right: boolean[] = [];
    for (const file of files) {
      const { loose } = judge(
        readScene(await decodeImage(readFileSync(path(file)), { name: file })),
        caption,
      );
      right.push(loose);
    }
    // Five of six shapes are others: by chance one or two of eight would be triangles.
    expect(right.filter(Boolean).length).toBeGreaterThan(4);
  });
});
