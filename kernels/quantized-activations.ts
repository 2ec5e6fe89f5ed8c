/**
 * Activations as integers with one scale per block of 32, the left side of products with quantized weights.
 *
 * Beside q4 weights an activation has 8 bits (scale = largest magnitude / 127), with q8 weights 16 bits
 * (/ 32767). A block is its scale (f32), for q4 also -8 times the sum of its integers, which is what the offset 8
 * of stored weights adds up to, and the 32 integers: 40 bytes and 68 bytes. Beyond k stand zeros.
 * A block with a NaN or an infinity has a scale that is one, so that it shows in the result.
 */
import { hmax } from "./math";
import { nextUnit } from "./runtime";

/** Elements of a unit. */
const UNIT: i32 = 8192;
/** Blocks below it count as zeros: 1 / scale would not be finite. */
const TINY: f32 = 7.8886090522101181e-31;

/** Bytes of a row of k activations. */
// @ts-ignore: decorator
@inline
export function activationBytes(format: i32, k: i32): usize {
  return <usize>((k + 31) >> 5) * (format == 0 ? 40 : 68);
}

// @ts-ignore: decorator
@inline
function larger(a: v128, at: usize): v128 {
  return f32x4.max(a, f32x4.abs(v128.load(at)));
}

// @ts-ignore: decorator
@inline
function rounded(at: usize, inverse: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(at), inverse)));
}

/** Eight integers of 16 bits. */
// @ts-ignore: decorator
@inline
function rounded8(at: usize, inverse: v128): v128 {
  return i16x8.narrow_i32x4_s(rounded(at, inverse), rounded(at + 16, inverse));
}

/** One block of 32 at `x`. */
function quantizeBlock(format: i32, x: usize, to: usize): void {
  let most = f32x4.abs(v128.load(x));
  most = larger(most, x + 16);
  most = larger(most, x + 32);
  most = larger(most, x + 48);
  most = larger(most, x + 64);
  most = larger(most, x + 80);
  most = larger(most, x + 96);
  most = larger(most, x + 112);
  const top = hmax(most);
  const range: f32 = format == 0 ? 127 : 32767;
  let inverse: f32 = 0;
  let scale: f32 = 0;
  if (!(top < TINY)) {
    inverse = range / top;
    scale = top / range;
  }
  const factor = f32x4.splat(inverse);
  store<f32>(to, scale);
  const a = rounded8(x, factor);
  const b = rounded8(x + 32, factor);
  const c = rounded8(x + 64, factor);
  const d = rounded8(x + 96, factor);
  if (format != 0) {
    v128.store(to, a, 4);
    v128.store(to, b, 20);
    v128.store(to, c, 36);
    v128.store(to, d, 52);
    return;
  }
  const sums = i32x4.extadd_pairwise_i16x8_s(i16x8.add(i16x8.add(a, b), i16x8.add(c, d)));
  const sum =
    i32x4.extract_lane(sums, 0) +
    i32x4.extract_lane(sums, 1) +
    i32x4.extract_lane(sums, 2) +
    i32x4.extract_lane(sums, 3);
  store<i32>(to, -8 * sum, 4);
  v128.store(to, i8x16.narrow_i16x8_s(a, b), 8);
  v128.store(to, i8x16.narrow_i16x8_s(c, d), 24);
}

/** Writes a row of k activations as blocks; `pad` is private memory for 32 numbers. */
export function quantizeRow(format: i32, x: usize, k: i32, to: usize, pad: usize): void {
  const bytes: usize = format == 0 ? 40 : 68;
  let i = 0;
  for (; i + 32 <= k; i += 32) {
    quantizeBlock(format, x + ((<usize>i) << 2), to);
    to += bytes;
  }
  if (i == k) return;
  memory.fill(pad, 0, 128);
  memory.copy(pad, x + ((<usize>i) << 2), (<usize>(k - i)) << 2);
  quantizeBlock(format, pad, to);
}

/** Quantizes `rows` rows, `step` bytes apart, by all threads together; counts units with `counter`. */
export function quantizeRows(
  format: i32,
  x: usize,
  step: usize,
  rows: i32,
  k: i32,
  to: usize,
  pad: usize,
  counter: i32,
): void {
  const bytes = activationBytes(format, k);
  const each = max(1, UNIT / max(1, k));
  const units = (rows + each - 1) / each;
  for (let u = nextUnit(counter); u < units; u = nextUnit(counter)) {
    const end = min(rows, (u + 1) * each);
    for (let r = u * each; r < end; r++)
      quantizeRow(format, x + <usize>r * step, k, to + <usize>r * bytes, pad);
  }
}
