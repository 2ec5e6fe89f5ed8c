/** Frozen parts, multipliers and stages, with language models, models that see and models that the loop does not know. */
import { afterAll, describe, expect, it } from "vitest";
import { memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import { createModel } from "../models/causal-lm.ts";
import { toConfigJson } from "../models/config.ts";
import { tinyConfigs } from "../models/testing.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { Linear } from "../nn/linear.ts";
import type { Parameters } from "../nn/parameters.ts";
import { allocateModule } from "../nn/scope.ts";
import { addScaled } from "../tensor/ops/elementwise.ts";
import { multiply } from "../tensor/ops/multiply.ts";
import { sumAll, weightedSum } from "../tensor/ops/reduce.ts";
import { Random } from "../tensor/random.ts";
import { differentiate } from "../tensor/tape.ts";
import { cpuDevice } from "../tensor/testing.ts";
import type { BatchSource, TokenBatch } from "./batches.ts";
import { type ImageBatch, imageObjective } from "./objectives/images.ts";
import { AdamW } from "./optimizer.ts";
import { loadTraining, saveTraining } from "./state.ts";
import { Trainer, type TrainOptions } from "./trainer.ts";

const device = await cpuDevice(2, true);
afterAll(() => device[Symbol.asyncDispose]());

const options: TrainOptions = {
  steps: 4,
  batch: { size: 2 },
  learningRate: { peak: 1e-2, warmupSteps: 0, shape: "constant" },
  optimizer: { weightDecay: 0 },
};

const LENGTH = 8;
function source(rows = 2): BatchSource {
  let at = 0;
  const one = (batch: number, seed: number): TokenBatch => {
    const random = new Random(seed);
    const tokens = Int32Array.from({ length: batch * (LENGTH + 1) }, () => random.int(61));
    const targets = Int32Array.from({ length: batch * LENGTH }, () => random.int(61));
    return { tokens, targets, batch, length: LENGTH };
  };
  return {
    next: async (batch) => {
      const whole = one(batch, at++);
      if (rows >= batch) return whole;
      const cut = (from: number, to: number): TokenBatch => ({
        tokens: whole.tokens.slice(from * (LENGTH + 1), to * (LENGTH + 1)),
        targets: whole.targets.slice(from * LENGTH, to * LENGTH),
        batch: to - from,
        length: LENGTH,
      });
      return [cut(0, rows), cut(rows, batch)];
    },
    state: () => at,
    restore: (state) => {
      at = state as number;
    },
  };
}

async function valuesOf(parameters: Parameters): Promise<Map<string, number[]>> {
  const values = new Map<string, number[]>();
  for (const { name } of parameters.named()) values.set(name, [...(await parameters.get(name).data())]);
  return values;
}

const languageModel = () => createModel(tinyConfigs.llama, device, { seed: 3, std: 0.1 });
const HEAD = "lm_head.weight";
const LAYER = "model.layers.0";

describe("parts of a language model", () => {
  it("frozen ones keep their bits, and take neither gradients nor moments", async () => {
    using model = languageModel();
    const before = await valuesOf(model.parameters);
    using trainer = new Trainer(model, source(), {
      ...options,
      trained: [LAYER],
      rates: { [`${LAYER}.mlp`]: 0 },
    });
    await trainer.trainStep();
    const after = await valuesOf(model.parameters);
    for (const [name, values] of after) {
      const trained = name.startsWith(`${LAYER}.`) && !name.startsWith(`${LAYER}.mlp.`);
      if (trained) expect(values, name).not.toEqual(before.get(name));
      else expect(values, name).toEqual(before.get(name));
    }
    const names = [...trainer.optimizer.state()].map(({ name }) => name);
    expect(names.every((name) => name.includes(LAYER) && !name.includes("mlp"))).toBe(true);
    expect(names.length).toBeGreaterThan(0);
    trainer[Symbol.dispose]();
    expect([...model.parameters.groups()].every(({ frozen, tensor }) => !frozen && tensor.requiresGrad)).toBe(
      true,
    );
  });

  it("a multiplier of 0.1 moves a weight a tenth as far in the first step", async () => {
    const moved = async (rates?: Record<string, number>) => {
      using model = languageModel();
      const before = (await valuesOf(model.parameters)).get(HEAD)!;
      using trainer = new Trainer(model, source(), { ...options, ...(rates && { rates }) });
      await trainer.trainStep();
      return (await valuesOf(model.parameters)).get(HEAD)!.map((value, i) => value - before[i]);
    };
    const [whole, tenth] = [await moved(), await moved({ [HEAD]: 0.1, lm_head: 5 })];
    expect(Math.max(...whole.map(Math.abs))).toBeGreaterThan(5e-3);
    for (const [i, value] of tenth.entries()) expect(value).toBeCloseTo(0.1 * whole[i], 6);
  });

  it("keeps moments of what stays trained into the next stage, and begins others afresh", async () => {
    using model = languageModel();
    using trainer = new Trainer(model, source(), { ...options, trained: [LAYER, HEAD] });
    for (let i = 0; i < 3; i++) await trainer.trainStep();
    const moments = async () => {
      const found = new Map<string, number[]>();
      for (const { name, tensor } of trainer.optimizer.state()) found.set(name, [...(await tensor.data())]);
      return found;
    };
    const before = await moments();
    trainer.enter({ ...options, trained: [HEAD, "model.norm"] });
    const after = await moments();
    expect(after.get(`m.${HEAD}`)).toEqual(before.get(`m.${HEAD}`));
    expect(after.get("m.model.norm.weight")!.every((value) => value === 0)).toBe(true);
    expect(after.has(`m.${LAYER}.input_layernorm.weight`)).toBe(false);
    expect([trainer.stageStep, trainer.step, trainer.done]).toEqual([0, 3, false]);
    expect(trainer.optimizer.fewer).toEqual({ "model.norm.weight": 0 });
    await trainer.trainStep();
    expect(trainer.optimizer.fewer).toEqual({ "model.norm.weight": 1 });
    for (let i = 0; i < 3; i++) await trainer.trainStep();
    expect(trainer.done).toBe(true);
    trainer.enter({ ...options, trained: [HEAD], optimizer: { momentDType: "bf16" } });
    expect((await moments()).get(`m.${HEAD}`)!.every((value) => value === 0)).toBe(true);
  });

  it("resumes in the second stage with the same bits", async () => {
    const second = { ...options, trained: [HEAD, "model.norm"], rates: { [HEAD]: 0.5 } };
    const run = async (trainer: Trainer<ReturnType<typeof languageModel>>, steps: number) => {
      const found: unknown[] = [];
      for (let i = 0; i < steps; i++) {
        const { loss, gradientNorm, step, tokens } = await trainer.trainStep();
        found.push([loss, gradientNorm, step, tokens]);
      }
      return found;
    };
    using model = languageModel();
    using whole = new Trainer(model, source(), { ...options, trained: [HEAD] });
    await run(whole, 4);
    whole.enter(second);
    await run(whole, 1);
    const files = new Map<string, Uint8Array>();
    await saveTraining(whole, memoryFolderSink(files), { config: toConfigJson(model.config) });
    const expected = await run(whole, 3);
    using other = languageModel();
    using resumed = new Trainer(other, source(), second);
    await loadTraining(resumed, memoryFolder(files));
    expect(resumed.stageStep).toBe(1);
    expect(await run(resumed, 3)).toEqual(expected);
    expect(await valuesOf(other.parameters)).toEqual(await valuesOf(model.parameters));
  });

  it("gives the same gradients for a batch in pieces", async () => {
    const result = async (rows: number) => {
      using model = languageModel();
      using trainer = new Trainer(model, source(rows), { ...options, batch: { size: 5 } });
      const { loss, gradientNorm, tokens, samples } = await trainer.trainStep();
      return { loss, gradientNorm, tokens, samples, weights: (await valuesOf(model.parameters)).get(HEAD)! };
    };
    const [whole, pieces] = [await result(5), await result(2)];
    expect(pieces.loss).toBeCloseTo(whole.loss, 5);
    expect(pieces.gradientNorm).toBeCloseTo(whole.gradientNorm, 5);
    expect([pieces.tokens, pieces.samples]).toEqual([5 * LENGTH, 5]);
    for (const [i, value] of pieces.weights.entries()) expect(value).toBeCloseTo(whole.weights[i], 4);
  });

  it.each<[string, Partial<TrainOptions>, RegExp]>([
    ["an unknown part", { trained: ["vision"] }, /no such part of the model.*name: vision/],
    ["an unknown rate", { rates: { "model.layer": 1 } }, /no such part.*name: model\.layer;/],
    ["a negative rate", { rates: { [HEAD]: -1 } }, /rates\.lm_head\.weight/],
    ["an empty list", { trained: [] }, /name: trained; expected: a list/],
    ["nothing trained", { rates: { model: 0, lm_head: 0 } }, /nothing is trained/],
    ["divided groups", { trained: [`${LAYER}.self_attn.q_proj`] }, /stored as one.*q_proj.*k_proj/],
  ])("refuses %s by name", (_, more, message) => {
    using model = languageModel();
    const { buffers } = device.backend.memory();
    expect(() => new Trainer(model, source(), { ...options, ...more })).toThrow(message);
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("trains beside what is stored in halves, and refuses to train that", () => {
    using model = createModel(tinyConfigs.llama, device, { seed: 3, dtype: "bf16" });
    expect(() => new Trainer(model, source(), options)).toThrow(
      /trained weights must be f32.*freeze the part/,
    );
    using trainer = new Trainer(model, source(), { ...options, trained: ["model.norm"] });
    expect(model.parameters.trainable).toBe(true);
    expect(trainer.optimizer.bytes).toBeGreaterThan(0);
  });
});

const fixture = (name: string) =>
  nodeFolder(new URL(`../../test/fixtures/${name}`, import.meta.url).pathname);

/** Two sequences with one image each. */
function imageBatch(model: VisionLanguageModel, imageId: number): ImageBatch {
  const { imageSize: side } = model;
  const tokens = model.imageTokens([0, 0]);
  const random = new Random(5);
  const length = tokens + 6;
  const row = () => [
    1,
    ...Array.from({ length: tokens }, () => imageId),
    ...Array.from({ length: 5 }, () => 10 + random.int(20)),
  ];
  const ids = Int32Array.from([...row(), ...row()]);
  const targets = Int32Array.from(ids, (_, i) =>
    i % length > tokens && i % length < length - 1 ? ids[i + 1] : -1,
  );
  const views = 2;
  const pixels = Float32Array.from({ length: views * side * side * 3 }, () => random.normal());
  const tiles = [[0, 0] as const, [0, 0] as const];
  const weight = targets.filter((target) => target >= 0).length;
  return { batch: 2, length, ids, targets, imageId, images: { pixels, tiles }, weight, kind: "images" };
}

const fixed = <B extends ImageBatch>(batch: B): BatchSource<B> => ({
  next: async () => batch,
  state: () => 0,
  restore: () => {},
});

describe.each([
  ["vl/chat", "vision_model", ["vision", "projector", "aligner", "language"]],
  [
    "vl/hybrid-chat",
    "vision_model",
    ["vision", "vision.high", "vision.low", "projector", "aligner", "language"],
  ],
] as const)("%s", (name, prefix, parts) => {
  const IMAGE = 9;

  it("has parts under the official names, which cover all", async () => {
    using model = await loadVisionModel(fixture(name), device);
    expect(Object.keys(model.parts)).toEqual(parts);
    const all = [...model.parts.vision, ...model.parts.projector, ...model.parts.language];
    expect(model.parts.vision).toEqual([prefix]);
    for (const { name: official } of model.parameters.named()) {
      expect(
        all.some((each) => official.startsWith(`${each}.`)),
        official,
      ).toBe(true);
    }
  });

  it("trains the projector alone with the gradients that it has in training everything", async () => {
    const gradients = async (frozen: boolean) => {
      using model = await loadVisionModel(fixture(name), device);
      const batch = imageBatch(model, IMAGE);
      if (frozen) model.parameters.freeze(({ key }) => !key.startsWith("aligner."));
      const pass = () => {
        const { loss, crossEntropy } = differentiate(device, () => imageObjective(model, batch, {}));
        loss.dispose();
        crossEntropy!.dispose();
      };
      // The first makes the tables of positions.
      pass();
      model.parameters.clearGradients();
      const { buffers } = device.backend.memory();
      pass();
      const found = new Map<string, number[]>();
      for (const { name: official } of model.parameters.named()) {
        using gradient = model.parameters.gradient(official);
        if (gradient) found.set(official, [...(await gradient.data())]);
      }
      model.parameters.clearGradients();
      expect(device.backend.memory().buffers).toBe(buffers);
      return found;
    };
    const [all, some] = [await gradients(false), await gradients(true)];
    expect([...some.keys()].every((each) => each.startsWith("aligner."))).toBe(true);
    expect(some.size).toBeGreaterThan(1);
    for (const [each, values] of some) expect(values, each).toEqual(all.get(each));
    expect([...all.keys()].some((each) => each.startsWith(prefix))).toBe(true);
  });

  it("learns what stands beside its images with tower and language model frozen", async () => {
    using model = await loadVisionModel(fixture(name), device);
    const before = await valuesOf(model.parameters);
    const batch = imageBatch(model, IMAGE);
    const trained = ["projector"];
    using trainer = new Trainer(model, fixed(batch), { ...options, trained }, imageObjective);
    const first = await trainer.trainStep();
    let last = first;
    while (!trainer.done) last = await trainer.trainStep();
    expect(last.loss).toBeLessThan(first.loss);
    expect([first.kind, first.samples]).toEqual(["images", 2]);
    for (const [each, values] of await valuesOf(model.parameters)) {
      if (each.startsWith("aligner.")) expect(values, each).not.toEqual(before.get(each));
      else expect(values, each).toEqual(before.get(each));
    }
  });

  it("refuses steps in which nothing that is trained takes part", async () => {
    using model = await loadVisionModel(fixture(name), device);
    const { images: _, ...text } = imageBatch(model, IMAGE);
    const batch: ImageBatch = { ...text, images: null, kind: "text" };
    using trainer = new Trainer(model, fixed(batch), { ...options, trained: ["vision"] }, imageObjective);
    await expect(trainer.trainStep()).rejects.toThrow(/nothing that is trained takes part.*found: text/);
  });
});

describe("a model that the loop does not know", () => {
  it("is trained by its own objective on its own batches", async () => {
    const layer = allocateModule(device, "f32", (scope) => {
      const linear = new Linear(scope.child("layer"), 3, 1, { bias: true });
      return { linear, parameters: scope.parameters, device };
    });
    layer.parameters.initialize(new Random(1), 0.1);
    const random = new Random(2);
    type Points = { batch: number; length: 1; x: Float32Array; y: Float32Array };
    const next = async (batch: number): Promise<Points> => {
      const x = Float32Array.from({ length: batch * 3 }, () => random.normal());
      const y = Float32Array.from({ length: batch }, (_, i) => 2 * x[3 * i] - x[3 * i + 2] + 0.5);
      return { batch, length: 1, x, y };
    };
    const learningRate = { peak: 0.1, warmupSteps: 0, shape: "cosine" } as const;
    using trainer = new Trainer(
      layer,
      { next, state: () => 0, restore: () => {} },
      { ...options, steps: 120, batch: { size: 16 }, learningRate },
      ({ linear }, { batch, x, y }) => {
        const predicted = linear.forward(device.tensor(x, [batch, 3])); // [B, 1]
        const error = addScaled(predicted, device.tensor(y, [batch, 1]), 1, -1);
        const loss = weightedSum([sumAll(multiply(error, error))], [1 / batch]);
        return { loss, terms: { error: loss.view([1]) } };
      },
    );
    let last = await trainer.trainStep();
    while (!trainer.done) last = await trainer.trainStep();
    expect(last.loss).toBeLessThan(1e-3);
    expect(last.terms).toEqual({ error: last.loss });
    const weight = [...(await layer.parameters.get("layer.weight").data())];
    for (const [i, value] of [2, 0, -1].entries()) expect(weight[i]).toBeCloseTo(value, 1);
    layer.parameters[Symbol.dispose]();
  });
});

it("moments that no step reaches stay as they are", async () => {
  using model = languageModel();
  using optimizer = new AdamW(model.parameters, { weightDecay: 0.5 });
  const before = await valuesOf(model.parameters);
  using squared = device.tensor([0], [1]);
  optimizer.step(0.1, squared);
  expect(await valuesOf(model.parameters)).toEqual(before);
});
