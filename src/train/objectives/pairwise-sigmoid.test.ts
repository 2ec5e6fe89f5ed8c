/** SigLIP's loss against its formula and finite differences. */
import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { checkBackends, checkGradients, doubles } from "../../tensor/testing.ts";
import { pairLogits, pairwiseSigmoidLoss, sigmoidLoss, unitRows } from "./pairwise-sigmoid.ts";

const rows = (n: number, d: number, phase: number) => ({
  shape: [n, d],
  values: Array.from({ length: n * d }, (_, i) => Math.sin(1.7 * i + phase)),
});
const scalar = (value: number) => ({ shape: [1], values: [value] });

describe("unitRows", () => {
  it("scales rows to length 1, and leaves zeros", async () => {
    const device = createReferenceDevice();
    const y = doubles(unitRows(device.tensor([3, 4, 0, 0, 0, -2], [3, 2])));
    expect(Array.from(y, (v) => Number(v.toFixed(6)))).toEqual([0.6, 0.8, 0, 0, 0, -1]);
    await checkGradients(([x]) => unitRows(x), [rows(3, 5, 0.3)]);
    await checkBackends(([x]) => unitRows(x), [[3, 5]]);
  });
});

describe("pairwiseSigmoidLoss", () => {
  it("is the sum of -log sigmoid(label (exp(t) <u, v> + b)) over all pairs, over the batch", () => {
    const device = createReferenceDevice();
    const [n, d] = [3, 4];
    const [u, v] = [rows(n, d, 0.1), rows(n, d, 2)].map(({ values }) =>
      doubles(unitRows(device.tensor(values, [n, d]))),
    );
    const [t, b] = [Math.log(10), -10];
    let expected = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let similarity = 0;
        for (let k = 0; k < d; k++) similarity += u[i * d + k] * v[j * d + k];
        const logit = Math.exp(t) * similarity + b;
        expected += Math.log1p(Math.exp(i === j ? -logit : logit)) / n;
      }
    }
    const options = { logScale: device.tensor([t]), bias: device.tensor([b]) };
    const [left, right] = [u, v].map((each) => device.tensor(each, [n, d]));
    expect(doubles(pairwiseSigmoidLoss(left, right, options))[0]).toBeCloseTo(expected, 5);
  });

  it("has right gradients, of embeddings, temperature and bias", async () => {
    const inputs = [rows(4, 3, 0.2), rows(4, 3, 1.1), scalar(0.7), scalar(-1.5)];
    await checkGradients(
      ([u, v, logScale, bias]) => pairwiseSigmoidLoss(unitRows(u), unitRows(v), { logScale, bias }),
      inputs,
    );
    await checkBackends(
      ([u, v, logScale, bias]) => pairwiseSigmoidLoss(unitRows(u), unitRows(v), { logScale, bias }),
      inputs,
    );
  });

  it("takes other numbers of names than of rows", async () => {
    const labels = Array.from({ length: 10 }, (_, i) => i % 3 === 0);
    await checkGradients(
      ([u, v, logScale, bias]) => sigmoidLoss(pairLogits(u, v, { logScale, bias }), labels, 5),
      [rows(5, 3, 0.2), rows(2, 3, 1.1), scalar(0.4), scalar(-0.5)],
    );
  });

  it("refuses labels in another number", () => {
    const device = createReferenceDevice();
    expect(() => sigmoidLoss(device.zeros([2, 2]), [true], 1)).toThrow(/expected: 4.*found: 1/);
  });
});
