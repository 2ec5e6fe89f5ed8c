/** `deepseek-ts ask`, `ground`, `chat --image` and `train --data` in their own processes, with small models of random weights. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { worldCheckpoint } from "../src/data/world/testing-checkpoints.ts";
import { questionsOf, taughtCheckpoint } from "../src/runs/staged/testing-taught.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { createReferenceDevice } from "../src/tensor/reference/backend.ts";
import { drawBoxes, enlargedForLabels } from "../src/vision/draw-boxes.ts";
import { parseGrounding } from "../src/vision/grounding.ts";
import { decodeImage } from "../src/vision/image/decode.ts";
import { encodePng } from "../src/vision/image/png-writer.ts";
import { commandsIn } from "./command-process.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-ask-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const path = (name: string) => join(work, name);

const { start, run } = commandsIn(work);

const pictures = Array.from({ length: 6 }, (_, i) => `p${i}.png`);

beforeAll(async () => {
  const device = createReferenceDevice();
  for (const kind of ["vl", "vl2"] as const) {
    mkdirSync(path(kind));
    for (const [name, bytes] of await worldCheckpoint(kind, device))
      writeFileSync(path(`${kind}/${name}`), bytes);
  }
  await device[Symbol.asyncDispose]();
  mkdirSync(path("pictures"));
  for (const [i, name] of pictures.entries()) {
    const rgb = Uint8Array.from({ length: 50 * 30 * 3 }, (_, j) => (j * (i + 3) * 37 + (j >> 4)) % 256);
    writeFileSync(path(`pictures/${name}`), await encodePng({ width: 50, height: 30, rgb }));
  }
  writeFileSync(path("pictures/p2b.png"), "no picture");
  writeFileSync(path("pictures/notes.txt"), "text");
});

const few = ["--max-tokens", "8", "--threads", "1"];
const question = "what is in the image ?";

describe("ask", () => {
  it("answers about pictures, the same as chat does, and says what it used with --json", async () => {
    const image = ["--image", "pictures/p0.png", "--image", "pictures/p1.png"];
    const asked = await run("ask", "vl", ...image, question, ...few);
    expect({ code: asked.code, err: asked.err }).toEqual({ code: 0, err: "" });
    expect(asked.out.trim()).not.toBe("");
    const chatted = await run("chat", "vl", ...image, "--prompt", question, ...few);
    expect(chatted.out.trim()).toBe(asked.out.trim());
    const json = JSON.parse((await run("ask", "vl", ...image, question, "--json", ...few)).out);
    expect(json).toMatchObject({
      ...{ images: ["pictures/p0.png", "pictures/p1.png"], question, answer: asked.out.slice(0, -1) },
      ...{ stopReason: "length", usage: { imageTokens: 32, generatedTokens: 8 } },
    });
    const blind = await run("ask", "vl", question, ...few);
    expect(blind.code).toBe(0);
    expect(blind.out).not.toBe(asked.out);
  });

  it("refuses in one line what is no picture, before a model is loaded", async () => {
    const { code, out, err } = await run("ask", "no-model", "--image", "pictures/p2b.png", "x");
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain("pictures/p2b.png: unknown format");
    expect(err.trimEnd().split("\n")).toHaveLength(1);
    const usage = await run("ask", "no-model", "--folder", "pictures", "x");
    expect(usage).toMatchObject({ code: 2, err: expect.stringContaining("--folder requires --out") });
  });
});

it("the model that comes with the repository reads the README's picture", async () => {
  const own = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
  const { code, out, err } = await run(
    ...["ask", own("models/world-vl2"), "--image", own("docs/page.png"), "read the text .", "--threads", "1"],
  );
  expect({ code, out, err }).toEqual({ code: 0, out: "K8X\n", err: "" });
});

describe("ask --folder", () => {
  const ask = (out: string, ...more: string[]) => [
    "ask",
    "vl2",
    "--folder",
    "pictures",
    "--out",
    out,
    question,
    ...few,
    ...more,
  ];
  /** Without times. */
  const lines = (out: string) =>
    readFileSync(path(out), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => ({ ...JSON.parse(line), seconds: 0 }));

  it("writes a line for every picture, faulty ones too, and goes on after a kill without repeating or losing one", async () => {
    const whole = await run(...ask("whole.jsonl"));
    expect({ code: whole.code, out: whole.out }).toEqual({ code: 0, out: "" });
    expect(whole.err).toContain("6 answers, 1 picture with an error in whole.jsonl");
    const expected = lines("whole.jsonl");
    const names = [...pictures.slice(0, 3), "p2b.png", ...pictures.slice(3)];
    expect(expected.map(({ image }) => image)).toEqual(names);
    expect(expected[3].error).toContain("unknown format");
    expect(expected[0]).toMatchObject({ stopReason: "length", usage: { generatedTokens: 8 } });

    const killed = start(ask("cut.jsonl"));
    while (!existsSync(path("cut.jsonl")) && killed.child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 1));
    killed.child.kill("SIGKILL");
    await killed.ended();
    expect(lines("cut.jsonl").length).toBeLessThan(names.length);
    // As after a power cut, in the middle of a line.
    appendFileSync(path("cut.jsonl"), '{"image":"p9.png","ans');
    const { code, err } = await run(...ask("cut.jsonl"));
    expect({ code, err }).toMatchObject({ code: 0, err: expect.stringMatching(/\(\d of them before\)/) });
    expect(lines("cut.jsonl")).toEqual(expected);
    const before = readFileSync(path("cut.jsonl"));
    await run(...ask("cut.jsonl"));
    expect(readFileSync(path("cut.jsonl")).equals(before)).toBe(true);
  });
});

