import { describe, expect, it } from "vitest";
import { f16ToF32, f32ToBf16, f32ToF16 } from "../float-formats.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { cpuDevice } from "../testing.ts";
import { copy, copyRows, fill } from "./memory.ts";

const devices = async () => [
  createReferenceDevice(),
  ...(await Promise.all([cpuDevice(1, false), cpuDevice(2, false), cpuDevice(2, true)])),
];

/** Every kind of f32: powers from below the smallest half to beyond the largest, ties, signs, infinities, NaN. */
function numbers(): Float32Array {
  const random = new Random(3);
  const values = [
    0,
    -0,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
    65519,
    65520,
    -65520,
    1e38,
  ];
  for (let e = -30; e <= 17; e++) {
    for (let i = 0; i < 40; i++)
      values.push((random.uniform() < 0.5 ? -1 : 1) * (1 + random.uniform()) * 2 ** e);
    // Ties of f16 and of bf16, and their neighbors.
    for (const bits of [11, 12, 25, 8, 9]) {
      for (const odd of [1, 3, 5]) {
        const tie = 2 ** e * (1 + odd * 2 ** -bits);
        values.push(tie, -tie, tie * (1 + 2 ** -23), tie * (1 - 2 ** -23));
      }
    }
  }
  return Float32Array.from(values);
}

describe("copies between float types", () => {
  it("round to nearest even and widen exactly", async () => {
    const values = numbers();
    for (const device of await devices()) {
      for (const [dtype, round] of [
        ["f16", f32ToF16],
        ["bf16", f32ToBf16],
      ] as const) {
        using x = device.tensor(values);
        using y = device.empty([values.length], dtype);
        copy(x, y);
        using expected = device.tensor(round(values) as unknown as Float32Array, [values.length], dtype);
        const found = await y.data();
        const wanted = await expected.data();
        for (let i = 0; i < values.length; i++) expect([values[i], found[i]]).toEqual([values[i], wanted[i]]);
        using back = device.empty([values.length]);
        copy(y, back);
        expect(await back.data()).toEqual(wanted);
      }
    }
  });

  it("give back every half", async () => {
    const halves = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((h) => (h & 0x7fff) <= 0x7c00);
    for (const device of await devices()) {
      using x = device.tensor(f16ToF32(halves));
      using y = device.empty([halves.length], "f16");
      copy(x, y);
      expect(await y.data()).toEqual(f16ToF32(halves));
    }
  });

  it("move rows of any strides and offsets, between narrow types too", async () => {
    for (const device of await devices()) {
      for (const [from, to] of [
        ["f32", "f16"],
        ["f16", "f32"],
        ["bf16", "f16"],
        ["f16", "bf16"],
        ["f16", "f16"],
        ["f32", "bf16"],
      ] as const) {
        using x = device.tensor(
          Float32Array.from({ length: 3 * 11 + 2 }, (_, i) => i / 4),
          [35],
          from,
        );
        using y = device.empty([60], to);
        fill(y, -1);
        copyRows(x, y, 3, 7, 11, 19, 2, 5);
        const expected = new Float32Array(60).fill(-1);
        for (let r = 0; r < 3; r++)
          for (let i = 0; i < 7; i++) expected[5 + r * 19 + i] = (2 + r * 11 + i) / 4;
        expect(await y.data()).toEqual(expected);
      }
    }
  });

  it("copy one long row in units, and fill narrow memory", async () => {
    const device = await cpuDevice(2, true);
    const values = Float32Array.from({ length: 40_001 }, (_, i) => i % 2048);
    using x = device.tensor(values);
    using y = device.empty([values.length], "f16");
    fill(y, 0.333);
    expect((await y.data()).every((v) => v === 0.3330078125)).toBe(true);
    copy(x, y);
    expect(await y.data()).toEqual(values);
  });

  it("stay within their tensors", () => {
    const device = createReferenceDevice();
    const [x, y] = [device.zeros([10]), device.zeros([10], "f16")];
    expect(() => copyRows(x, y, 2, 4, 4, 7)).toThrow(/rows out of range.*10 and 10.*8 and 11/);
  });
});
