import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { differentiate } from "../tape.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { type Activation, activate, activationCode, gelu } from "./gelu.ts";
import { sumAll } from "./reduce.ts";

const forms: Activation[] = ["gelu", "gelu_tanh"];

describe.each(forms)("%s", (form) => {
  for (const shape of [[0], [1], [3, 5], [7, 3, 11], [40_001]]) {
    it(`agrees with the reference at [${shape}]`, async () => {
      await checkBackends(([x]) => gelu(x, form), [shape]);
    });
  }

  it("has right gradients, also where the input is used twice", async () => {
    const values = [-9, -4.5, -3, -1.2, -0.7518, -0.1, 0, 0.1, 0.9, 2.7, 5.5, 9];
    await checkGradients(([x]) => gelu(x, form), [{ shape: [3, 4], values }]);
    await checkGradients(([x]) => add(gelu(x, form), gelu(x, form)), [[2, 5]]);
    await checkBackends(([x]) => add(gelu(x, form), gelu(x, form)), [[2, 5]]);
  });

  it("is accurate relative to its size, small results included", async () => {
    const n = 100_001;
    const x = Float32Array.from({ length: n }, (_, i) => -8 + (16 * i) / (n - 1));
    for (const relaxed of [false, true]) {
      const device = await cpuDevice(1, relaxed);
      using y = gelu(device.tensor(x), form);
      const values = await y.data();
      let near = 0;
      let far = 0;
      x.forEach((v, i) => {
        if (v === 0) return;
        const expected = activate(v, activationCode(form));
        const error = Math.abs(values[i] - expected) / Math.abs(expected);
        if (v >= -3) near = Math.max(near, error);
        else far = Math.max(far, error);
      });
      expect(near).toBeLessThan(1e-6);
      expect(far).toBeLessThan(8e-6);
    }
  });

  it("has its limits far out, and keeps NaN", async () => {
    const inf = Number.POSITIVE_INFINITY;
    const device = await cpuDevice(1, true);
    const far = [-inf, -1e38, -30, 0, -0, 30, 1e38, inf, Number.NaN];
    using x = device.tensor(far);
    x.requiresGrad = true;
    using y = device.noGrad(() => gelu(x, form));
    const values = await y.data();
    for (const i of [0, 1, 2]) expect(Math.abs(values[i])).toBeLessThan(1e-34);
    expect(Array.from(values.subarray(5))).toEqual([30, Math.fround(1e38), inf, Number.NaN]);
    expect(values[3]).toBe(0);
  });
});

it("the exact form's reference is x P(X <= x)", () => {
  // From Abramowitz and Stegun, table 26.1 and 26.2: P(X <= 1), 1 - P(X <= 5).
  expect(activate(1, 1)).toBeCloseTo(0.841344746068543, 14);
  expect(activate(-5, 1) / (-5 * 2.86651571879e-7)).toBeCloseTo(1, 10);
  expect(activate(-1, 2)).toBeCloseTo(-0.158808, 6);
});

it("takes its slope to the limits", async () => {
  const device = createReferenceDevice();
  const cpu = await cpuDevice(1, true);
  for (const form of forms) {
    for (const each of [device, cpu]) {
      using x = each.tensor([-25, 25, 0]);
      x.requiresGrad = true;
      differentiate(each, () => sumAll(gelu(x, form)));
      const slopes = await x.grad!.data();
      expect(Math.abs(slopes[0])).toBeLessThan(1e-30);
      expect(slopes[1]).toBe(1);
      expect(slopes[2]).toBeCloseTo(0.5, 6);
      x.grad!.dispose();
    }
  }
});
