/** Every bfloat16, half and e4m3 pattern, the midpoints between neighbors, and the special values. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShapeError } from "./errors.ts";
import {
  bf16ToF32,
  e4m3ToF32,
  e8m0ToF32,
  f16ToF32,
  f32ToBf16,
  f32ToE4m3,
  f32ToF16,
} from "./float-formats.ts";

const all16 = Uint16Array.from({ length: 65536 }, (_, i) => i);
const all8 = Uint8Array.from({ length: 256 }, (_, i) => i);

/** Independent definition of a small IEEE-like format from its fields. */
function value(pattern: number, exponentBits: number, mantissaBits: number, bias: number): number {
  const mantissa = pattern & (2 ** mantissaBits - 1);
  const exponent = Math.floor(pattern / 2 ** mantissaBits) & (2 ** exponentBits - 1);
  const sign = pattern >= 2 ** (exponentBits + mantissaBits) ? -1 : 1;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
}

/** Finite non-negative values of a format must be hit by rounding from both sides of every midpoint. */
function checkRounding(
  values: Float32Array,
  signBit: number,
  encode: (x: Float32Array) => ArrayLike<number>,
): void {
  const below = new Float32Array(1);
  const bits = new Uint32Array(below.buffer);
  for (let i = 0; i + 1 < values.length; i++) {
    const mid = Math.fround((values[i] + values[i + 1]) / 2);
    if (mid === values[i] || mid === values[i + 1]) continue; // no float32 between them
    below[0] = mid;
    bits[0] -= 1;
    const down = below[0];
    bits[0] += 2;
    const up = below[0];
    const codes = encode(Float32Array.of(down, mid, up, -down, -mid, -up));
    const even = i % 2 === 0 ? i : i + 1;
    expect([codes[0], codes[1], codes[2]], `between ${values[i]} and ${values[i + 1]}`).toEqual([
      i,
      even,
      i + 1,
    ]);
    expect([codes[3], codes[4], codes[5]]).toEqual([i | signBit, even | signBit, (i + 1) | signBit]);
  }
}

describe("bfloat16", () => {
  const wide = bf16ToF32(all16);

  it("decodes every pattern and gives every pattern back", () => {
    for (let i = 0; i < 65536; i++) {
      if ((i & 0x7f80) === 0x7f80) {
        if ((i & 0x7f) !== 0) expect(wide[i]).toBeNaN();
        else expect(wide[i]).toBe(i < 0x8000 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY);
      } else if (!Object.is(wide[i], value(i, 8, 7, 127))) expect(wide[i]).toBe(value(i, 8, 7, 127));
    }
    expect(f32ToBf16(wide)).toEqual(all16);
  });

  it("rounds to nearest even at each midpoint", () => {
    checkRounding(wide.subarray(0, 0x7f80), 0x8000, (x) => f32ToBf16(x));
  });

  it("overflows to infinity and keeps a NaN whose payload is in the dropped bits", () => {
    expect(f32ToBf16(Float32Array.of(3.4028234663852886e38))[0]).toBe(0x7f80);
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xff80ffff).buffer);
    expect([...bf16ToF32(f32ToBf16(nan))]).toEqual([Number.NaN, Number.NaN]);
  });
});

describe("half", () => {
  const wide = f16ToF32(all16);

  it("decodes every pattern and gives every pattern back", () => {
    for (let i = 0; i < 65536; i++) {
      if ((i & 0x7c00) === 0x7c00) {
        if ((i & 0x3ff) !== 0) expect(wide[i]).toBeNaN();
        else expect(wide[i]).toBe(i < 0x8000 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY);
      } else if (!Object.is(wide[i], value(i, 5, 10, 15))) expect(wide[i]).toBe(value(i, 5, 10, 15));
    }
    expect(f32ToF16(wide)).toEqual(all16);
  });

  it("rounds to nearest even at each midpoint, subnormals included", () => {
    checkRounding(wide.subarray(0, 0x7c00), 0x8000, (x) => f32ToF16(x));
  });

  it("takes the largest half up to the midpoint, then infinity", () => {
    const codes = f32ToF16(Float32Array.of(65504, 65519.996, 65520, -65520, 1e30, 2 ** -25, 2 ** -26));
    expect([...codes]).toEqual([0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00, 0, 0]);
    expect(f32ToF16(Float32Array.of(2 ** -25 * 1.0000001))[0]).toBe(1);
  });
});

describe("e4m3fn", () => {
  const wide = e4m3ToF32(all8);

  it("decodes all 256 codes as the specification says", () => {
    const known: [number, number][] = [
      [0x01, 0.001953125],
      [0x07, 0.013671875],
      [0x08, 0.015625],
      [0x38, 1],
      [0x3c, 1.5],
      [0x40, 2],
      [0x7e, 448],
      [0xb8, -1],
    ];
    for (const [code, expected] of known) expect(wide[code]).toBe(expected);
    for (let i = 0; i < 256; i++) {
      if ((i & 0x7f) === 0x7f) expect(wide[i]).toBeNaN();
      else expect(wide[i]).toBe(value(i, 4, 3, 7));
    }
  });

  it("gives every code back (the sign of NaN aside)", () => {
    const codes = f32ToE4m3(wide);
    for (let i = 0; i < 256; i++) {
      if ((i & 0x7f) === 0x7f) expect(codes[i] & 0x7f).toBe(0x7f);
      else expect(codes[i]).toBe(i);
    }
  });

  it("rounds to nearest even at each midpoint and saturates at 448", () => {
    checkRounding(wide.subarray(0, 0x7f), 0x80, (x) => f32ToE4m3(x));
    const big = Float32Array.of(449, 464, 480, 1e38, Number.POSITIVE_INFINITY, -1e9);
    expect([...f32ToE4m3(big)]).toEqual([0x7e, 0x7e, 0x7e, 0x7e, 0x7e, 0xfe]);
  });

  it("picks the nearest code for any float32", () => {
    const finite = wide.filter((x) => !Number.isNaN(x));
    fc.assert(
      fc.property(fc.float({ min: -448, max: 448, noNaN: true }), (x) => {
        const got = e4m3ToF32(f32ToE4m3(Float32Array.of(x)))[0];
        const best = finite.reduce((b, v) => Math.min(b, Math.abs(v - x)), Number.POSITIVE_INFINITY);
        expect(Math.abs(got - x)).toBe(best);
      }),
    );
  });
});

it("widens E8M0: powers of two, the smallest below the normal ones, and one NaN", () => {
  const codes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const values = e8m0ToF32(codes);
  expect([values[0], values[126], values[127], values[128], values[254]]).toEqual([
    2 ** -127,
    0.5,
    1,
    2,
    2 ** 127,
  ]);
  expect(values[255]).toBeNaN();
  for (let i = 1; i < 255; i++) expect(values[i]).toBe(2 * values[i - 1]);
  expect(() => e8m0ToF32(codes, new Float32Array(2))).toThrow(ShapeError);
});

it("fills a given destination and refuses one of another length", () => {
  const dst = new Uint16Array(2);
  expect(f32ToBf16(Float32Array.of(1, -0), dst)).toBe(dst);
  expect([...dst]).toEqual([0x3f80, 0x8000]);
  expect(() => f32ToF16(new Float32Array(3), dst)).toThrow(ShapeError);
  expect(() => e4m3ToF32(new Uint8Array(3), new Float32Array(4))).toThrow(/expected: 3; found: 4/);
});
