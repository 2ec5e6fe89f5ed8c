import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { rmsNorm } from "./rms-norm.ts";

describe("rmsNorm", () => {
  for (const [rows, n] of [
    [0, 4],
    [1, 1],
    [3, 5],
    [7, 33],
    [130, 130],
    [33, 256],
    [3, 2049],
  ]) {
    it(`agrees with the reference at ${rows} x ${n}`, async () => {
      // One column has no gradient but for epsilon: a small one would leave only rounding to compare.
      await checkBackends(([x, w]) => rmsNorm(x, w, n === 1 ? 0.1 : 1e-6), [[rows, n], [n]]);
    });
  }

  it("has right gradients, also where both inputs are used twice", async () => {
    await checkGradients(([x, w]) => rmsNorm(x, w, 1e-6), [[2, 3, 7], [7]]);
    const twice = ([x, w]: Parameters<typeof add>[0][]) => add(rmsNorm(rmsNorm(x, w, 1e-3), w, 1e-3), x);
    await checkGradients(twice, [[5, 6], [6]]);
    await checkBackends(twice, [[5, 6], [6]]);
  });

  it("computes only the gradient that is asked for", async () => {
    for (const [x, w] of [
      [true, false],
      [false, true],
    ]) {
      const specs = [
        { shape: [5, 9], gradient: x },
        { shape: [9], gradient: w },
      ];
      await checkGradients(([a, b]) => rmsNorm(a, b, 1e-6), specs);
      await checkBackends(([a, b]) => rmsNorm(a, b, 1e-6), specs);
    }
  });

  it("takes bf16 and f16 weights", async () => {
    for (const dtype of ["bf16", "f16"] as const) {
      await checkBackends(([x, w]) => rmsNorm(x, w, 1e-6), [[5, 37], { shape: [37], dtype }]);
    }
  });

  it("sums 8192 squares to f32 precision", async () => {
    const random = new Random(3);
    const values = Float32Array.from({ length: 8192 }, () => random.normal());
    const exact = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / 8192);
    const device = await cpuDevice(1, false);
    using y = rmsNorm(device.tensor(values), device.tensor(new Float32Array(8192).fill(1)), 0);
    (await y.data()).forEach((v, i) => {
      expect(Math.abs(v - values[i] / exact)).toBeLessThan(3e-7 * Math.abs(values[i]) + 1e-12);
    });
  });

  it("refuses a weight of another length with both in the message", () => {
    const device = createReferenceDevice();
    expect(() => rmsNorm(device.zeros([2, 3]), device.zeros([4]), 1e-6)).toThrow(/\[3\]; found: \[4\]/);
  });
});
