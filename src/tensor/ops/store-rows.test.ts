import fc from "fast-check";
import { expect, it } from "vitest";
import { ShapeError } from "../errors.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, Scope } from "../tensor.ts";
import { cpuDevice } from "../testing.ts";
import { copy } from "./memory.ts";
import { storeRows } from "./store-rows.ts";

const dtypes = ["f32", "bf16", "f16"] as const;

it("puts rows where they belong and touches nothing else, for any number of targets", async () => {
  const devices: Device[] = [createReferenceDevice(), await cpuDevice(1, false), await cpuDevice(2, true)];
  const target = fc.record({ rows: fc.integer({ min: 0, max: 40 }), to: fc.nat(5), spare: fc.nat(3) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(target, { minLength: 1, maxLength: 19 }),
      fc.constantFrom(...dtypes),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(3),
      async (targets, dtype, n, channel) => {
        const width = n + channel + 2;
        const count = targets.reduce((sum, { rows }) => sum + rows, 1);
        const random = new Random(count);
        // Numbers that every dtype holds exactly.
        const values = Float32Array.from({ length: count * n }, () => random.int(255) - 127);
        for (const device of devices) {
          using _scope = new Scope(device);
          const x = device.tensor(values, [count, n]);
          let from = 1;
          const placed = targets.map(({ rows, to, spare }) => {
            const tensor = device.empty([rows + to + spare, width], dtype);
            copy(device.tensor(new Float32Array(tensor.size).fill(-1), tensor.shape), tensor);
            const one = { tensor, from, rows, to };
            from += rows;
            return one;
          });
          storeRows(x, placed, channel);
          for (const { tensor, from, rows, to } of placed) {
            const found = await tensor.data();
            const expected = new Float32Array(found.length).fill(-1);
            for (let r = 0; r < rows; r++) {
              const row = values.subarray((from + r) * n, (from + r + 1) * n);
              expected.set(row, (to + r) * width + channel);
            }
            expect(Array.from(found)).toEqual(Array.from(expected));
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

it("rounds to nearest even, and many rows on all threads are those of few", async () => {
  const values = Float32Array.from([1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519, 65520, 2 ** -24, Number.NaN]);
  const expected = [1, 1 + 2 ** -9, 65504, Number.POSITIVE_INFINITY, 2 ** -24, Number.NaN];
  for (const device of [createReferenceDevice(), await cpuDevice(2, true)]) {
    using _scope = new Scope(device);
    const count = 3000;
    const many = Float32Array.from({ length: count * 6 }, (_, i) => values[i % 6]);
    const tensor = device.empty([count, 6], "f16");
    storeRows(device.tensor(many, [count, 6]), [{ tensor, from: 0, rows: count, to: 0 }]);
    const found = Array.from(await tensor.data());
    for (let r = 0; r < count; r += 599) expect(found.slice(r * 6, r * 6 + 6)).toEqual(expected);
  }
});

it("refuses rows and channels out of range, with the numbers", () => {
  const device = createReferenceDevice();
  using _scope = new Scope(device);
  const x = device.zeros([3, 2]);
  const tensor = device.zeros([4, 5]);
  const put = (from: number, rows: number, to: number, channel = 0) =>
    storeRows(x, [{ tensor, from, rows, to }], channel);
  put(1, 2, 2, 3);
  for (const [from, rows, to, channel] of [
    [2, 2, 0, 0],
    [0, 2, 3, 0],
    [0, 1, -1, 0],
    [-1, 1, 0, 0],
    [0, 1, 0, 4],
  ]) {
    expect(() => put(from, rows, to, channel)).toThrow(ShapeError);
  }
  const narrow = device.zeros([4, 4]);
  const one = { from: 0, rows: 1, to: 0 };
  expect(() =>
    storeRows(x, [
      { ...one, tensor },
      { ...one, tensor: narrow },
    ]),
  ).toThrow(/of f32/);
});
