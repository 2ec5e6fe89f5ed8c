/** Storage types against blocks of another implementation, and the quality of what is encoded here. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError, ShapeError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { dequantize } from "./blocks.ts";
import { quantize, type WritableType } from "./quantize.ts";
import { blockVectors, quantizeVectors } from "./test-vectors.ts";
import { type GgmlType, ggmlBytes, ggmlTypes } from "./types.ts";

const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, "base64"));
const floatsOf = (base64: string) => new Float32Array(bytesOf(base64).buffer);
const bits = (values: Float32Array) => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

function squaredError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
}

describe("dequantize", () => {
  it.each(Object.keys(blockVectors) as (keyof typeof blockVectors)[])(
    "gives the reference values of %s",
    (type) => {
      const { bytes, values } = blockVectors[type];
      expect(bits(dequantize(type, bytesOf(bytes)))).toEqual(bits(floatsOf(values)));
      // From an odd address, into memory of the caller.
      const shifted = new Uint8Array(bytesOf(bytes).length + 1);
      shifted.set(bytesOf(bytes), 1);
      const out = new Float32Array(floatsOf(values).length);
      expect(dequantize(type, shifted.subarray(1), out)).toBe(out);
      expect(bits(out)).toEqual(bits(floatsOf(values)));
    },
  );

  it("keeps floats as they are, infinities and NaN included", () => {
    const values = Float32Array.of(0, -0, 1.5, -65504, 2 ** -24, Number.POSITIVE_INFINITY, Number.NaN);
    for (const type of ["F32", "BF16", "F16"] as const) {
      const source = type === "BF16" ? Float32Array.of(0, -0, 1.5, -65536, 2 ** -24, Number.NaN) : values;
      expect([...dequantize(type, quantize(type, source))]).toEqual([...source]);
    }
  });

  it("takes scales that are zero, subnormal, infinite or NaN", () => {
    const block = (low: number, high: number) => Uint8Array.from([low, high, ...new Array(32).fill(3)]);
    expect(dequantize("Q8_0", block(0, 0))[0]).toBe(0);
    expect(dequantize("Q8_0", block(1, 0))[0]).toBe(3 * 2 ** -24);
    expect(dequantize("Q8_0", block(1, 0x80))[0]).toBe(-3 * 2 ** -24);
    expect(dequantize("Q8_0", block(0, 0x7c))[0]).toBe(Number.POSITIVE_INFINITY);
    expect(dequantize("Q8_0", block(1, 0x7c))[0]).toBeNaN();
  });

  it("refuses parts of blocks and other lengths", () => {
    for (const type of Object.keys(ggmlTypes) as GgmlType[]) {
      expect(() => dequantize(type, new Uint8Array(ggmlTypes[type].bytes + 1)), type).toThrow(ShapeError);
      expect(
        () => dequantize(type, new Uint8Array(ggmlTypes[type].bytes), new Float32Array(3)),
        type,
      ).toThrow(type);
    }
    expect(dequantize("Q6_K", new Uint8Array(0))).toHaveLength(0);
  });
});

describe("quantize", () => {
  const values = floatsOf(quantizeVectors.values);

  it("gives the reference bytes of Q8_0", () => {
    expect(quantize("Q8_0", values)).toEqual(bytesOf(quantizeVectors.Q8_0));
  });

  it("is closer than the reference in Q4_0", () => {
    const own = dequantize("Q4_0", quantize("Q4_0", values));
    const reference = dequantize("Q4_0", bytesOf(quantizeVectors.Q4_0));
    expect(squaredError(own, values)).toBeLessThan(squaredError(reference, values));
    for (let block = 0; block < values.length; block += 32) {
      const part = (all: Float32Array) => all.subarray(block, block + 32);
      const bound = squaredError(part(reference), part(values));
      expect(squaredError(part(own), part(values))).toBeLessThanOrEqual(bound * (1 + 1e-3));
    }
  });

  it("keeps normal weights within the error of their bits", () => {
    const random = new Random(2);
    const weights = Float32Array.from({ length: 1 << 14 }, () => 0.02 * random.normal());
    const energy = squaredError(weights, new Float32Array(weights.length));
    const relative = (type: WritableType) =>
      Math.sqrt(squaredError(dequantize(type, quantize(type, weights)), weights) / energy);
    expect(relative("Q8_0")).toBeLessThan(0.0065);
    expect(relative("Q4_0")).toBeLessThan(0.09);
    expect(relative("BF16")).toBeLessThan(0.002);
    expect(relative("F16")).toBeLessThan(0.0003);
  });

  it("keeps what it has encoded once, and never leaves half a step", () => {
    const block = fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), {
      minLength: 32,
      maxLength: 64,
    });
    fc.assert(
      fc.property(block, fc.constantFrom("Q8_0" as const, "Q4_0" as const), (list, type) => {
        const source = Float32Array.from(list).subarray(0, list.length - (list.length % 32));
        const once = dequantize(type, quantize(type, source));
        const largest = source.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const step = type === "Q8_0" ? largest / 127 : largest / 7;
        for (let i = 0; i < source.length; i++) {
          expect(Math.abs(once[i] - source[i])).toBeLessThanOrEqual(step * 1.05 + 1e-5);
        }
      }),
    );
  });

  it("refuses what a type cannot hold, by name", () => {
    const with_ = (value: number) => Float32Array.from({ length: 32 }, (_, i) => (i === 7 ? value : 1));
    expect(() => quantize("F16", with_(70000), "blk.0.x")).toThrow(/blk\.0\.x.*65504.*70000/);
    for (const type of ["Q8_0", "Q4_0"] as const) {
      expect(() => quantize(type, with_(Number.NaN))).toThrow(FormatError);
      expect(() => quantize(type, with_(Number.NEGATIVE_INFINITY))).toThrow(type);
      expect(() => quantize(type, with_(3e38))).toThrow(/scale/);
      expect(() => quantize(type, new Float32Array(33))).toThrow(ShapeError);
      expect(dequantize(type, quantize(type, new Float32Array(32))).every((value) => value === 0)).toBe(true);
    }
    expect(quantize("Q4_0", new Float32Array(64)).length).toBe(ggmlBytes("Q4_0", 64));
  });
});
