import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { choiceEntropy, nearestCode, unitRows } from "./codes.ts";
import { add, scale } from "./elementwise.ts";

describe("unitRows", () => {
  it.each([[[0, 3]], [[3, 5]], [[2, 7, 8]], [[5000, 8]]])(
    "agrees with the reference at [%s]",
    async (shape) => {
      await checkBackends(([x]) => unitRows(x), [shape]);
    },
  );

  it("has right gradients, for rows shorter than epsilon too", async () => {
    await checkGradients(([x]) => unitRows(x), [[3, 8]]);
    await checkGradients(([x]) => add(unitRows(x), scale(unitRows(x), 2)), [[3, 8]]);
    const values = [0.01, 0.02, -0.01, 3, 4, 5];
    await checkGradients(([x]) => unitRows(x, 0.5), [{ shape: [2, 3], values }]);
    await checkBackends(([x]) => unitRows(x, 0.5), [{ shape: [2, 3], values }]);
  });

  it("leaves zeros", async () => {
    const device = await cpuDevice(1, false);
    using y = unitRows(device.zeros([2, 3]));
    expect(Array.from(await y.data())).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe("nearestCode", () => {
  const ids = ([x, codes]: Parameters<typeof nearestCode>[0][]) => nearestCode(x, codes);
  it.each([
    [
      [0, 2],
      [3, 2],
    ],
    [
      [1, 1],
      [1, 1],
    ],
    [
      [3, 8],
      [5, 8],
    ],
    [
      [2, 9, 8],
      [64, 8],
    ],
    [
      [301, 4],
      [2051, 4],
    ],
  ])("agrees with the reference at [%s] and [%s]", async (x, codes) => {
    const fixed = (shape: readonly number[]) => ({ shape, gradient: false });
    await checkBackends(ids, [fixed(x), fixed(codes)]);
  });

  it("takes the first of equal codes, wherever it lies", async () => {
    const random = new Random(8);
    for (const relaxed of [false, true]) {
      const device = await cpuDevice(3, relaxed);
      for (let trial = 0; trial < 20; trial++) {
        const count = 6 + random.int(40);
        const codes = Float32Array.from({ length: count * 8 }, () => random.normal());
        const [first, second] = [random.int(count), random.int(count)].sort((a, b) => a - b);
        codes.copyWithin(second * 8, first * 8, first * 8 + 8);
        const x = codes.slice(first * 8, first * 8 + 8);
        using found = nearestCode(device.tensor(x, [1, 8]), device.tensor(codes, [count, 8]));
        expect(await found.item()).toBe(first);
      }
    }
  });

  it("compares distances, not products, and gives code 0 to what is not a number", async () => {
    const device = await cpuDevice(1, true);
    const codes = device.tensor([10, 0, 1, 0, 0, 1], [3, 2]);
    using found = nearestCode(device.tensor([2, 0, 0.1, 3, Number.NaN, 0], [3, 2]), codes);
    expect(Array.from(await found.data())).toEqual([1, 2, 0]);
  });

  it("refuses other widths and empty codebooks", () => {
    const device = createReferenceDevice();
    expect(() => nearestCode(device.zeros([2, 3]), device.zeros([4, 2]))).toThrow(/f32 \[count, 3\]/);
    expect(() => nearestCode(device.zeros([2, 3]), device.zeros([0, 3]))).toThrow(/no codes/);
  });
});

describe("choiceEntropy", () => {
  it.each([[[1, 1]], [[3, 5]], [[2, 7, 33]], [[70, 260]]])(
    "agrees with the reference at [%s]",
    async (shape) => {
      await checkBackends(([x]) => choiceEntropy(scale(x, 3)), [shape]);
    },
  );

  it("has right gradients, also where the input is used twice", async () => {
    await checkGradients(([x]) => choiceEntropy(x), [[4, 6]]);
    await checkGradients(([x]) => choiceEntropy(x, 0.1), [[4, 6]]);
    await checkGradients(([x]) => add(choiceEntropy(x), choiceEntropy(scale(x, 2))), [[3, 5]]);
    await checkBackends(([x]) => add(choiceEntropy(x), choiceEntropy(scale(x, 2))), [[3, 5]]);
  });

  it("is the entropy of sure rows that use half of the codes, and 0 of rows that know nothing", async () => {
    const device = await cpuDevice(2, false);
    const sure = [200, 0, 0, 0, 0, 200, 0, 0];
    using y = choiceEntropy(device.tensor(sure, [2, 4]), 0);
    expect(await y.item()).toBeCloseTo(-Math.log(2), 6);
    using z = choiceEntropy(device.zeros([3, 4]), 0);
    expect(await z.item()).toBeCloseTo(0, 6);
  });

  it("refuses no rows", () => {
    expect(() => choiceEntropy(createReferenceDevice().zeros([0, 3]))).toThrow(/no rows/);
  });
});
