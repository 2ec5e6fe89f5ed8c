/** Quantized weights and activations in plain arithmetic: what the references of the kernels are written with. */
import { f16ToF32, f32ToF16 } from "../float-formats.ts";
import { TILE_COLUMNS, TILE_ROWS, tileBytes } from "../quantized.ts";

/** Format by the code that kernels take. */
export const formats = ["q4", "q8"] as const;

const SCALE_BYTES = 2 * TILE_ROWS;

/** Bytes of the group of 8 rows of `k` columns. */
export function groupBytes(format: number, k: number): number {
  return Math.ceil(k / TILE_COLUMNS) * tileBytes[formats[format]];
}

/** Bytes of a matrix of `n` rows and `k` columns. */
export function matrixBytes(format: number, n: number, k: number): number {
  return Math.ceil(n / TILE_ROWS) * groupBytes(format, k);
}

/** Value of a f16 bit pattern. */
export function half(low: number, high: number): number {
  return f16ToF32(Uint16Array.of(low | (high << 8)))[0];
}

/** Bits of `x` rounded to f16, at most 65504 in magnitude. */
export function halfBits(x: number): number {
  return f32ToF16(Float32Array.of(Math.max(-65504, Math.min(65504, x))))[0];
}

/** Where row `r`, column `c` of a matrix at `start` is stored: its tile, its byte and whether that is a high half. */
export function placeOf(format: number, k: number, r: number, c: number, start = 0) {
  const tile =
    start +
    Math.floor(r / TILE_ROWS) * groupBytes(format, k) +
    Math.floor(c / TILE_COLUMNS) * tileBytes[formats[format]];
  const row = r % TILE_ROWS;
  const column = c % TILE_COLUMNS;
  if (format === 1) {
    return { tile, row, byte: tile + SCALE_BYTES + (column >> 1) * 16 + row * 2 + (column & 1), high: false };
  }
  const byte = tile + SCALE_BYTES + ((column & 15) >> 2) * 32 + row * 4 + (column & 3);
  return { tile, row, byte, high: column >= 16 };
}

/** Row `r` of a matrix at byte `start` of `w`, `k` numbers. */
export function decodeRow(
  format: number,
  w: Uint8Array,
  start: number,
  r: number,
  k: number,
  to = new Float64Array(k),
): Float64Array {
  for (let c = 0; c < k; c++) {
    const { tile, row, byte, high } = placeOf(format, k, r, c, start);
    const scale = half(w[tile + 2 * row], w[tile + 2 * row + 1]);
    const stored = format === 1 ? (w[byte] << 24) >> 24 : (high ? w[byte] >> 4 : w[byte] & 15) - 8;
    to[c] = scale * stored;
  }
  return to;
}

function nearestEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

/** A row as the kernels see it: rounded to 8 bits (with q4) or 16 bits (with q8) per block of 32. */
export function roundedActivations(format: number, x: ArrayLike<number>): Float64Array {
  const range = format === 0 ? 127 : 32767;
  const out = new Float64Array(x.length);
  for (let begin = 0; begin < x.length; begin += TILE_COLUMNS) {
    const end = Math.min(x.length, begin + TILE_COLUMNS);
    let top = 0;
    for (let i = begin; i < end; i++) top = Math.max(top, Math.abs(x[i]));
    if (top < 2 ** -100) continue;
    const scale = Math.fround(top / range);
    const inverse = Math.fround(range / top);
    for (let i = begin; i < end; i++) out[i] = nearestEven(Math.fround(x[i] * inverse)) * scale;
  }
  return out;
}

export function dotProduct(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
