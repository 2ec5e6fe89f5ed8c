import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JobEvent, JobView, TrainBody } from "./protocol.ts";
import { startTestStudio, type TestStudio } from "./testing.ts";

let t: TestStudio;
beforeAll(async () => {
  t = await startTestStudio();
  const texts = join(t.root, "texts");
  mkdirSync(texts);
  for (let i = 0; i < 12; i++) {
    const lines = Array.from(
      { length: 20 },
      (_, n) => `export const name_${i}_${n} = call(${(i * 7 + n * 13) % 101});`,
    );
    writeFileSync(join(texts, `file-${i}.ts`), lines.join("\n"));
  }
});
afterAll(() => t[Symbol.asyncDispose]());

const config = {
  preset: "llm-small",
  vocabSize: 280,
  model: {
    ...{
      hidden_size: 16,
      num_hidden_layers: 1,
      intermediate_size: 16,
      num_attention_heads: 2,
      num_key_value_heads: 2,
    },
  },
  data: { heldOut: 0.3 },
  training: {
    ...{
      steps: 400,
      sequenceLength: 16,
      batch: { size: 2 },
      saveEvery: 100,
      evaluateEvery: 4,
      evaluateSequences: 2,
    },
  },
};
const work = (path: string) => ({ root: "work", path });
const endOf = (events: readonly JobEvent[]): JobView => {
  const last = events.at(-1)!.event;
  if (last.type !== "end") throw new Error("no end");
  return last.job;
};
const rowsOf = (events: readonly JobEvent[], kind: string) =>
  events.flatMap(({ event }) => (event.type === "training" && event.row.kind === kind ? [event.row] : []));
const post = (kind: string, body: object) => t.ask("/studio/api/jobs", { kind, body });

