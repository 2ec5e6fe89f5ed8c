/** Runs of fine-tuning and of preferences on disk: resume to the bit, what is read, held out, cut, and left behind. */
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chatTemplate } from "../../chat/template.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { heldOutBelow } from "../../data/rows/held-out.ts";
import { writeModelFolder } from "../../engine/testing-folder.ts";
import { folderTokenizer } from "../../pretrained/load.ts";
import { load } from "../../pretrained/node-load.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { logOf, tensorsOf } from "../staged/testing-runs.ts";
import { LessonStore } from "./lesson-store.ts";
import { prepareTuned } from "./preparation.ts";
import { cutPair } from "./row-lessons.ts";
import { TunedRun } from "./run.ts";
import { prepareShort, shortRun, writeSums } from "./testing-runs.ts";

let root: string;
let model: string;
let data: ReturnType<typeof writeSums>;
let device: Device;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "tuned-"));
  device = await cpuDevice(2, true);
  model = join(root, "model");
  await writeModelFolder(model);
  data = writeSums(join(root, "data"), 40);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const dataOf = (kind: "sft" | "dpo") => (kind === "sft" ? data.chats : data.pairs);

/** Trains for some steps, or to the end. */
async function train(folder: string, steps = Number.POSITIVE_INFINITY) {
  const notes: string[] = [];
  const onNotice = (text: string) => void notes.push(text);
  await using run = await TunedRun.open(folder, device, { onNotice });
  const controller = new AbortController();
  let made = 0;
  const result = await run.train(
    { onNotice, onStep: () => ++made >= steps && controller.abort() },
    controller.signal,
  );
  return { ...result, notes };
}

describe.each(["sft", "dpo"] as const)("%s", (kind) => {
  it("that was stopped goes on with the same bits, without its data and its model", async () => {
    const whole = join(root, `${kind}-whole`);
    await prepareShort(model, dataOf(kind), kind, whole);
    const parts = join(root, `${kind}-parts`);
    cpSync(whole, parts, { recursive: true });
    const { finished, evaluation } = await train(whole);
    expect(finished).toBe(true);
    const losses = logOf(whole)
      .filter(({ kind }) => kind === "step")
      .map(({ loss }) => loss as number);
    expect(losses).toHaveLength(12);
    expect(losses.at(-1)).toBeLessThan(0.9 * losses[0]);
    if (kind === "dpo") {
      // ln 2, and the likelihood of the answers by its weight.
      const [first] = logOf(whole);
      expect(first.loss - 0.1 * first.terms.sft).toBeCloseTo(Math.LN2, 4);
      expect(evaluation!.terms!.accuracy).toBeGreaterThan(0.5);
    } else expect(evaluation!.bitsPerByte).toBeGreaterThan(0);

    expect(await train(parts, 3)).toMatchObject({ finished: false, step: 3 });
    const hidden = `${model}-hidden`;
    cpSync(model, hidden, { recursive: true });
    rmSync(model, { recursive: true });
    try {
      expect(await train(parts, 4)).toMatchObject({ finished: false, step: 7 });
      expect(await train(parts)).toMatchObject({ finished: true, step: 12 });
    } finally {
      cpSync(hidden, model, { recursive: true });
    }
    expect(await tensorsOf(join(parts, "model"))).toEqual(await tensorsOf(join(whole, "model")));
    expect(logOf(parts)).toEqual(logOf(whole));
    const [a, b] = [parts, whole].map(
      (run) => readFileSync(join(run, "metrics.jsonl"), "utf8").split("\n").length,
    );
    expect(a).toBe(b);
  });

  it("learns nothing of what is held out", async () => {
    await using store = await LessonStore.open(join(root, `${kind}-whole`, "data"));
    const held = store.side(true, heldOutBelow(store.hashes, { share: 0.2, most: 8 }));
    expect(held.length).toBeGreaterThan(2);
    expect(held.length).toBeLessThanOrEqual(8);
    // Other answers of these rows change their score, and nothing that is learned.
    const changed = readFileSync(dataOf(kind), "utf8")
      .split("\n")
      .map((line, row) => (held.includes(row) ? line.replace("it is", "is it") : line));
    const path = join(root, `${kind}-changed.jsonl`);
    writeFileSync(path, changed.join("\n"));
    const other = join(root, `${kind}-other`);
    await prepareShort(model, path, kind, other);
    await train(other);
    const [found, before] = [other, join(root, `${kind}-whole`)].map(logOf);
    const losses = (log: typeof found, what: string) =>
      log.filter((line) => line.kind === what).map(({ loss }) => loss);
    for (const [i, loss] of losses(found, "step").entries())
      expect(loss).toBeCloseTo(losses(before, "step")[i], 4);
    for (const [i, loss] of losses(found, "evaluation").entries())
      expect(Math.abs(loss - losses(before, "evaluation")[i])).toBeGreaterThan(1e-3);
    if (kind === "sft")
      expect(await tensorsOf(join(other, "model"))).toEqual(await tensorsOf(join(root, "sft-whole/model")));
  });

  it("keeps rows as ids and marks", async () => {
    await using store = await LessonStore.open(join(root, `${kind}-whole`, "data"));
    expect(store.rows).toBe(40);
    expect(store.lessonsPerRow).toBe(kind === "sft" ? 1 : 2);
    const tokenizer = (await folderTokenizer(nodeFolder(model)))!;
    const { ids, learned } = await store.read(0);
    const answers = Array.from(ids).filter((_, i) => learned[i] === 1);
    const end = "<｜end▁of▁sentence｜>";
    expect(tokenizer.decode(answers, { skipSpecialTokens: false })).toBe(
      kind === "sft" ? `it is 0${end}it is 0${end}` : `it is 0${end}`,
    );
  });

  it("leaves a model that load opens, with its template", async () => {
    await using opened = await load(join(root, `${kind}-whole`, "model"), { device });
    const template = chatTemplate(opened.tokenizer!, opened.chatTemplate);
    expect(template.builtin).toBeNull();
    expect(template.render([{ role: "user", content: "hi" }])).toContain("<｜User｜>hi<｜Assistant｜>");
  });
});

