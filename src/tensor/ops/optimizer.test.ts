import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, Scope } from "../tensor.ts";
import { cpuDevice, relativeError } from "../testing.ts";
import { adamw, clipScale } from "./optimizer.ts";
import { squaredNorm } from "./reduce.ts";

const options = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };

function normals(n: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.normal());
}

/** Three steps, the last without a gradient; returns w, m, v. */
async function train(device: Device, n: number, dtype: "f32" | "bf16", clip: boolean): Promise<number[][]> {
  using _scope = new Scope(device);
  const w = device.tensor(normals(n, 1));
  const m = device.zeros([n], dtype);
  const v = device.zeros([n], dtype);
  for (let step = 1; step <= 3; step++) {
    const grad = step === 3 ? null : device.tensor(normals(n, 10 + step));
    const factor = clip && grad ? clipScale(squaredNorm([grad]), 1) : null;
    adamw(w, grad, m, v, { ...options, step }, factor);
  }
  return Promise.all([w, m, v].map(async (t) => Array.from(await t.data())));
}

/** The same in plain doubles, as PyTorch's AdamW documents it. */
function plain(n: number, clip: boolean): number[] {
  const w = Array.from(normals(n, 1));
  const m = new Float64Array(n);
  const v = new Float64Array(n);
  for (let step = 1; step <= 3; step++) {
    const g = step === 3 ? new Float64Array(n) : Float64Array.from(normals(n, 10 + step));
    const norm = Math.sqrt(g.reduce((sum, x) => sum + x * x, 0));
    const factor = clip ? Math.min(1, 1 / (norm + 1e-6)) : 1;
    for (let i = 0; i < n; i++) {
      const gradient = g[i] * factor;
      w[i] *= 1 - options.learningRate * options.weightDecay;
      m[i] = options.beta1 * m[i] + (1 - options.beta1) * gradient;
      v[i] = options.beta2 * v[i] + (1 - options.beta2) * gradient ** 2;
      const unbiased = v[i] / (1 - options.beta2 ** step);
      w[i] -=
        (options.learningRate * (m[i] / (1 - options.beta1 ** step))) /
        (Math.sqrt(unbiased) + options.epsilon);
    }
  }
  return w;
}

describe("adamw", () => {
  for (const n of [0, 1, 3, 7, 130, 16_385]) {
    for (const clip of [false, true]) {
      it(`follows plain AdamW at ${n} elements${clip ? ", clipped" : ""}`, async () => {
        const expected = plain(n, clip);
        expect(
          relativeError((await train(createReferenceDevice(), n, "f32", clip))[0], expected),
        ).toBeLessThan(1e-7);
        for (const relaxed of [false, true]) {
          const one = await train(await cpuDevice(1, relaxed), n, "f32", clip);
          expect(relativeError(one[0], expected)).toBeLessThan(2e-7);
          expect(await train(await cpuDevice(2, relaxed), n, "f32", clip)).toEqual(one);
        }
      });
    }
  }

  it("keeps moments in bf16", async () => {
    const n = 17_003;
    const expected = await train(createReferenceDevice(), n, "bf16", true);
    for (const relaxed of [false, true]) {
      const one = await train(await cpuDevice(1, relaxed), n, "bf16", true);
      // The reference does not round stored moments; bf16 has eight bits.
      expect(relativeError(one[1], expected[1])).toBeLessThan(0.01);
      expect(relativeError(one[2], expected[2])).toBeLessThan(0.01);
      expect(relativeError(one[0], expected[0])).toBeLessThan(1e-5);
      expect(await train(await cpuDevice(3, relaxed), n, "bf16", true)).toEqual(one);
    }
  });

  it("takes any step number, refuses 0 and tensors that do not match", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    const w = device.tensor([1]);
    const [g, m, v] = [device.tensor([1]), device.zeros([1]), device.zeros([1])];
    adamw(w, g, m, v, { ...options, weightDecay: 0, step: 1e6 });
    expect(await w.item()).toBeCloseTo(1 - (1e-3 * 0.1) / Math.sqrt(0.05), 6);
    expect(() => adamw(w, g, m, v, { ...options, step: 0 })).toThrow(/at least 1.*found: 0/);
    expect(() => adamw(w, device.zeros([2]), m, v, { ...options, step: 1 })).toThrow(/grad.*found: \[2\]/);
    expect(() => adamw(w, g, m, device.zeros([1], "bf16"), { ...options, step: 1 })).toThrow(/f32, bf16/);
  });
});

describe("clipScale", () => {
  it("is 1 below the norm, else what brings it there", async () => {
    for (const device of [createReferenceDevice(), await cpuDevice(1, true)]) {
      using _scope = new Scope(device);
      expect(await clipScale(device.tensor([0]), 1).item()).toBe(1);
      expect(await clipScale(device.tensor([0.25]), 1).item()).toBe(1);
      expect(await clipScale(device.tensor([16]), 2).item()).toBeCloseTo(2 / (4 + 1e-6), 6);
      expect(await clipScale(device.tensor([Number.NaN]), 1).item()).toBeNaN();
      expect(await clipScale(device.tensor([Number.POSITIVE_INFINITY]), 1).item()).toBe(0);
      expect(() => clipScale(device.tensor([1]), 0)).toThrow(/maxNorm/);
    }
  });
});