describe("ground", () => {
  it("draws the boxes that a model writes, of a phrase and of a description, and tells them", async () => {
    const [found] = questionsOf("find", 1);
    const [described] = questionsOf("describe", 1);
    await using device = await createCpuDevice({ threads: 1 });
    mkdirSync(path("taught"));
    for (const [name, bytes] of await taughtCheckpoint("vl2", [found, described], device))
      writeFileSync(path(`taught/${name}`), bytes);
    const threads = ["--threads", "1", "--temperature", "0"];
    for (const { task, question, answer, image } of [found, described]) {
      const [file, drawn] = [`${task}.png`, `${task}-boxes.png`];
      writeFileSync(path(file), await encodePng(image!));
      const phrase = task === "find" ? [question.replaceAll(/<[^>]*>/g, "")] : [];
      const { code, out, err } = await run("ground", "taught", file, ...phrase, "--out", drawn, ...threads);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      const { items } = parseGrounding(answer, image!);
      const boxes = items.map((item) => ({ ...item, label: item.label.trim() }));
      expect(boxes.length).toBeGreaterThan(task === "find" ? 0 : 1);
      expect(JSON.parse(out)).toMatchObject({
        ...{ image: file, width: 64, height: 64, phrase: phrase[0] ?? null, boxes, out: drawn },
        stopReason: "stop",
      });
      const picture = await decodeImage(readFileSync(path(drawn)));
      const shown = enlargedForLabels(image!);
      const labeled = parseGrounding(answer, shown).items.map(({ label, box }) => ({
        label: label.trim(),
        box,
      }));
      expect([picture.width, picture.height]).toEqual([448, 448]);
      expect(Buffer.compare(picture.rgb, drawBoxes(shown, labeled).rgb)).toBe(0);
      expect(Buffer.compare(picture.rgb, shown.rgb)).not.toBe(0);
    }
    const again = [
      "ground",
      "taught",
      "find.png",
      found.question.replaceAll(/<[^>]*>/g, ""),
      "--out",
      "find-boxes.png",
    ];
    const kept = await run(...again, ...threads);
    expect(kept).toMatchObject({ code: 1, out: "", err: expect.stringContaining("--force") });
    expect(await run(...again, "--force", ...threads)).toMatchObject({ code: 0, err: "" });
    // A picture that it did not draw stays.
    const foreign = await run("ground", "taught", "find.png", "--out", "describe.png", "--force", ...threads);
    expect(foreign).toMatchObject({ code: 1, out: "" });
    expect(Buffer.compare(readFileSync(path("describe.png")), await encodePng(described.image!))).toBe(0);
  });

  it("writes JSON, and no picture where the answer has no boxes", async () => {
    const { code, out, err } = await run(
      "ground",
      "vl2",
      "pictures/p0.png",
      "the ring",
      "--out",
      "b.png",
      ...few,
    );
    expect({ code, err }).toEqual({ code: 0, err: "no boxes in the answer; b.png was not written\n" });
    expect(JSON.parse(out)).toMatchObject({
      image: "pictures/p0.png",
      width: 50,
      phrase: "the ring",
      boxes: [],
      out: null,
    });
    expect(existsSync(path("b.png"))).toBe(false);
  });
});

