import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add, scale } from "./elementwise.ts";
import { meanAll, squaredNorm, sumAll, weightedSum } from "./reduce.ts";

describe("sumAll and meanAll", () => {
  for (const n of [1, 3, 5, 33, 130, 16_384, 40_001]) {
    it(`agree with the reference at ${n} elements`, async () => {
      await checkBackends(([x]) => [sumAll(x), meanAll(x)], [[n]]);
    });
  }

  it("have right gradients, also where the input is used twice", async () => {
    await checkGradients(([x]) => sumAll(x), [[2, 3]]);
    await checkGradients(([x]) => add(meanAll(x), sumAll(scale(x, 3))), [[7]]);
    await checkGradients(([x]) => add(meanAll(x), sumAll(x)), [[7]]);
    await checkBackends(([x]) => add(meanAll(x), sumAll(x)), [[7]]);
  });

  it("lose nothing to rounding between large and small", async () => {
    const device = await cpuDevice(2, true);
    const values = new Float32Array(100_000).fill(2 ** -12);
    values[0] = 2 ** 24;
    values[99_999] = -(2 ** 24);
    using x = device.tensor(values);
    using y = sumAll(x);
    expect(await y.item()).toBe(99_998 * 2 ** -12);
  });

  it("give 0 for nothing, but no mean", async () => {
    const device = createReferenceDevice();
    expect(await sumAll(device.zeros([0])).item()).toBe(0);
    expect(() => meanAll(device.zeros([0, 3]))).toThrow(/\[0, 3\]/);
  });
});

describe("weightedSum", () => {
  it("has right values and gradients", async () => {
    const op = ([a, b, c]: Parameters<typeof add>[0][]) => weightedSum([a, b, c, a], [1, 0.3, 1e-4, -2]);
    await checkGradients(op, [[1], [1], { shape: [1], gradient: false }]);
    await checkBackends(op, [[1], [1], [1]]);
  });

  it("refuses what does not match", () => {
    const device = createReferenceDevice();
    expect(() => weightedSum([device.zeros([1])], [1, 2])).toThrow(/expected: 1; found: 2/);
    expect(() => weightedSum([device.zeros([2])], [1])).toThrow(/\[2\]/);
    expect(() => weightedSum([], [])).toThrow(/or there are none/);
  });
});

describe("squaredNorm", () => {
  it("agrees with the reference over several tensors", async () => {
    await checkBackends(([a, b, c]) => squaredNorm([a, b, c]), [[130], [20_001], [1]]);
  });

  it("neither overflows nor underflows in between", async () => {
    const device = await cpuDevice(1, true);
    using small = device.tensor(new Float32Array(10_000).fill(1e-22));
    using large = device.tensor([1e19, 1e-3]);
    using a = squaredNorm([small]);
    using b = squaredNorm([large]);
    expect(await a.item()).toBeCloseTo(1e-40, 44);
    expect((await b.item()) / 1e38).toBeCloseTo(1, 6);
  });

  it("passes inf and NaN on", async () => {
    const device = await cpuDevice(1, true);
    using x = device.tensor([1, Number.POSITIVE_INFINITY]);
    using y = device.tensor([1, Number.NaN]);
    using a = squaredNorm([x]);
    using b = squaredNorm([y]);
    expect(await a.item()).toBe(Number.POSITIVE_INFINITY);
    expect(await b.item()).toBeNaN();
    expect(() => squaredNorm([])).toThrow(/no tensors/);
  });
});
