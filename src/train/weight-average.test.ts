/** Averages of weights: by their formula, over stages, saved and resumed to the bit. */
import { afterAll, describe, expect, it } from "vitest";
import { memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { createModel } from "../models/causal-lm.ts";
import { toConfigJson } from "../models/config.ts";
import { tinyConfigs } from "../models/testing.ts";
import { Random } from "../tensor/random.ts";
import { cpuDevice } from "../tensor/testing.ts";
import type { BatchSource } from "./batches.ts";
import { trainingMemory } from "./memory.ts";
import { loadTraining, saveTraining } from "./state.ts";
import { Trainer, type TrainOptions } from "./trainer.ts";

const device = await cpuDevice(2, true);
afterAll(() => device[Symbol.asyncDispose]());

const DECAY = 0.75;
const HEAD = "lm_head.weight";
const LAYER = "model.layers.0.mlp.gate_proj.weight";
const options: TrainOptions = {
  steps: 6,
  batch: { size: 2 },
  learningRate: { peak: 1e-2, warmupSteps: 0, shape: "constant" },
  averageDecay: DECAY,
};

function source(): BatchSource {
  let at = 0;
  return {
    next: async (batch) => {
      const random = new Random(at++);
      const ids = (count: number) => Int32Array.from({ length: count }, () => random.int(61));
      return { tokens: ids(batch * 9), targets: ids(batch * 8), batch, length: 8 };
    },
    state: () => at,
    restore: (state) => {
      at = state as number;
    },
  };
}

const made = () => createModel(tinyConfigs.llama, device, { seed: 3, std: 0.1 });
const values = async ({ parameters }: ReturnType<typeof made>, name: string) =>
  Float32Array.from(await parameters.get(name).data());
const saved = async (trainer: Trainer<ReturnType<typeof made>>) => {
  const found: Record<string, number[]> = {};
  for (const { name, tensor } of trainer.tensors()) found[name] = [...(await tensor.data())];
  return found;
};

describe("averages of weights", () => {
  it("follow the weights by their decay, and change places with them twice", async () => {
    using model = made();
    using trainer = new Trainer(model, source(), options);
    let expected = Float64Array.from(await values(model, HEAD));
    for (let step = 0; step < 3; step++) {
      await trainer.trainStep();
      const weights = await values(model, HEAD);
      expected = expected.map((average, i) => DECAY * average + (1 - DECAY) * weights[i]);
    }
    const weights = await values(model, HEAD);
    trainer.average!.exchange();
    const averaged = await values(model, HEAD);
    for (const [i, value] of averaged.entries()) expect(value).toBeCloseTo(expected[i], 6);
    expect(averaged).not.toEqual(weights);
    trainer.average!.exchange();
    expect(await values(model, HEAD)).toEqual(weights);
  });

  it("do not change what is learned, and are counted as memory", async () => {
    const weights: Float32Array[] = [];
    const memories: number[] = [];
    for (const averageDecay of [DECAY, undefined]) {
      using model = made();
      const { averageDecay: _, ...plain } = options;
      using trainer = new Trainer(model, source(), averageDecay === undefined ? plain : options);
      for (let step = 0; step < 3; step++) await trainer.trainStep();
      weights.push(await values(model, LAYER));
      memories.push(trainingMemory(trainer).moments);
    }
    expect(weights[0]).toEqual(weights[1]);
    expect(memories[0]).toBe(1.5 * memories[1]);
  });

  it("are resumed to the bit, over stages too", async () => {
    const second: TrainOptions = { ...options, steps: 3, trained: ["lm_head", "model.layers.0"] };
    const run = async (trainer: Trainer<ReturnType<typeof made>>, steps: number) => {
      for (let i = 0; i < steps; i++) {
        if (trainer.step === 2) trainer.enter(second);
        await trainer.trainStep();
      }
    };
    using whole = made();
    using straight = new Trainer(whole, source(), { ...options, steps: 2 });
    await run(straight, 5);
    const files = new Map<string, Uint8Array>();
    {
      using model = made();
      using trainer = new Trainer(model, source(), { ...options, steps: 2 });
      await run(trainer, 4);
      await saveTraining(trainer, memoryFolderSink(files), { config: toConfigJson(model.config) });
    }
    using model = made();
    using trainer = new Trainer(model, source(), { ...options, steps: 2 });
    trainer.enter(second);
    await loadTraining(trainer, memoryFolder(files, "saved"));
    await run(trainer, 1);
    const [found, expected] = [await saved(trainer), await saved(straight)];
    expect(found).toEqual(expected);
    expect(Object.keys(found).filter((name) => name.startsWith("average."))).toContain(
      "average.lm_head.weight",
    );
    // What the second stage does not train has none.
    expect(Object.keys(found).some((name) => name.includes("embed_tokens"))).toBe(false);
    // The head's average goes on from the first stage, that of a new part would begin with its weights.
    using again = made();
    using twin = new Trainer(again, source(), { ...options, steps: 2 });
    let head = Float64Array.from(await values(again, HEAD));
    for (let step = 0; step < 5; step++) {
      await run(twin, 1);
      const weights = await values(again, HEAD);
      head = head.map((average, i) => DECAY * average + (1 - DECAY) * weights[i]);
    }
    for (const [i, value] of found["average.lm_head.weight"].entries()) expect(value).toBeCloseTo(head[i], 6);
  });

  it("refuse a decay that is none", () => {
    using model = made();
    expect(() => new Trainer(model, source(), { ...options, averageDecay: 1.5 })).toThrow(
      /averageDecay.*1\.5/s,
    );
  });
});
