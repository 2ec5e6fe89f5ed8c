import { describe, expect, it } from "vitest";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { exp } from "./exp.ts";

describe("exp", () => {
  for (const shape of [[0], [1], [3, 5], [7, 3, 11], [40_001]]) {
    it(`agrees with the reference at [${shape}]`, async () => {
      await checkBackends(([x]) => exp(x), [shape]);
    });
  }

  it("has right gradients, also where the input is used twice", async () => {
    await checkGradients(([x]) => exp(x), [{ shape: [2, 3], values: [-3, -1, 0, 0.5, 1, 2] }]);
    await checkGradients(([x]) => add(exp(x), exp(x)), [[2, 5]]);
  });

  it("has its limits far out, and keeps NaN", async () => {
    const inf = Number.POSITIVE_INFINITY;
    const device = await cpuDevice(1, true);
    // Nine values: two whole vectors and a rest.
    using y = exp(device.tensor([-inf, -200, 0, 1, 88, 200, inf, Number.NaN, inf]));
    const values = await y.data();
    expect(values[0]).toBe(0);
    expect(values[1]).toBeLessThan(1e-37);
    expect(values[2]).toBe(1);
    expect(values[3]).toBeCloseTo(Math.E, 6);
    expect(values[4] / Math.exp(88)).toBeCloseTo(1, 5);
    expect(Array.from(values.subarray(5))).toEqual([inf, inf, Number.NaN, inf]);
  });
});
