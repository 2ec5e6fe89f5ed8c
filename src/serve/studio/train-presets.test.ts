import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { presets } from "../../runs/config.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import type { TrainPresets } from "./protocol.ts";
import { startTestStudio, type TestStudio } from "./testing.ts";

let t: TestStudio;
beforeAll(async () => {
  t = await startTestStudio({ text: import.meta.dirname });
});
afterAll(() => t[Symbol.asyncDispose]());

const presetsNow = async () => (await t.ask("/studio/api/train/presets")).body as TrainPresets;
const work = (path: string) => ({ root: "work", path });
const check = async (body: object) => await t.ask("/studio/api/train/check", body);

describe("presets", () => {
  it("have their size, memory, time and whole settings, which a training takes as they are", async () => {
    const { presets: found, speed, extensions } = await presetsNow();
    expect(found.map(({ name }) => name)).toEqual(Object.keys(presets));
    expect(speed).toEqual({ run: null, measured: { tokens: 6200, cores: 2 } });
    expect(extensions).toContain("text");
    const demo = found[0];
    expect(demo).toMatchObject({ system: "DeepSeek-V3", seconds: 120, tokensPerSecond: 3100 });
    // What the demo measures: weights, gradients, moments and activations.
    expect(demo.memory).toBeGreaterThan(100e6);
    expect(demo.memory).toBeLessThan(250e6);
    for (const { name, config, parameters } of found) {
      expect(parameters.activated, name).toBeLessThanOrEqual(parameters.total);
      const { status, body } = await check({ out: work("new"), data: "typescript", config });
      expect([status, body.memory], name).toEqual([200, expect.stringMatching(/^about .* are free/)]);
    }
  });

  it("take as long as the newest run here says, by the work of a token", async () => {
    const folder = join(t.root, "fast");
    mkdirSync(folder);
    writeFileSync(join(folder, "run.json"), JSON.stringify({ folder: "", ...presets.demo }));
    writeFileSync(
      join(folder, "metrics.jsonl"),
      `${JSON.stringify({ kind: "step", step: 50, loss: 2, speed: 31_000 })}\n`,
    );
    const { presets: found, speed } = await presetsNow();
    expect(speed).toEqual({ run: "work/fast", measured: null });
    expect(found[0].tokensPerSecond).toBeCloseTo(31_000, 6);
    const v3 = found.find(({ name }) => name === "v3-small")!;
    expect(v3.tokensPerSecond).toBeLessThan(31_000);
    expect(v3.seconds).toBeCloseTo((2000 * 8 * 256) / v3.tokensPerSecond, 6);
  });
});

it("models that see go on with the picture world, by a configuration alone", async () => {
  await using device = await createCpuDevice({ threads: 1 });
  for (const kind of ["vl2", "janus"] as const) {
    mkdirSync(join(t.root, kind));
    for (const [name, bytes] of await worldCheckpoint(kind, device)) {
      writeFileSync(join(t.root, kind, name), bytes);
    }
  }
  const { pictures } = await presetsNow();
  expect(pictures.map(({ model, draws }) => [model, draws])).toEqual([
    ["work/janus", true],
    ["work/vl2", false],
  ]);
  for (const { config, model } of pictures) {
    const { stages } = config as { stages: [object] };
    const short = { ...config, stages: [{ ...stages[0], seconds: null, steps: 2, batch: { size: 2 } }] };
    const out = work(`pictures-${model.slice(5)}`);
    const { id } = await t.job({ kind: "train", body: { out, data: null, config: short } });
    const end = (await t.events(id)).at(-1)!.event;
    expect(end).toMatchObject({ job: { state: "done", error: null, result: { finished: true, step: 2 } } });
  }
});

describe("a training that is checked", () => {
  it.each([
    ["the place", { out: work("tiny"), data: "typescript", config: {} }, "body.out", "exists"],
    ["a hidden place", { out: work(".x"), data: "typescript", config: {} }, "body.out", "hidden"],
    ["the data", { out: work("new"), data: work("none"), config: {} }, "body.data", "nothing at"],
    ["no data", { out: work("new"), data: null, config: {} }, "body.data", "folder of text"],
    [
      "a setting",
      { out: work("new"), data: "typescript", config: { training: { steps: -1 } } },
      "body.config.training.steps",
      "invalid setting",
    ],
    [
      "an unknown setting",
      { out: work("new"), data: "typescript", config: { training: { sped: 1 } } },
      "body.config.training.sped",
      "no such setting",
    ],
    [
      "files beside the text that is there",
      { out: work("new"), data: "typescript", config: { data: { include: [".env"] } } },
      "body.config.data.include",
      "folder of yours",
    ],
    [
      "a model beyond the memory",
      { out: work("new"), data: "typescript", config: { model: { hidden_size: 100_000 } } },
      "body.config",
      "memory",
    ],
    [
      "a stage",
      { out: work("new"), data: null, config: { kind: "stages", seed: -1 } },
      "body.config.seed",
      "invalid setting",
    ],
  ])("is refused as the job would be, at its field: %s", async (_, body, param, words) => {
    for (const answer of [await check(body), await t.ask("/studio/api/jobs", { kind: "train", body })]) {
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
      expect(answer.body.error.param).toBe(param);
      expect(answer.body.error.message).toContain(words);
      expect(answer.body.error.message).not.toContain(t.root);
    }
  });
});
