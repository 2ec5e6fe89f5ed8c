import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice, type OpUnderTest } from "../testing.ts";
import { cosineSimilarity } from "./cosine.ts";
import { add } from "./elementwise.ts";
import { meanAbsoluteError, meanSquaredError, squaredErrors } from "./mean-error.ts";
import { movingAverage } from "./moving-average.ts";

describe.each([
  ["meanSquaredError", meanSquaredError],
  ["meanAbsoluteError", meanAbsoluteError],
  ["squaredErrors", squaredErrors],
] as const)("%s", (_, op) => {
  const run: OpUnderTest = ([x, t]) => op(x, t);
  it.each([[[1]], [[3, 5]], [[2, 7, 3]], [[3, 17_000]]])(
    "agrees with the reference at [%s]",
    async (shape) => {
      await checkBackends(run, [shape, shape]);
    },
  );

  it("has right gradients for both, also where one is used twice", async () => {
    await checkGradients(run, [
      [3, 7],
      [3, 7],
    ]);
    const twice: OpUnderTest = ([x, t]) => add(op(x, t), op(add(x, x), x));
    await checkGradients(twice, [
      [3, 7],
      [3, 7],
    ]);
    await checkBackends(twice, [
      [3, 7],
      [3, 7],
    ]);
    await checkGradients(run, [[3, 7], { shape: [3, 7], gradient: false }]);
    await checkBackends(run, [{ shape: [3, 7], gradient: false }, [3, 7]]);
  });

  it("refuses other shapes and nothing", () => {
    const device = createReferenceDevice();
    expect(() => op(device.zeros([2]), device.zeros([3]))).toThrow(/\[2\].*\[3\]/);
    expect(() => op(device.zeros([0, 2]), device.zeros([0, 2]))).toThrow(/mean of nothing/);
  });
});

it("means are those of all elements, or of each sample, and the slope at equal values is 0", async () => {
  const device = await cpuDevice(1, true);
  const x = device.tensor([1, 2, 3, 5], [2, 2]);
  const t = device.tensor([1, 4, 3, 1], [2, 2]);
  using squared = meanSquaredError(x, t);
  using absolute = meanAbsoluteError(x, t);
  using each = squaredErrors(x, t);
  expect(await squared.item()).toBe(5);
  expect(await absolute.item()).toBe(1.5);
  expect(Array.from(await each.data())).toEqual([2, 8]);
  await checkBackends(
    ([x, t]) => meanAbsoluteError(x, t),
    [
      { shape: [3], values: [1, 2, 3] },
      { shape: [3], values: [1, 2, 4] },
    ],
  );
});

describe("cosineSimilarity", () => {
  const run: OpUnderTest = ([x, t]) => cosineSimilarity(x, t);
  it.each([[[3, 5]], [[2, 7, 33]], [[9, 1030]]])("agrees with the reference at [%s]", async (shape) => {
    await checkBackends(run, [shape, shape]);
  });

  it("has right gradients, for rows shorter than epsilon too", async () => {
    const pair = [
      [3, 7],
      [3, 7],
    ];
    await checkGradients(run, pair);
    const clamped: OpUnderTest = ([x, t]) => cosineSimilarity(x, t, 50);
    await checkGradients(clamped, pair);
    await checkBackends(clamped, pair);
    const twice: OpUnderTest = ([x, t]) => add(cosineSimilarity(x, t), cosineSimilarity(add(x, t), x));
    await checkGradients(twice, pair);
    await checkBackends(twice, pair);
    await checkGradients(run, [{ shape: [3, 7], gradient: false }, [3, 7]]);
  });

  it("is 1 along, -1 against and 0 for zeros", async () => {
    const device = await cpuDevice(1, false);
    const x = device.tensor([1, 2, 1, 2, 0, 0], [3, 2]);
    const t = device.tensor([2, 4, -3, -6, 1, 1], [3, 2]);
    using y = cosineSimilarity(x, t);
    const values = await y.data();
    [1, -1, 0].forEach((v, i) => {
      expect(values[i]).toBeCloseTo(v, 6);
    });
  });
});

describe("movingAverage", () => {
  it.each([[[1]], [[7, 5]], [[40_003]]])("agrees with the reference at [%s]", async (shape) => {
    const op: OpUnderTest = ([x, w]) => {
      movingAverage(x, w, 0.99);
      return x;
    };
    const fixed = { shape, gradient: false };
    await checkBackends(
      op,
      [fixed, fixed].map((spec, i) => ({ ...spec, gradient: i === 2 })),
    );
  });

  it("goes toward the weight, stays where it is equal, and refuses decays beyond 1", async () => {
    const device = await cpuDevice(1, true);
    using average = device.tensor([0, 3, 1 / 3]);
    using w = device.tensor([10, 3, 1 / 3]);
    movingAverage(average, w, 0.75);
    expect(await average.data()).toEqual(new Float32Array([2.5, 3, 1 / 3]));
    expect(() => movingAverage(average, w, 1.1)).toThrow(/decay; expected: 0 to 1; found: 1.1/);
    expect(() => movingAverage(average, device.zeros([2]), 0.5)).toThrow(/shapes differ/);
  });
});
