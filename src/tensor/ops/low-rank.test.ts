import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, type OpUnderTest } from "../testing.ts";
import { scale } from "./elementwise.ts";
import { addGroupedLowRank, addLowRank } from "./low-rank.ts";

/** Inputs y, x, then A and B of every term that begins at one of these columns. y is copied: the op overwrites it. */
const plain =
  (firsts: readonly number[], factor: number): OpUnderTest =>
  ([y, x, ...matrices]) => {
    const terms = firsts.map((first, i) => ({ a: matrices[2 * i], b: matrices[2 * i + 1], first }));
    return addLowRank(scale(y, 1), x, { terms, factor });
  };

const grouped =
  (firsts: readonly number[], factor: number): OpUnderTest =>
  ([y, x, offsets, ...matrices]) => {
    const terms = firsts.map((first, i) => ({ a: matrices[2 * i], b: matrices[2 * i + 1], first }));
    return addGroupedLowRank(scale(y, 1), x, offsets, { terms, factor });
  };

const sorted = (values: readonly number[]) => ({
  shape: [values.length],
  dtype: "i32" as const,
  values,
});

describe("addLowRank", () => {
  it("adds the product of both matrices to the columns of its term alone", async () => {
    const device = createReferenceDevice();
    const y = device.tensor([10, 20, 30, 40, 50, 60], [2, 3]);
    const x = device.tensor([1, 2, 3, 4], [2, 2]);
    const a = device.tensor([1, -1], [1, 2]);
    const b = device.tensor([2, 5], [2, 1]);
    const out = addLowRank(y, x, { terms: [{ a, b, first: 1 }], factor: 0.5 });
    expect([...(await out.data())]).toEqual([10, 19, 27.5, 40, 49, 57.5]);
  });

  it("has right gradients", async () => {
    await checkGradients(plain([0, 4], 1.5), [
      [3, 7],
      [3, 5],
      [2, 5],
      [4, 2],
      [3, 5],
      [3, 3],
    ]);
    await checkGradients(plain([1], 1), [
      [2, 2, 6],
      [2, 2, 3],
      [2, 3],
      [4, 2],
    ]);
  });

  it("has the bits of the reference's order on every number of threads", async () => {
    await checkBackends(plain([0, 40], 0.25), [
      [33, 70],
      [33, 48],
      [8, 48],
      [40, 8],
      [8, 48],
      [30, 8],
    ]);
  });

  it("refuses matrices that do not fit", () => {
    const device = createReferenceDevice();
    const [y, x, a] = [device.zeros([2, 3]), device.zeros([2, 4]), device.zeros([2, 4])];
    const b = device.zeros([3, 2]);
    expect(() => addLowRank(y, x, { terms: [{ a, b, first: 1 }], factor: 1 })).toThrow(/within 3 columns/);
    expect(() => addLowRank(y, x, { terms: [{ a: b, b, first: 0 }], factor: 1 })).toThrow(/A \[r,4\]/);
  });
});

describe("addGroupedLowRank", () => {
  it("has right gradients, also for a group without rows", async () => {
    await checkGradients(grouped([0, 3], 0.5), [
      [5, 6],
      [5, 4],
      sorted([0, 2, 2, 5]),
      [3, 2, 4],
      [3, 3, 2],
      [3, 2, 4],
      [3, 3, 2],
    ]);
    await checkGradients(grouped([0], 2), [[4, 3], [4, 4], sorted([0, 1, 4]), [2, 2, 4], [2, 3, 2]]);
  });

  it("has the bits of the reference's order on every number of threads", async () => {
    await checkBackends(grouped([0, 24], 2), [
      [40, 48],
      [40, 32],
      sorted([0, 17, 17, 40]),
      [3, 8, 32],
      [3, 24, 8],
      [3, 8, 32],
      [3, 24, 8],
    ]);
  });

  it("refuses another number of groups", () => {
    const device = createReferenceDevice();
    const offsets = device.tensor([0, 2], [2], "i32");
    const [a, b] = [device.zeros([2, 1, 4]), device.zeros([2, 3, 1])];
    const adapter = { terms: [{ a, b, first: 0 }], factor: 1 };
    const run = () => addGroupedLowRank(device.zeros([2, 3]), device.zeros([2, 4]), offsets, adapter);
    expect(run).toThrow(/\[1,r,4\]/);
  });
});
