/**
 * What the products with quantized weights share: private memory, constants in it, and the arithmetic of a block.
 *
 * Within a block of 32 the products are integers and exact; then every result adds block after block in f32:
 * sum += integer sum (activation scale weight scale). Whichever loop computes a result, its bits are the same.
 */
import { madd } from "./math";
import { requestedSums, scratch } from "./runtime";

/** Private memory of this thread: constants and sums, a block of padding, quantized activations, results. */
const SUMS: usize = 128;
const PAD: usize = 384;
const PRIVATE: usize = 512;
const RESULTS: usize = 1 << 20;

/** Where a row group's results are put together: four rows of 16. */
// @ts-ignore: decorator
@inline
export function sums(): usize {
  return scratch() + SUMS;
}

/** Room for 32 numbers. */
// @ts-ignore: decorator
@inline
export function padding(): usize {
  return scratch() + PAD;
}

/** Room for almost 1 MiB of quantized activations. */
// @ts-ignore: decorator
@inline
export function privateRows(): usize {
  return scratch() + PRIVATE;
}

/** Room for 3 MiB of results. */
// @ts-ignore: decorator
@inline
export function privateResults(): usize {
  return scratch() + RESULTS;
}

/** 1 if sums of two products stay in 16 bits for a block, 0 if not, -1 as long as nobody knows. */
let form: i32 = -1;

/** Whether q4 weights are multiplied by the loops of quantized-q4-pairs.ts. Results do not depend on it. */
// @ts-ignore: decorator
@inline
export function pairSums(): bool {
  return form > 0;
}

/**
 * Whether a sum of four products is one instruction, known by what it gives where its second operand is no 7-bit number:
 * x64 without VNNI adds pairs first and cuts them at 32,767, with VNNI the sum is exact, and ARM takes the operand as signed.
 * From memory, since a compiler would compute it by rules of its own.
 */
function sumsFour(): bool {
  const at = padding();
  v128.store(at, i8x16.splat(127));
  v128.store(at, i8x16.splat(-1), 16);
  const sum = dot(v128.load(at), v128.load(at, 16), i32x4.splat(0));
  return i32x4.extract_lane(sum, 0) != 2 * 32767;
}

/** Writes the constants; every kernel that uses this file calls it first. */
export function prepareTiles(): void {
  const c = scratch();
  for (let i: usize = 0; i < 32; i += 16) {
    v128.store(c + i, i8x16.splat(0x0f));
    v128.store(c + i, i32x4.splat(0x8fffe000), 32);
    v128.store(c + i, f32x4.splat(5.192296858534828e33), 64);
    v128.store(c + i, i16x8.splat(1), 96);
  }
  if (form < 0) form = requestedSums() >= 0 ? requestedSums() : i32(ASC_FEATURE_RELAXED_SIMD && !sumsFour());
}

// @ts-ignore: decorator
@inline
export function tileSize(format: i32): usize {
  return format == 0 ? 144 : 272;
}

/** Bytes of 8 weight rows of k columns. */
// @ts-ignore: decorator
@inline
export function groupSize(format: i32, k: i32): usize {
  return <usize>((k + 31) >> 5) * tileSize(format);
}

/** sum + x w in groups of four: signed bytes, and bytes of 0 to 15. Both builds give the same integers. */
// @ts-ignore: decorator
@inline
export function dot(x: v128, w: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, sum);
  const even = i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(x, 8), 8), v128.and(w, i16x8.splat(0x00ff)));
  const odd = i32x4.dot_i16x8_s(i16x8.shr_s(x, 8), i16x8.shr_u(w, 8));
  return i32x4.add(sum, i32x4.add(even, odd));
}

/** sum + x w in groups of two, in 16 bits: signed bytes, and bytes of 0 to 15. */
// @ts-ignore: decorator
@inline
export function pairs(x: v128, w: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.add(sum, i16x8.relaxed_dot_i8x16_i7x16_s(x, w));
  unreachable();
  return sum;
}

/** offset + the neighbors of `sum` in groups of two. */
// @ts-ignore: decorator
@inline
export function widened(sum: v128, ones: v128, offset: v128): v128 {
  return i32x4.add(i32x4.dot_i16x8_s(sum, ones), offset);
}

/**
 * Four f16 as f32: their bits in place of f32's are the value times 2^-112, subnormals included. Infinity and NaN
 * come out finite; scales are neither.
 */
// @ts-ignore: decorator
@inline
export function scales(at: usize, mask: v128, factor: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), mask), factor);
}

// @ts-ignore: decorator
@inline
export function clear(to: usize): void {
  const zero = f32x4.splat(0);
  v128.store(to, zero);
  v128.store(to, zero, 16);
  v128.store(to, zero, 32);
  v128.store(to, zero, 48);
  v128.store(to, zero, 64);
  v128.store(to, zero, 80);
  v128.store(to, zero, 96);
  v128.store(to, zero, 112);
}

// @ts-ignore: decorator
@inline
export function scaled(sum: v128, x: v128, w: v128, total: v128): v128 {
  return madd(f32x4.convert_i32x4_s(sum), f32x4.mul(x, w), total);
}

/**
 * Adds a block's integer sums of one row of activations (scale at `x`) and two groups of weights (scales e) to the 16
 * results at `to`.
 */
// @ts-ignore: decorator
@inline
export function addRow(
  to: usize,
  x: usize,
  a00: v128,
  a01: v128,
  a10: v128,
  a11: v128,
  e00: v128,
  e01: v128,
  e10: v128,
  e11: v128,
): void {
  const f = v128.load32_splat(x);
  const s00 = scaled(a00, f, e00, v128.load(to));
  const s01 = scaled(a01, f, e01, v128.load(to, 16));
  v128.store(to, s00);
  v128.store(to, s01, 16);
  const s10 = scaled(a10, f, e10, v128.load(to, 32));
  const s11 = scaled(a11, f, e11, v128.load(to, 48));
  v128.store(to, s10, 32);
  v128.store(to, s11, 48);
}