describe("train --data", () => {
  it("stops, shows the model as it stands, goes on to one that is asked by the run's name", async () => {
    const lines = pictures.flatMap((image, i) =>
      ["red", "green"].map((answer, j) =>
        JSON.stringify({
          image,
          conversations: [
            { from: "human", value: `<image>\nwhat color is the ${["circle", "square"][j]} ?` },
            { from: "gpt", value: i % 2 === 0 ? answer : "blue" },
          ],
        }),
      ),
    );
    writeFileSync(path("pictures/data.jsonl"), `${lines.join("\n")}\n`);
    const data = ["--data", "pictures/data.jsonl", "--freeze", "vision", "--length", "128", "--threads", "1"];
    const length = ["--batch", "4", "--steps", "400", "--save-every", "2"];
    const { child, ended } = start(["train", "--model", "vl2", ...data, ...length, "--out", "run"]);
    const log = path("run/metrics.jsonl");
    while (!existsSync(log) || !readFileSync(log, "utf8").includes('"evaluation"')) {
      expect(child.exitCode).toBe(null);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill("SIGINT");
    const stopped = await ended();
    expect({ code: stopped.code, err: stopped.err }).toEqual({ code: 130, err: "" });
    expect(stopped.out).toContain("npx deepseek-ts train --resume run");

    const image = ["--image", "pictures/p0.png"];
    const early = await run("ask", "run", ...image, "what color is the circle ?", ...few);
    expect(early).toMatchObject({
      code: 1,
      err: expect.stringContaining("--resume run --write-model FOLDER"),
    });
    const standing = ["train", "--resume", "run", "--write-model", "so-far", "--threads", "1"];
    const written = await run(...standing);
    expect(written).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^saved {5}so-far, after step \d+\n$/),
    });
    const asked = await run("ask", "so-far", ...image, "what color is the circle ?", ...few);
    expect(asked.code).toBe(0);
    expect((await run(...standing)).err).toContain("so-far");
    expect((await run("train", ...data, "--write-model", "x")).code).toBe(2);

    // A run of 400 steps is shortened to a few, which its settings allow.
    const settings = JSON.parse(readFileSync(path("run/run.json"), "utf8"));
    const { step } = JSON.parse(readFileSync(log, "utf8").trimEnd().split("\n").at(-1)!);
    settings.stages[0].steps = step + 3;
    writeFileSync(path("run/run.json"), JSON.stringify(settings));
    const rest = await run("train", "--resume", "run", "--threads", "1");
    expect(rest).toMatchObject({ code: 0, err: "" });
    expect(rest.out).toMatch(/held-out loss \d/);
    expect((await run("ask", "run", ...image, "what color is the circle ?", ...few)).code).toBe(0);
  });
});
