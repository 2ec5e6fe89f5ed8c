/** The training objective against the plain formula: which targets count, and how modules are averaged. */
import { describe, expect, it } from "vitest";
import { createModel } from "../../models/causal-lm.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { doubles } from "../../tensor/testing.ts";
import { nextTokenBatch, nextTokenLoss } from "./next-token.ts";

const ROWS = 2;
const LENGTH = 9;
const VOCABULARY = 61;
/** Rows without padding, as training has them: every position has a target. */
const batch = nextTokenBatch(
  Int32Array.from({ length: ROWS * (LENGTH + 1) }, (_, i) => (i * 17 + 5) % VOCABULARY),
  ROWS,
);

/** Negative log likelihood of `target` in a row of logits. */
function nll(logits: Float64Array, row: number, target: number): number {
  const values = logits.subarray(row * VOCABULARY, (row + 1) * VOCABULARY);
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, v) => sum + Math.exp(v - top), 0)) - values[target];
}

/** Losses of a V3 with `modules` prediction modules, and the logits they were computed from. */
function lossesOf(modules: number) {
  const device = createReferenceDevice();
  const config = { ...tinyConfigs.v3, num_nextn_predict_layers: modules };
  const model = createModel(config, device, { seed: 4, std: 0.3 });
  const main: Float64Array[] = [];
  const mtp: Float64Array[] = [];
  const capture = (name: string, tensor: Tensor) => {
    if (name === "logits") main.push(doubles(tensor).slice());
    if (name === "mtp.logits") mtp.push(doubles(tensor).slice());
    tensor.dispose();
  };
  const result = nextTokenLoss(model, batch, { mtpWeight: 0.3, capture });
  const value = (tensor: Tensor) => doubles(tensor)[0];
  return {
    total: value(result.loss),
    main: value(result.crossEntropy),
    mtp: value(result.mtp!),
    logits: { main, mtp },
  };
}

/** Mean over all next-token targets of the terms of the module at `depth`, which predicts `depth + 2` tokens ahead. */
function moduleLoss(logits: Float64Array, depth: number): number {
  let sum = 0;
  for (let row = 0; row < ROWS; row++) {
    for (let t = 0; t + depth + 1 < LENGTH; t++) {
      sum += nll(logits, row * LENGTH + t, batch.targets[row * LENGTH + t + depth + 1]);
    }
  }
  return sum / (ROWS * LENGTH);
}

describe.each([1, 2])("rows without padding, %d prediction modules", (modules) => {
  const { total, main, mtp, logits } = lossesOf(modules);

  it("the main loss is the mean over all positions", () => {
    const terms = Array.from(batch.targets, (target, row) => nll(logits.main[0], row, target));
    expect(main).toBeCloseTo(terms.reduce((a, b) => a + b) / (ROWS * LENGTH), 10);
  });

  it("positions whose target lies beyond the row are ignored, and modules are averaged", () => {
    expect(logits.mtp.length).toBe(modules);
    const terms = logits.mtp.map(moduleLoss);
    expect(mtp).toBeCloseTo(terms.reduce((a, b) => a + b) / modules, 10);
    expect(total).toBeCloseTo(main + 0.3 * mtp, 10);
  });
});
