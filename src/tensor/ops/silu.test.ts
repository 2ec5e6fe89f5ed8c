import { describe, expect, it } from "vitest";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { sigmoid, silu } from "./silu.ts";

describe.each([
  ["silu", silu, (x: number) => x / (1 + Math.exp(-x))],
  ["sigmoid", sigmoid, (x: number) => 1 / (1 + Math.exp(-x))],
] as const)("%s", (_, op, exact) => {
  for (const shape of [[0], [1], [3, 5], [7, 3, 11], [40_001]]) {
    it(`agrees with the reference at [${shape}]`, async () => {
      await checkBackends(([x]) => op(x), [shape]);
    });
  }

  it("has right gradients, also where the input is used twice", async () => {
    const values = [-9, -4.5, -3, -1.278, -0.5, -0.1, 0, 0.1, 0.9, 2.7, 5.5, 9];
    await checkGradients(([x]) => op(x), [{ shape: [3, 4], values }]);
    await checkGradients(([x]) => add(op(x), op(x)), [[2, 5]]);
    await checkBackends(([x]) => add(op(x), op(x)), [[2, 5]]);
  });

  it("is accurate relative to its size, has its limits far out, and keeps NaN", async () => {
    const n = 20_001;
    const x = Float32Array.from({ length: n }, (_, i) => -60 + (120 * i) / (n - 1));
    for (const relaxed of [false, true]) {
      const device = await cpuDevice(1, relaxed);
      using y = op(device.tensor(x));
      const values = await y.data();
      x.forEach((v, i) => {
        if (v !== 0) expect(Math.abs(values[i] / exact(v) - 1)).toBeLessThan(1e-6);
      });
      using far = op(device.tensor([-3e38, -200, 200, Number.NaN]));
      const ends = await far.data();
      expect(Math.abs(ends[0])).toBe(0);
      expect(Math.abs(ends[1])).toBeLessThan(1e-36);
      expect(ends[2]).toBe(Math.fround(exact(200)));
      expect(ends[3]).toBeNaN();
    }
  });
});
