import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { swiglu } from "./swiglu.ts";

describe("swiglu", () => {
  for (const shape of [
    [0, 4],
    [1, 2],
    [3, 10],
    [5, 66],
    [7, 3, 260],
    [1, 40_002],
    [130, 200],
  ]) {
    it(`agrees with the reference at [${shape}]`, async () => {
      await checkBackends(([x]) => swiglu(x), [shape]);
    });
  }

  it("has right gradients, also where the input is used twice", async () => {
    await checkGradients(([x]) => swiglu(x), [[3, 14]]);
    await checkGradients(([x]) => add(swiglu(x), swiglu(x)), [[2, 6]]);
    await checkBackends(([x]) => add(swiglu(x), swiglu(x)), [[2, 6]]);
  });

  it("goes to its limits for large gates", async () => {
    const device = await cpuDevice(1, true);
    using y = swiglu(device.tensor([-200, 200, -90, 0, Number.NaN, 1, 1, 1, 1, 1], [1, 10]));
    const values = await y.data();
    expect(values[0]).toBeCloseTo(0, 30);
    expect(values[1]).toBe(200);
    expect(Math.abs(values[2])).toBeLessThan(1e-36);
    expect(values[3]).toBe(0);
    expect(values[4]).toBeNaN();
  });

  it("refuses an odd axis", () => {
    expect(() => swiglu(createReferenceDevice().zeros([2, 3]))).toThrow(/\[2, 3\]/);
  });
});
