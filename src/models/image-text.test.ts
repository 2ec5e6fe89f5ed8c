/** The contrastive model: what its vectors depend on, and that every trained parameter is reached by the loss. */
import { describe, expect, it } from "vitest";
import { allocateModule } from "../nn/scope.ts";
import { weightedSum } from "../tensor/ops/reduce.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { differentiate } from "../tensor/tape.ts";
import { doubles } from "../tensor/testing.ts";
import { pairwiseSigmoidLoss, sigmoidLoss, unitRows } from "../train/objectives/pairwise-sigmoid.ts";
import type { SiglipConfig } from "../vision/tower-config.ts";
import { parseConfig } from "./config.ts";
import { ImageTextModel } from "./image-text.ts";
import { tinyConfigs } from "./testing.ts";

const tower: SiglipConfig = {
  kind: "siglip",
  imageSize: 16,
  patchSize: 8,
  width: 12,
  layers: 2,
  heads: 3,
  mlpWidth: 24,
  activation: "gelu_tanh",
  pool: false,
};
const NAMES = 5;

function made() {
  const device = createReferenceDevice();
  const text = parseConfig({ ...tinyConfigs.llama, tie_word_embeddings: true });
  const model = allocateModule(
    device,
    "f32",
    (scope) => new ImageTextModel(scope, { tower, text, width: 6, names: NAMES }),
  );
  model.parameters.initialize(new Random(5), 0.2);
  model.setComparison(10, -10);
  const pixels = device.tensor(
    Float32Array.from({ length: 2 * 16 * 16 * 3 }, (_, i) => Math.sin(i)),
    [2, 16, 16, 3],
  );
  return { device, model, pixels };
}

describe("ImageTextModel", () => {
  it("pools the mean of a picture's tokens", () => {
    const { device, model } = made();
    const rows = Float32Array.from({ length: 4 * 12 }, (_, i) => Math.cos(i));
    const mean = Float32Array.from({ length: 12 }, (_, c) =>
      [0, 1, 2, 3].reduce((sum, n) => sum + rows[12 * n + c] / 4, 0),
    );
    const same = (values: Float32Array, n: number) =>
      doubles(model.pooled(device.tensor(values, [1, n, 12])));
    const [a, b] = [same(rows, 4), same(mean, 1)];
    expect(a.length).toBe(6);
    a.forEach((value, i) => {
      expect(value).toBeCloseTo(b[i], 6);
    });
  });

  it("reads captions at their last token: padding does not matter, order does", () => {
    const { model } = made();
    const vector = (ids: readonly number[], end: number) => [
      ...doubles(model.captions(Int32Array.from(ids), [end])),
    ];
    expect(vector([5, 6, 7, 0, 0], 2)).toEqual(vector([5, 6, 7, 9, 9], 2));
    expect(vector([5, 6, 7], 2)).not.toEqual(vector([6, 5, 7], 2));
  });

  it("gives every trained parameter a gradient", () => {
    const { device, model, pixels } = made();
    differentiate(device, () => {
      const tokens = model.tower.forward(pixels); // [2, 4, 12]
      const v = model.captions(Int32Array.of(5, 6, 7, 8), [1, 1]);
      const pairs = pairwiseSigmoidLoss(unitRows(model.pooled(tokens)), unitRows(v), model.comparison);
      const labels = Array.from({ length: 2 * 4 * NAMES }, (_, i) => i % 7 === 0);
      return weightedSum([pairs, sigmoidLoss(model.named(tokens), labels, 2)], [1, 1]);
    });
    for (const { key, tensor, trained } of model.parameters.groups()) {
      if (!trained) continue;
      expect(tensor.grad, key).not.toBeNull();
      expect(
        doubles(tensor.grad!).some((value) => value !== 0),
        key,
      ).toBe(true);
    }
  });
});
