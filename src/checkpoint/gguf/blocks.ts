/**
 * Decoding of ggml's storage types to float32, with the values of ggml's own reference code (ggml-quants.c,
 * `dequantize_row_*`). Products of a half-precision scale and a small integer are exact in double precision, so each
 * value is rounded once, as there. Encoding is in quantize.ts.
 */
import { ShapeError } from "../../tensor/errors.ts";
import { bf16ToF32, f16ToF32 } from "../../tensor/float-formats.ts";
import { type GgmlType, ggmlTypes } from "./types.ts";

/** 2^(e-25) for the exponent field e of a half, so that a half is (1024 + mantissa) times it. */
const POWERS = Float64Array.from({ length: 31 }, (_, e) => 2 ** (Math.max(e, 1) - 25));

/** The half-precision number stored little-endian at `at`. */
function half(bytes: Uint8Array, at: number): number {
  const low = bytes[at];
  const high = bytes[at + 1];
  const exponent = (high >> 2) & 31;
  const mantissa = ((high & 3) << 8) | low;
  let value: number;
  if (exponent === 31) value = mantissa === 0 ? Number.POSITIVE_INFINITY : Number.NaN;
  else value = (exponent === 0 ? mantissa : 1024 + mantissa) * POWERS[exponent];
  return high & 0x80 ? -value : value;
}

type Decoder = (bytes: Uint8Array, out: Float32Array, blocks: number) => void;

function q8_0(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 34, to += 32) {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * signed[at + 2 + i];
  }
}

function q4_0(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 18, to += 32) {
    const d = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      const q = bytes[at + 2 + i];
      out[to + i] = d * ((q & 15) - 8);
      out[to + 16 + i] = d * ((q >> 4) - 8);
    }
  }
}

function q4_1(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 20, to += 32) {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const q = bytes[at + 4 + i];
      out[to + i] = d * (q & 15) + m;
      out[to + 16 + i] = d * (q >> 4) + m;
    }
  }
}

/** The fifth bits of a block's 32 values. */
function highBits(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

function q5_0(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 22, to += 32) {
    const d = half(bytes, at);
    const high = highBits(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const q = bytes[at + 6 + i];
      out[to + i] = d * (((q & 15) | (((high >>> i) & 1) << 4)) - 16);
      out[to + 16 + i] = d * (((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
    }
  }
}

function q5_1(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 24, to += 32) {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    const high = highBits(bytes, at + 4);
    for (let i = 0; i < 16; i++) {
      const q = bytes[at + 8 + i];
      out[to + i] = d * ((q & 15) | (((high >>> i) & 1) << 4)) + m;
      out[to + 16 + i] = d * ((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) + m;
    }
  }
}

function q2_k(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 84) {
    const d = half(bytes, at + 80);
    const m = half(bytes, at + 82);
    // Sixteen values at a time have a scale and a minimum of four bits each.
    for (let group = 0; group < 16; group++, to += 16) {
      const scales = bytes[at + group];
      const scale = d * (scales & 15);
      const minimum = m * (scales >> 4);
      const q = at + 16 + 32 * (group >> 3) + 16 * (group & 1);
      const shift = group & 6;
      for (let i = 0; i < 16; i++) out[to + i] = scale * ((bytes[q + i] >> shift) & 3) - minimum;
    }
  }
}

function q3_k(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 110) {
    const d = half(bytes, at + 108);
    const scales = at + 96;
    for (let group = 0; group < 16; group++, to += 16) {
      // Six bits: the low four of two groups share a byte, the high two of four.
      const low = group < 8 ? bytes[scales + group] & 15 : bytes[scales + group - 8] >> 4;
      const high = (bytes[scales + 8 + (group & 3)] >> (2 * (group >> 2))) & 3;
      const scale = d * ((low | (high << 4)) - 32);
      const place = 16 * (group & 1);
      const q = at + 32 + 32 * (group >> 3) + place;
      const shift = group & 6;
      const bit = 1 << (group >> 1);
      for (let i = 0; i < 16; i++) {
        const third = bytes[at + place + i] & bit ? 0 : 4;
        out[to + i] = scale * (((bytes[q + i] >> shift) & 3) - third);
      }
    }
  }
}

/** Six-bit scale (`minimum` false) or minimum of sub-block `j` in the 12 bytes at `at` (`get_scale_min_k4`). */
function sixBits(bytes: Uint8Array, at: number, j: number, minimum: boolean): number {
  if (j < 4) return bytes[at + j + (minimum ? 4 : 0)] & 63;
  const low = minimum ? bytes[at + j + 4] >> 4 : bytes[at + j + 4] & 15;
  return low | ((bytes[at + j - (minimum ? 0 : 4)] >> 6) << 4);
}

function q4_k(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 144) {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    for (let pair = 0, q = at + 16; pair < 4; pair++, q += 32, to += 64) {
      const d1 = d * sixBits(bytes, at + 4, 2 * pair, false);
      const m1 = m * sixBits(bytes, at + 4, 2 * pair, true);
      const d2 = d * sixBits(bytes, at + 4, 2 * pair + 1, false);
      const m2 = m * sixBits(bytes, at + 4, 2 * pair + 1, true);
      for (let i = 0; i < 32; i++) {
        const byte = bytes[q + i];
        out[to + i] = d1 * (byte & 15) - m1;
        out[to + 32 + i] = d2 * (byte >> 4) - m2;
      }
    }
  }
}

