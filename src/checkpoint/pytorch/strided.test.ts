/** Views of storages against the definition: any order of axes, gaps, repetitions, and any range of elements. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { gather, hold, isContiguous, mustHold, stridedView } from "./strided.ts";

/** Element `index` of a view, by the definition of strides. */
function elementAt(
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
  index: number,
): number {
  let rest = index;
  let at = offset;
  for (let i = shape.length - 1; i >= 0; i--) {
    at += (rest % shape[i]) * strides[i];
    rest = Math.floor(rest / shape[i]);
  }
  return at;
}

it("gives the elements of any view in the order of its shape", async () => {
  const view = fc.record({
    axes: fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 40 })), {
      maxLength: 4,
    }),
    offset: fc.nat(9),
    width: fc.constantFrom(1, 2, 4, 8),
    from: fc.nat(1000),
    length: fc.nat(1000),
    held: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(view, async ({ axes, offset, width, from, length, held }) => {
      const shape = axes.map(([size]) => size);
      const strides = axes.map(([, stride]) => stride);
      const total = shape.reduce((a, b) => a * b, 1);
      const first = from % total;
      const count = 1 + (length % (total - first));
      const storage = Uint8Array.from({ length: 2000 * width }, (_, i) => (i * 131 + (i >> 8)) & 0xff);
      const read = async (at: number, n: number) => {
        expect(at % width).toBe(0);
        return storage.slice(at, at + n);
      };
      const strided = stridedView(shape, strides, offset, width);
      const kept = held ? await hold(strided, read, "file", "t") : null;
      const found = await gather(strided, first, count, read, kept);
      const expected = Array.from({ length: count }, (_, i) => {
        const at = elementAt(shape, strides, offset, first + i) * width;
        return [...storage.subarray(at, at + width)];
      }).flat();
      expect([...found]).toEqual(expected);
      if (isContiguous(strided))
        expect([...found]).toEqual([
          ...storage.slice((offset + first) * width, (offset + first + count) * width),
        ]);
    }),
    { numRuns: 400 },
  );
});

it("joins axes that are one run, and leaves out those of one element", () => {
  expect(isContiguous(stridedView([4, 1, 5], [5, 77, 1], 3, 4))).toBe(true);
  expect(isContiguous(stridedView([], [], 0, 4))).toBe(true);
  expect(isContiguous(stridedView([4, 5], [6, 1], 0, 4))).toBe(false);
  expect(stridedView([2, 3, 4], [24, 4, 1], 0, 4).axes).toEqual([
    { size: 2, stride: 24 },
    { size: 12, stride: 1 },
  ]);
});

it("holds only what jumps in a span larger than a window, and refuses what is too large for that", async () => {
  const big = 1 << 20;
  expect(mustHold(stridedView([big, 8], [1, big], 0, 4))).toBe(true);
  expect(mustHold(stridedView([8, big], [0, 2], 0, 4))).toBe(true);
  expect(mustHold(stridedView([big, 4], [8, 1], 0, 4))).toBe(false);
  expect(mustHold(stridedView([4, 8], [1, 4], 0, 4))).toBe(false);
  const huge = stridedView([2, 2 ** 20], [1, 2 ** 20], 0, 4);
  await expect(hold(huge, async () => new Uint8Array(0), "a.bin", "t")).rejects.toThrow(/a\.bin.*contiguous/);
});

it("reads rows that are far apart one by one, and near ones once", async () => {
  const bytes = 1 << 24;
  const storage = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i += 4096) storage[i] = i / 4096;
  let total = 0;
  const read = async (at: number, n: number) => {
    total += n;
    return storage.subarray(at, at + n);
  };
  const far = stridedView([15, 4], [1 << 20, 1], 0, 1);
  await gather(far, 0, 60, read);
  expect(total).toBe(60);
  total = 0;
  const near = stridedView([4096, 3], [4096, 1], 0, 1);
  const found = await gather(near, 0, 3 * 4096, read);
  expect(found[3 * 100]).toBe(100);
  expect(total).toBeLessThanOrEqual(bytes);
});