describe("scores of the reference", () => {
  it("that a killed process left unfinished are computed again, and missing ones are refused later", async () => {
    const folder = join(root, "scores");
    cpSync(join(root, "dpo-whole"), folder, { recursive: true });
    const path = join(folder, "reference.jsonl");
    const text = readFileSync(path, "utf8");
    expect(text.trim().split("\n")).toHaveLength(2);
    for (const name of ["checkpoints", "model", "metrics.jsonl"])
      rmSync(join(folder, name), { recursive: true });
    writeFileSync(path, text.slice(0, text.indexOf("\n") + 20));
    await train(folder, 3);
    expect(readFileSync(path, "utf8")).toBe(text);
    writeFileSync(path, text.slice(0, text.indexOf("\n") + 1));
    await expect(train(folder)).rejects.toThrow(
      /scores of the reference are missing; expected: 40 pairs; found: 32/,
    );
    appendFileSync(path, "[[1,null]]\n");
    await expect(train(folder)).rejects.toThrow(/damaged scores.*line 2/);
  });
});

describe("a run refuses", () => {
  it("a model that changed before its first step", async () => {
    const other = join(root, "other-model");
    cpSync(model, other, { recursive: true });
    const folder = join(root, "changed");
    await prepareShort(other, data.chats, "sft", folder);
    const weights = join(other, "model.safetensors");
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(weights, bytes);
    await expect(train(folder)).rejects.toThrow(/the model changed since the run was prepared/);
  });

  it("rows that its template has no place for, naming file and line, and leaves nothing", async () => {
    const path = join(root, "tools.jsonl");
    const row = {
      messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b", reasoning_content: "c" },
      ],
    };
    writeFileSync(path, `${JSON.stringify({ prompt: "a", completion: "b" })}\n${JSON.stringify(row)}\n`);
    const out = join(root, "refused");
    await expect(prepareShort(model, path, "sft", out)).rejects.toThrow(
      /tools\.jsonl line 2: .*no place for reasoning/,
    );
    expect(existsSync(out)).toBe(false);
  });
});

it("counts answers without the reasoning that prompts open", async () => {
  const task = await shortRun(model, data.chats, "sft");
  const { unprompted } = await prepareTuned({ ...task, template: "r1", out: join(root, "thoughtless") });
  expect(unprompted).toBe(40);
  expect(await prepareTuned({ ...task, out: join(root, "prompted") })).toMatchObject({ unprompted: 0 });
});

describe("rows that are too long", () => {
  it("are cut at their ends or left out, and counted", async () => {
    const path = join(root, "long.jsonl");
    const lines = [
      { prompt: "the of and to in", completion: "a" },
      { prompt: "the ".repeat(10), completion: "is that for it as was with on be by at from ".repeat(10) },
      { prompt: "the of and to in that for it as ".repeat(20), completion: "b" },
    ];
    writeFileSync(path, lines.map((line) => JSON.stringify(line)).join("\n"));
    const task = await shortRun(model, path, "sft");
    const heldOut = { share: 0, most: 0 };
    const config = { ...task.config, data: { ...task.config.data, heldOut }, sequenceLength: 64 };
    const cut = await prepareTuned({ ...task, config, out: join(root, "cut") });
    expect(cut).toMatchObject({ rows: 2, cut: 2, dropped: 0, empty: 1, heldOut: 0 });
    const dropped = await prepareTuned({
      ...task,
      config: { ...config, overlong: "drop" },
      out: join(root, "drop"),
    });
    expect(dropped).toMatchObject({ rows: 1, cut: 0, dropped: 2, empty: 0 });
    const only = { ...config, overlong: "drop", sequenceLength: 2 } as const;
    await expect(prepareTuned({ ...task, config: only, out: join(root, "none") })).rejects.toThrow(
      /no row teaches/,
    );
  });

  it("of pairs lose the left of their prompt first, the same in both", () => {
    const pair = { prompt: [1, 2, 3, 4, 5, 6], chosen: [11, 12, 13], rejected: [21] };
    expect(cutPair(pair, 7)).toEqual({ prompt: [3, 4, 5, 6], chosen: [11, 12, 13], rejected: [21] });
    expect(cutPair(pair, 4)).toEqual({ prompt: [5, 6], chosen: [11, 12], rejected: [21] });
    expect(cutPair(pair, 20)).toEqual(pair);
  });
});
