/** What alignment teaches and what not, dropped prompts, times, and refusals; values and gradients are compared in test/parity. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { Random } from "../../tensor/random.ts";
import { differentiate } from "../../tensor/tape.ts";
import { disposeAll } from "../../tensor/tensor.ts";
import { UnifiedModel, unifiedObjective } from "../unified-model.ts";
import { drawTime, type FlowBatch, flowObjective } from "./flow.ts";
import { channelsLast, recordedTensors } from "./testing.ts";

const device = await createCpuDevice({ threads: 1 });
let model: UnifiedModel;
let batch: FlowBatch;
beforeAll(async () => {
  const vision = await loadVisionModel(nodeFolder("test/fixtures/janusflow/repa"), device);
  model = new UnifiedModel(vision, { afterBlock: 2, weight: 1, seed: 1, std: 0.3 });
  const [x, z0, t, pixels, rows] = await recordedTensors("janusflow/repa", "inputs.safetensors", [
    ...["x", "z0", "t", "pixel_values", "rows"],
  ]);
  const [, channels, height, width] = x.shape;
  const [count, length] = rows.shape;
  batch = {
    ...{ batch: count, length: 1, latentShape: [height, width, channels] },
    prompts: Array.from({ length: count }, (_, i) => ({
      ids: Array.from(rows.values.subarray(i * length, (i + 1) * length)),
    })),
    ...{ latents: channelsLast(x), noise: channelsLast(z0), pixels: channelsLast(pixels) },
    times: Array.from(t.values),
  };
});
afterAll(async () => {
  model[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
});

/** Keys of the groups with a gradient that is not all zeros. */
async function taughtBy(run: () => ReturnType<typeof flowObjective>): Promise<string[]> {
  disposeAll(differentiate(device, run));
  const taught: string[] = [];
  for (const { key, tensor } of model.parameters.groups()) {
    if (tensor.grad !== null && (await tensor.grad.data()).some((value) => value !== 0)) taught.push(key);
  }
  model.parameters.clearGradients();
  return taught;
}

describe("flowObjective", () => {
  it("teaches the head and the blocks below it to align, and nothing of the tower", async () => {
    const { vision, alignment } = model;
    const whole = await taughtBy(() => flowObjective(model, batch, {}));
    const aligning = await taughtBy(() => {
      const { terms } = flowObjective(
        { ...model, device, vision, alignment, parameters: model.parameters },
        batch,
        {},
      );
      return { loss: terms!.alignment };
    });
    const has = (keys: readonly string[], prefix: string) => keys.some((key) => key.startsWith(prefix));
    for (const part of ["repa_head", "language_model.model.layers.1", "vision_gen_enc_model"]) {
      expect([has(whole, part), has(aligning, part)], part).toEqual([true, true]);
    }
    for (const part of ["language_model.model.layers.2", "vision_gen_dec_model"]) {
      expect([has(whole, part), has(aligning, part)], part).toEqual([true, false]);
    }
    for (const part of ["vision_und_enc_model", "vision_und_enc_aligner", "language_model.lm_head"]) {
      expect([has(whole, part), has(aligning, part)], part).toEqual([false, false]);
    }
  });

  it("sees of a dropped prompt its first token alone, with the image at the same positions", async () => {
    const { vision } = model;
    const losses: number[] = [];
    for (const prompts of [
      batch.prompts.map(({ ids }) => ({ ids, dropped: true })),
      batch.prompts.map(({ ids }) => ({ ids: ids.map((id, i) => (i === 0 ? id : 9)), dropped: true })),
      batch.prompts,
    ]) {
      const { loss } = device.inference(() =>
        flowObjective(
          { device, vision, alignment: null, parameters: model.parameters },
          { ...batch, prompts },
          {},
        ),
      );
      losses.push(await loss.item());
      loss.dispose();
    }
    expect(losses[0]).toBe(losses[1]);
    expect(losses[0]).not.toBeCloseTo(losses[2], 5);
  });

  it("draws times between noise and image, or all alike", () => {
    for (const [distribution, low] of [
      ["uniform", 0.25],
      // Of a normal number: below log(1 / 3).
      ["logit-normal", 0.136],
      // Below (log(1 / 3) + 1.2) / 0.8.
      [{ mean: -1.2, deviation: 0.8 }, 0.55],
    ] as const) {
      const random = new Random(4);
      const times = Array.from({ length: 4000 }, () => drawTime(distribution, random));
      expect(times.every((t) => t >= 0 && t < 1)).toBe(true);
      expect(times.filter((t) => t < 0.25).length / 4000).toBeCloseTo(low, 1.5);
    }
  });

  it("refuses latents, noise, times and images that do not match", () => {
    const refused = (change: Partial<FlowBatch>) => () =>
      device.inference(() => unifiedObjective(model, { ...batch, ...change }, {}));
    expect(refused({ times: [0.5] })).toThrow(/found: .*1 times/);
    expect(refused({ noise: batch.noise.subarray(1) })).toThrow(/numbers of noise/);
    expect(refused({ pixels: undefined })).toThrow(/alignment needs the images/);
  });
});