function q5_k(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 176) {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    const high = at + 16;
    for (let pair = 0, q = at + 48; pair < 4; pair++, q += 32, to += 64) {
      const d1 = d * sixBits(bytes, at + 4, 2 * pair, false);
      const m1 = m * sixBits(bytes, at + 4, 2 * pair, true);
      const d2 = d * sixBits(bytes, at + 4, 2 * pair + 1, false);
      const m2 = m * sixBits(bytes, at + 4, 2 * pair + 1, true);
      for (let i = 0; i < 32; i++) {
        const byte = bytes[q + i];
        const fifth = bytes[high + i] >> (2 * pair);
        out[to + i] = d1 * ((byte & 15) | ((fifth & 1) << 4)) - m1;
        out[to + 32 + i] = d2 * ((byte >> 4) | ((fifth & 2) << 3)) - m2;
      }
    }
  }
}

function q6_k(bytes: Uint8Array, out: Float32Array, blocks: number): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let b = 0, at = 0, to = 0; b < blocks; b++, at += 210) {
    const d = half(bytes, at + 208);
    for (let part = 0; part < 2; part++, to += 128) {
      const low = at + 64 * part;
      const high = at + 128 + 32 * part;
      const scales = at + 192 + 8 * part;
      for (let i = 0; i < 32; i++) {
        const s = scales + (i >> 4);
        const h = bytes[high + i];
        const a = bytes[low + i];
        const c = bytes[low + 32 + i];
        out[to + i] = d * signed[s] * (((a & 15) | ((h & 3) << 4)) - 32);
        out[to + 32 + i] = d * signed[s + 2] * (((c & 15) | ((h & 12) << 2)) - 32);
        out[to + 64 + i] = d * signed[s + 4] * (((a >> 4) | (h & 48)) - 32);
        out[to + 96 + i] = d * signed[s + 6] * (((c >> 4) | ((h & 192) >> 2)) - 32);
      }
    }
  }
}

/** The bytes as elements; copied if they do not start on one. */
function halves(bytes: Uint8Array): Uint16Array {
  const own = bytes.byteOffset % 2 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint16Array(own.buffer, own.byteOffset, own.byteLength / 2);
}

const decoders: Readonly<Record<GgmlType, Decoder>> = {
  F32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  F16: (bytes, out) => void f16ToF32(halves(bytes), out),
  BF16: (bytes, out) => void bf16ToF32(halves(bytes), out),
  Q8_0: q8_0,
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
};

/** Decodes whole blocks into `out`, or into a new array. @throws ShapeError for part of a block or another length */
export function dequantize(type: GgmlType, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const { values, bytes: each } = ggmlTypes[type];
  const blocks = bytes.byteLength / each;
  const result = out ?? new Float32Array(Math.floor(blocks) * values);
  if (!Number.isInteger(blocks) || result.length !== blocks * values) {
    throw new ShapeError("data are not whole blocks, or the destination is too small", {
      where: "dequantize",
      name: type,
      expected: `a multiple of ${each} bytes, ${values} values each`,
      found: `${bytes.byteLength} bytes, ${result.length} values`,
    });
  }
  decoders[type](bytes, result, blocks);
  return result;
}
