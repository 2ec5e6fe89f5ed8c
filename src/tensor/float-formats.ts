/**
 * Conversions between float32 and the narrow float formats of checkpoints: bfloat16, IEEE half, FP8 e4m3fn
 * (language-models.md §7) and the exponents of its scales. They work on bit patterns, so NaN payloads and signed zeros
 * survive widening and narrowing. Block scales of FP8 weights are in checkpoint/fp8.ts; e5m2 is left out.
 */
import { ShapeError } from "./errors.ts";

const E4M3_MAX = 0x7e; // 448
const E4M3_NAN = 0x7f;

/** The bits of `values`, sharing its memory. */
function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function checkLength(where: string, src: { length: number }, dst: { length: number }): void {
  if (dst.length !== src.length) {
    throw new ShapeError("destination and source differ in length", {
      where,
      expected: src.length,
      found: dst.length,
    });
  }
}

/** `mantissa` / 2^`shift` as an integer, ties to even; 0 < shift <= 24. */
function shiftRound(mantissa: number, shift: number): number {
  const quotient = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (quotient & 1) === 1) ? quotient + 1 : quotient;
}

/** Rounds float32 to bfloat16 patterns, ties to even; overflow gives infinity, NaN stays NaN. */
export function f32ToBf16(src: Float32Array, dst: Uint16Array = new Uint16Array(src.length)): Uint16Array {
  checkLength("f32ToBf16", src, dst);
  const bits = bitsOf(src);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i];
    if ((b & 0x7fffffff) > 0x7f800000) {
      const high = b >>> 16;
      // A payload that lies only in the dropped bits would otherwise turn into infinity.
      dst[i] = (high & 0x7f) === 0 ? high | 0x40 : high;
    } else {
      dst[i] = (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
    }
  }
  return dst;
}

/** Widens bfloat16 patterns to float32, exactly. */
export function bf16ToF32(src: Uint16Array, dst: Float32Array = new Float32Array(src.length)): Float32Array {
  checkLength("bf16ToF32", src, dst);
  const bits = bitsOf(dst);
  for (let i = 0; i < src.length; i++) bits[i] = src[i] << 16;
  return dst;
}

/** Rounds float32 to IEEE half patterns, ties to even; overflow gives infinity, NaN stays NaN. */
export function f32ToF16(src: Float32Array, dst: Uint16Array = new Uint16Array(src.length)): Uint16Array {
  checkLength("f32ToF16", src, dst);
  const bits = bitsOf(src);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i];
    const sign = (b >>> 16) & 0x8000;
    const abs = b & 0x7fffffff;
    let half: number;
    if (abs > 0x7f800000) {
      const payload = (abs >>> 13) & 0x3ff;
      half = 0x7c00 | (payload === 0 ? 0x200 : payload);
    } else if (abs >= 0x477ff000) {
      half = 0x7c00; // 65520 and above round to infinity
    } else if (abs >= 0x38800000) {
      half = (abs - 0x38000000 + 0xfff + ((abs >>> 13) & 1)) >>> 13;
    } else {
      // Subnormal halves count in units of 2^-24.
      const shift = 126 - (abs >>> 23);
      half = shift > 24 ? 0 : shiftRound((abs & 0x7fffff) | 0x800000, shift);
    }
    dst[i] = sign | half;
  }
  return dst;
}

/** Widens IEEE half patterns to float32, exactly. */
export function f16ToF32(src: Uint16Array, dst: Float32Array = new Float32Array(src.length)): Float32Array {
  checkLength("f16ToF32", src, dst);
  const bits = bitsOf(dst);
  for (let i = 0; i < src.length; i++) {
    const h = src[i];
    const sign = (h & 0x8000) << 16;
    const exponent = (h >>> 10) & 0x1f;
    const mantissa = h & 0x3ff;
    if (exponent === 0) dst[i] = (sign ? -mantissa : mantissa) * 2 ** -24;
    else if (exponent === 0x1f) bits[i] = sign | 0x7f800000 | (mantissa << 13);
    else bits[i] = sign | ((exponent + 112) << 23) | (mantissa << 13);
  }
  return dst;
}

/** Values of the 256 e4m3fn codes: no infinities, 0x7F and 0xFF are NaN, the largest is 448. */
const E4M3_VALUES: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code >>> 3) & 15;
  const mantissa = code & 7;
  if ((code & 0x7f) === E4M3_NAN) return Number.NaN;
  if (exponent === 0) return (sign * mantissa) / 512;
  return sign * (1 + mantissa / 8) * 2 ** (exponent - 7);
});

/** Widens e4m3fn codes to float32, exactly. */
export function e4m3ToF32(src: Uint8Array, dst: Float32Array = new Float32Array(src.length)): Float32Array {
  checkLength("e4m3ToF32", src, dst);
  for (let i = 0; i < src.length; i++) dst[i] = E4M3_VALUES[src[i]];
  return dst;
}

/** Widens E8M0 codes, powers of two from 2^-127 to 2^127 (OCP Microscaling Formats 1.0, section 5.4.1); 255 is NaN. */
export function e8m0ToF32(src: Uint8Array, dst: Float32Array = new Float32Array(src.length)): Float32Array {
  checkLength("e8m0ToF32", src, dst);
  for (let i = 0; i < src.length; i++) dst[i] = src[i] === 255 ? Number.NaN : 2 ** (src[i] - 127);
  return dst;
}

/** Rounds float32 to e4m3fn codes, ties to even; magnitudes above 448, infinity too, become 448; NaN stays. */
export function f32ToE4m3(src: Float32Array, dst: Uint8Array = new Uint8Array(src.length)): Uint8Array {
  checkLength("f32ToE4m3", src, dst);
  const bits = bitsOf(src);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i];
    const sign = (b >>> 24) & 0x80;
    const abs = b & 0x7fffffff;
    let code: number;
    if (abs > 0x7f800000) {
      code = E4M3_NAN;
    } else if (abs >= 0x3c800000) {
      code = Math.min(E4M3_MAX, (abs - 0x3c000000 + 0x7ffff + ((abs >>> 20) & 1)) >>> 20);
    } else {
      // Subnormal codes count in units of 2^-9.
      const shift = 141 - (abs >>> 23);
      code = shift > 24 ? 0 : shiftRound((abs & 0x7fffff) | 0x800000, shift);
    }
    dst[i] = sign | code;
  }
  return dst;
}
