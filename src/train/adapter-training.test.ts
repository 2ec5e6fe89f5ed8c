/** Training adapters: what moves, what does not, and that a resumed run has the bits of one that was never stopped. */
import { afterAll, describe, expect, it } from "vitest";
import { openAdapters } from "../checkpoint/adapters.ts";
import { memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { AdaptedModel, createAdapters } from "../models/adapted-model.ts";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { weightsOf } from "../nn/model-weights.ts";
import type { StorageFormat } from "../nn/storage.ts";
import { Random, type RandomState } from "../tensor/random.ts";
import { cpuDevice } from "../tensor/testing.ts";
import type { BatchSource } from "./batches.ts";
import { trainingMemory } from "./memory.ts";
import { loadAdapterTraining, saveAdapterTraining } from "./state.ts";
import { Trainer } from "./trainer.ts";

const device = await cpuDevice(2, true);
afterAll(() => device[Symbol.asyncDispose]());

/** Counting upwards from a random token. */
class Counting implements BatchSource {
  readonly #random = new Random(31);

  async next(batch: number) {
    const length = 10;
    const rows = Array.from({ length: batch }, () => {
      const first = this.#random.int(61);
      return Array.from({ length: length + 1 }, (_, i) => (first + i) % 61);
    });
    return {
      ...{ batch, length },
      tokens: Int32Array.from(rows.flat()),
      targets: Int32Array.from(rows.flatMap((row) => row.slice(1))),
    };
  }

  state() {
    return this.#random.save();
  }

  restore(state: unknown) {
    this.#random.restore(state as RandomState);
  }
}

const settings = { rank: 4, alpha: 8, targets: ["all-linear"] };

function training(dtype: StorageFormat, change: Partial<typeof settings> = {}) {
  const config = { ...tinyConfigs.v3, moe_intermediate_size: 16, num_nextn_predict_layers: 0 };
  const base = createModel(config, device, { seed: 4, std: 0.1, dtype });
  const model = new AdaptedModel(base, createAdapters(base, { ...settings, ...change }, 9));
  const trainer = new Trainer(model, new Counting(), {
    steps: 12,
    batch: { size: 4 },
    learningRate: { peak: 0.02, warmupSteps: 2, shape: "cosine" },
    optimizer: { weightDecay: 0.01 },
    biasGamma: 0.01,
    balanceAlpha: 0.01,
    averageDecay: 0.9,
  });
  return {
    ...{ base, model, trainer },
    [Symbol.dispose]() {
      trainer[Symbol.dispose]();
      model[Symbol.dispose]();
      base[Symbol.dispose]();
    },
  };
}

async function valuesOf(model: AdaptedModel): Promise<number[]> {
  const values: number[] = [];
  for (const { tensor } of model.parameters.groups()) values.push(...(await tensor.data()));
  return values;
}

async function sumOf(source: ReturnType<typeof weightsOf>): Promise<number> {
  let sum = 0;
  for (const name of source.names()) {
    for await (const { values } of source.readF32(name)) for (const value of values) sum += value;
  }
  return sum;
}

describe.each(["f32", "bf16", "q8", "q4"] as const)("over %s", (dtype) => {
  it("learns, and changes the adapters alone", async () => {
    using run = training(dtype);
    const { base, trainer, model } = run;
    const before = await sumOf(weightsOf(base));
    const losses: number[] = [];
    while (!trainer.done) losses.push((await trainer.trainStep()).loss);
    expect(losses.at(-1)).toBeLessThan(losses[0] - 0.5);
    expect(await sumOf(weightsOf(base))).toBe(before);
    const { weights, gradients, moments } = trainingMemory(trainer);
    expect(weights).toBe(base.parameters.bytes + 4 * model.parameters.count);
    expect(gradients).toBe(4 * model.parameters.count);
    // Two moments and an average of the adapters, and nothing of what is below.
    expect(moments).toBe(3 * gradients);
  });

  it("has the bits of a run that recomputes nothing, with the experts' balance loss", async () => {
    const runs: unknown[] = [];
    for (const recompute of [false, true]) {
      using run = training(dtype);
      run.model.recompute = recompute;
      const steps: unknown[] = [];
      for (let i = 0; i < 3; i++) {
        const { speed: _, ...metrics } = await run.trainer.trainStep();
        expect(metrics.balanceLoss).toBeGreaterThan(0);
        steps.push(metrics);
      }
      runs.push([steps, await valuesOf(run.model)]);
    }
    expect(runs[1]).toEqual(runs[0]);
  });

  it("goes on from a saved step with the bits of a run that was never stopped", async () => {
    using straight = training(dtype);
    for (let i = 0; i < 7; i++) await straight.trainer.trainStep();
    const files = new Map<string, Uint8Array>();
    const first = training(dtype);
    for (let i = 0; i < 3; i++) await first.trainer.trainStep();
    await saveAdapterTraining(first.trainer, memoryFolderSink(files), "base/model");
    // Steps after the saved one leave no trace.
    await first.trainer.trainStep();
    first[Symbol.dispose]();
    using resumed = training(dtype);
    const tree = memoryFolder(files, "saved");
    await loadAdapterTraining(resumed.trainer, tree);
    expect(resumed.trainer.step).toBe(3);
    for (let i = 3; i < 7; i++) await resumed.trainer.trainStep();
    expect(await valuesOf(resumed.model)).toEqual(await valuesOf(straight.model));
    // The saved step is an adapter as any other.
    using adapters = await openAdapters(tree, device, straight.base.mainParameters);
    expect(adapters.modules).toEqual(straight.model.adapters.modules);
  });
});

it("refuses a saved step of other adapters", async () => {
  using run = training("q8");
  const files = new Map<string, Uint8Array>();
  await saveAdapterTraining(run.trainer, memoryFolderSink(files));
  const tree = memoryFolder(files, "saved");
  using wider = training("q8", { rank: 5 });
  await expect(loadAdapterTraining(wider.trainer, tree)).rejects.toThrow(/rank 5.*rank 4/s);
  using scaled = training("q8", { alpha: 3 });
  await expect(loadAdapterTraining(scaled.trainer, tree)).rejects.toThrow(/alpha 3.*alpha 8/s);
  using fewer = training("q8", { targets: ["o_proj"] });
  await expect(loadAdapterTraining(fewer.trainer, tree)).rejects.toThrow(/does not use/);
});
