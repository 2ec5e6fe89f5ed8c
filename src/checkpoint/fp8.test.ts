/** Block scales against a plain double loop, partial edge blocks, and quantization error bounds. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { e4m3ToF32 } from "../tensor/float-formats.ts";
import { Random } from "../tensor/random.ts";
import { type BlockSize, dequantizeBlocks, quantizeBlocks, scaleShape } from "./fp8.ts";

/** The definition, element by element. */
function plain(codes: Uint8Array, scales: Float32Array, rows: number, cols: number, block: BlockSize) {
  const values = e4m3ToF32(codes);
  const out = new Float32Array(rows * cols);
  const width = Math.ceil(cols / block[1]);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const scale = scales[Math.floor(r / block[0]) * width + Math.floor(c / block[1])];
      out[r * cols + c] = values[r * cols + c] * scale;
    }
  }
  return out;
}

describe("dequantizeBlocks", () => {
  it("gives a matrix of 576 rows five rows of scales", () => {
    expect(scaleShape(576, 7168)).toEqual([5, 56]);
    const codes = new Uint8Array(576 * 2).fill(0x38); // 1.0
    const out = dequantizeBlocks(codes, Float32Array.of(1, 2, 3, 4, 5), 2);
    expect([out[0], out[127 * 2], out[128 * 2], out[511 * 2], out[512 * 2], out[575 * 2 + 1]]).toEqual([
      1, 1, 2, 4, 5, 5,
    ]);
  });

  it("agrees with the definition for any shape, block and range of elements", () => {
    const size = fc.integer({ min: 1, max: 40 });
    const blocks = fc.tuple(fc.integer({ min: 1, max: 17 }), fc.integer({ min: 1, max: 17 }));
    fc.assert(
      fc.property(size, size, blocks, fc.nat(), (rows, cols, block, seed) => {
        const random = new Random(seed);
        const codes = Uint8Array.from({ length: rows * cols }, () => random.int(0x7f) + 128 * random.int(2));
        const [a, b] = scaleShape(rows, cols, block);
        const scales = Float32Array.from({ length: a * b }, () => random.uniform() + 0.1);
        const expected = plain(codes, scales, rows, cols, block);
        expect(dequantizeBlocks(codes, scales, cols, block)).toEqual(expected);
        const from = random.int(rows * cols);
        const to = from + random.int(rows * cols - from + 1);
        const part = dequantizeBlocks(codes.subarray(from, to), scales, cols, block, from);
        expect(part).toEqual(expected.subarray(from, to).slice());
      }),
    );
  });

  it("refuses too few scales", () => {
    expect(() => dequantizeBlocks(new Uint8Array(129), new Float32Array(1), 1)).toThrow(ShapeError);
    expect(() => dequantizeBlocks(new Uint8Array(129), new Float32Array(1), 129)).toThrow(/at least 2/);
    expect(dequantizeBlocks(new Uint8Array(0), new Float32Array(0), 0)).toEqual(new Float32Array(0));
  });
});

describe("quantizeBlocks", () => {
  it("maps each block's largest magnitude to 448 and stays within half a step", () => {
    const random = new Random(3);
    const [rows, cols] = [37, 50];
    const block: BlockSize = [16, 16];
    const values = Float32Array.from({ length: rows * cols }, () => random.normal() * 0.02);
    const q = quantizeBlocks(values, rows, cols, block);
    expect(q.scaleShape).toEqual([3, 4]);
    const back = dequantizeBlocks(q.codes, q.scales, cols, block);
    for (let i = 0; i < values.length; i++) {
      const scale = q.scales[Math.floor(i / cols / 16) * 4 + Math.floor((i % cols) / 16)];
      // Three mantissa bits: relative 2^-4 for normal codes, absolute 2^-10 scales below.
      expect(Math.abs(back[i] - values[i])).toBeLessThanOrEqual(
        Math.max(Math.abs(values[i]) / 16, scale * 2 ** -10) * 1.00001,
      );
    }
    expect(q.codes.filter((c) => (c & 0x7f) === 0x7e).length).toBeGreaterThanOrEqual(12);
  });

  it("gives codes back exactly when values came from codes of full range", () => {
    const codes = Uint8Array.from({ length: 256 }, (_, i) => ((i & 0x7f) === 0x7f ? 0x7e : i));
    const q = quantizeBlocks(dequantizeBlocks(codes, Float32Array.of(0.25), 16), 16, 16);
    expect(q.scales).toEqual(Float32Array.of(0.25));
    expect(q.codes).toEqual(codes);
  });

  it("keeps zeros and subnormal weights, refuses NaN, infinity and a wrong size", () => {
    expect(quantizeBlocks(new Float32Array(4), 2, 2)).toMatchObject({
      codes: new Uint8Array(4),
      scales: Float32Array.of(1),
    });
    const tiny = quantizeBlocks(Float32Array.of(2 ** -128, 2 ** -140), 1, 2);
    expect(dequantizeBlocks(tiny.codes, tiny.scales, 2)[0]).toBe(2 ** -128);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => quantizeBlocks(Float32Array.of(0, bad), 2, 1)).toThrow(FormatError);
    }
    expect(() => quantizeBlocks(new Float32Array(5), 2, 2)).toThrow(ShapeError);
  });
});