describe("training", () => {
  it("is prepared, told, stopped with what it has saved, listed, resumed to its end, and gives a model", async () => {
    const body: TrainBody = { out: work("runs/one"), data: work("texts"), config };
    const { id } = await t.job({ kind: "train", body });
    const begun = await t.events(
      id,
      0,
      ({ event }) => event.type === "training" && event.row.kind === "evaluation",
    );
    expect(rowsOf(begun, "prepare").map(({ stage }) => stage)).toEqual(
      expect.arrayContaining(["select", "tokenizer", "tokens"]),
    );
    expect(rowsOf(begun, "step").map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    const { body: during } = await t.ask("/studio/api/runs/work/runs/one");
    expect(during).toMatchObject({ kind: "train", state: "running", steps: 400, job: id });
    const { body: stopped } = await t.ask(`/studio/api/jobs/${id}`, undefined, { method: "DELETE" });
    expect(stopped).toMatchObject({ state: "canceled", result: { run: work("runs/one"), finished: false } });
    const { step } = stopped.result;
    const { body: after } = await t.ask("/studio/api/runs/work/runs/one");
    expect(after).toMatchObject({ state: "stopped", step, job: null });

    // Another one, for as long as it is short enough to end.
    const short = { ...config, training: { ...config.training, steps: 6 } };
    const second = await t.job({ kind: "train", body: { ...body, out: work("runs/two"), config: short } });
    const end = endOf(await t.events(second.id));
    expect(end).toMatchObject({ state: "done", result: { finished: true, step: 6 } });
    expect(end.progress).toMatchObject({ done: 6, total: 6, unit: "steps" });
    const series = await t.ask("/studio/api/series?run=work/runs/two");
    expect(series.body.steps).toEqual([1, 2, 3, 4, 5, 6]);
    expect(series.body.curves["heldOut.bitsPerByte"].last[3]).toBeGreaterThan(0);

    const resumed = await t.job({ kind: "resume", body: { run: work("runs/one") } });
    const on = await t.events(
      resumed.id,
      0,
      ({ event }) => event.type === "training" && event.row.kind === "step",
    );
    expect(rowsOf(on, "opened")).toMatchObject([{ step }]);
    expect(rowsOf(on, "step")).toMatchObject([{ step: step + 1 }]);
    await t.ask(`/studio/api/jobs/${resumed.id}`, undefined, { method: "DELETE" });
    const { body: models } = await t.ask("/studio/api/models");
    expect(models.models.map(({ model }: { model: string }) => model)).toContain("work/runs/two");
  });

  it("stopped while it is prepared leaves nothing", async () => {
    const { id } = await t.job({
      kind: "train",
      body: { out: work("runs/none"), data: work("texts"), config },
    });
    await t.events(id, 0, ({ event }) => event.type === "training");
    const { body } = await t.ask(`/studio/api/jobs/${id}`, undefined, { method: "DELETE" });
    expect(body).toMatchObject({ state: "canceled", result: null });
    expect(readdirSync(join(t.root, "runs")).filter((name) => name.includes("none"))).toEqual([]);
  });

  it.each([
    ["a place that is taken", { out: work("tiny"), data: work("texts"), config }, "exists"],
    ["a place outside", { out: work("../x"), data: work("texts"), config }, "no path"],
    ["data outside", { out: work("new"), data: work(".."), config }, "no path"],
    [
      "files outside",
      { out: work("new"), data: work("texts"), config: { data: { include: ["../../etc"] } } },
      "leaves",
    ],
    ["an unknown setting", { out: work("new"), data: work("texts"), config: { sped: 1 } }, "sped"],
    [
      "a model beyond the memory",
      { out: work("new"), data: work("texts"), config: { model: { hidden_size: 1e6 } } },
      "",
    ],
    ["an unknown field", { out: work("new"), data: null, config, resume: true }, "resume"],
    ["no data", { out: work("new"), data: null, config }, "data"],
  ])("refuses %s at once", async (_, body, words) => {
    const { status, body: answer } = await post("train", body);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
    expect(answer.error.message).toContain(words);
    expect(existsSync(join(t.root, "new"))).toBe(false);
  });

  it("takes paths of stages below the roots alone", async () => {
    const stage = {
      ...{ name: "one", batch: { size: 1 }, loss: "answers", steps: 1 },
      learningRate: { peak: 1e-3, warmupSteps: 1, shape: "constant" },
    };
    const settings = (mixture: object[], model: object = {}) => ({
      ...{ kind: "stages", seed: 1, sequenceLength: 64, tokensAtOnce: 64, saveEvery: 1, keep: 1 },
      model: { folder: "work/tiny", start: "weights", frozen: "auto", initStd: 0.02, ...model },
      stages: [{ ...stage, mixture }],
    });
    const wrong = [
      settings([{ data: "/etc/passwd" }]),
      settings([{ data: "work/../../x.jsonl" }]),
      settings([{ data: "work/texts/file-1.ts", allowAbsolute: true }]),
      settings([{ text: "other/notes.txt" }]),
      settings([{ world: "captions" }], { folder: "/etc" }),
      settings([{ world: "captions" }], { vae: "/etc" }),
    ];
    for (const config of wrong) {
      const { status, body } = await post("train", { out: work("new"), data: null, config });
      expect([400, 404], JSON.stringify(body)).toContain(status);
    }
  });
});

it("writes a model with fewer bits, which opens", async () => {
  const { id } = await t.job({
    kind: "quantize",
    body: { model: "work/tiny", dtype: "q8", out: work("tiny-q8") },
  });
  expect(endOf(await t.events(id))).toMatchObject({ state: "done", result: { model: "work/tiny-q8" } });
  await t.open("work/tiny-q8");
  expect((await post("quantize", { model: "work/tiny", dtype: "q8", out: work("tiny-q8") })).status).toBe(
    400,
  );
  expect((await post("quantize", { model: "work/tiny", dtype: "q3", out: work("x") })).body.error.param).toBe(
    "body.dtype",
  );
});

it("writes a model as a GGUF file, which opens, and replaces nothing", async () => {
  const body = { model: "work/tiny", type: "q8_0", out: work("made/tiny.gguf") } as const;
  const { id } = await t.job({ kind: "convert", body });
  expect(endOf(await t.events(id))).toMatchObject({
    state: "done",
    result: { model: "work/made/tiny.gguf" },
  });
  await t.open("work/made/tiny.gguf");
  const again = await t.job({ kind: "convert", body });
  expect(endOf(await t.events(again.id))).toMatchObject({
    state: "failed",
    error: { message: expect.stringContaining("exists") },
  });
  expect((await post("convert", { ...body, out: work("a.bin") })).body.error.param).toBe("body.out.path");
  expect((await post("convert", { ...body, type: "q2" })).body.error.param).toBe("body.type");
});
