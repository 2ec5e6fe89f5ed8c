/**
 * Inner loops of products with few rows: weights of any float type in eight lanes, and tiles of four rows of x by two of
 * w and two by four whose sums wait in memory between blocks of k. f16 weights are numbers: infinities and NaN are not
 * told apart from them.
 */
import { loadBf16, loadBf16x4, madd } from "./math";
import { scratch } from "./runtime";

// Two numbers to widen f16 with, in scratch memory behind 2 KB of sums.
const MASK: usize = 2048;
const POWER: usize = 2052;
/** Where scratch memory is free behind them. */
export const BEHIND_NUMBERS: usize = 2112;

/** Makes the numbers for `weights4` ready; from memory they are one load, in the code several instructions. */
export function writeConstants(): void {
  store<i32>(scratch() + MASK, 0x8fffe000);
  // 2^112, what lies between the exponents of f16 and f32.
  store<f32>(scratch() + POWER, 5.192296858534828e33);
}

// @ts-ignore: decorator
@inline
export function maskNumber(): v128 {
  return v128.load32_splat(scratch(), MASK);
}

// @ts-ignore: decorator
@inline
export function powerNumber(): v128 {
  return v128.load32_splat(scratch(), POWER);
}

// @ts-ignore: decorator
@inline
export function weights4(at: usize, dtype: i32, mask: v128, power: v128): v128 {
  if (dtype == 1) return loadBf16x4(at);
  if (dtype == 2) return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), mask), power);
  return v128.load(at);
}

/** The four weights after those at `at`. */
// @ts-ignore: decorator
@inline
export function next4(at: usize, dtype: i32, mask: v128, power: v128): v128 {
  return weights4(at + (dtype == 0 ? 16 : 8), dtype, mask, power);
}

// @ts-ignore: decorator
@inline
export function weight(at: usize, dtype: i32): f32 {
  if (dtype == 1) return loadBf16(at);
  if (dtype == 2) return reinterpret<f32>(((<i32>load<i16>(at)) << 13) & 0x8fffe000) * 5.192296858534828e33;
  return load<f32>(at);
}

/**
 * Adds what `n` (a multiple of eight) elements bring to the sums of four rows of x against two of w. `step` lies between
 * the sums of the rows of w.
 */
// @ts-ignore: decorator
@inline
function fourByTwoOf(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w0: usize,
  w1: usize,
  n: i32,
  sums: usize,
  step: usize,
  dtype: i32,
): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const mask = maskNumber();
  const power = powerNumber();
  const next = sums + step;
  let s0 = v128.load(sums);
  let t0 = v128.load(sums, 16);
  let s1 = v128.load(sums, 32);
  let t1 = v128.load(sums, 48);
  let s2 = v128.load(sums, 64);
  let t2 = v128.load(sums, 80);
  let s3 = v128.load(sums, 96);
  let t3 = v128.load(sums, 112);
  let s4 = v128.load(next);
  let t4 = v128.load(next, 16);
  let s5 = v128.load(next, 32);
  let t5 = v128.load(next, 48);
  let s6 = v128.load(next, 64);
  let t6 = v128.load(next, 80);
  let s7 = v128.load(next, 96);
  let t7 = v128.load(next, 112);
  for (; n > 0; n -= 8) {
    const low0 = weights4(w0, dtype, mask, power);
    const high0 = next4(w0, dtype, mask, power);
    const low1 = weights4(w1, dtype, mask, power);
    const high1 = next4(w1, dtype, mask, power);
    const a0 = v128.load(x0);
    const b0 = v128.load(x0, 16);
    s0 = madd(a0, low0, s0);
    t0 = madd(b0, high0, t0);
    s4 = madd(a0, low1, s4);
    t4 = madd(b0, high1, t4);
    const a1 = v128.load(x1);
    const b1 = v128.load(x1, 16);
    s1 = madd(a1, low0, s1);
    t1 = madd(b1, high0, t1);
    s5 = madd(a1, low1, s5);
    t5 = madd(b1, high1, t5);
    const a2 = v128.load(x2);
    const b2 = v128.load(x2, 16);
    s2 = madd(a2, low0, s2);
    t2 = madd(b2, high0, t2);
    s6 = madd(a2, low1, s6);
    t6 = madd(b2, high1, t6);
    const a3 = v128.load(x3);
    const b3 = v128.load(x3, 16);
    s3 = madd(a3, low0, s3);
    t3 = madd(b3, high0, t3);
    s7 = madd(a3, low1, s7);
    t7 = madd(b3, high1, t7);
    w0 += 8 * size;
    w1 += 8 * size;
    x0 += 32;
    x1 += 32;
    x2 += 32;
    x3 += 32;
  }
  v128.store(sums, s0);
  v128.store(sums, t0, 16);
  v128.store(sums, s1, 32);
  v128.store(sums, t1, 48);
  v128.store(sums, s2, 64);
  v128.store(sums, t2, 80);
  v128.store(sums, s3, 96);
  v128.store(sums, t3, 112);
  v128.store(next, s4);
  v128.store(next, t4, 16);
  v128.store(next, s5, 32);
  v128.store(next, t5, 48);
  v128.store(next, s6, 64);
  v128.store(next, t6, 80);
  v128.store(next, s7, 96);
  v128.store(next, t7, 112);
}

/** The same for two rows of x against four of w. */
// @ts-ignore: decorator
@inline
function twoByFourOf(
  x0: usize,
  x1: usize,
  w0: usize,
  w1: usize,
  w2: usize,
  w3: usize,
  n: i32,
  sums: usize,
  step: usize,
  dtype: i32,
): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const mask = maskNumber();
  const power = powerNumber();
  const sums1 = sums + step;
  const sums2 = sums1 + step;
  const sums3 = sums2 + step;
  let s0 = v128.load(sums);
  let t0 = v128.load(sums, 16);
  let s1 = v128.load(sums, 32);
  let t1 = v128.load(sums, 48);
  let s2 = v128.load(sums1);
  let t2 = v128.load(sums1, 16);
  let s3 = v128.load(sums1, 32);
  let t3 = v128.load(sums1, 48);
  let s4 = v128.load(sums2);
  let t4 = v128.load(sums2, 16);
  let s5 = v128.load(sums2, 32);
  let t5 = v128.load(sums2, 48);
  let s6 = v128.load(sums3);
  let t6 = v128.load(sums3, 16);
  let s7 = v128.load(sums3, 32);
  let t7 = v128.load(sums3, 48);
  for (; n > 0; n -= 8) {
    const a0 = v128.load(x0);
    const b0 = v128.load(x0, 16);
    const a1 = v128.load(x1);
    const b1 = v128.load(x1, 16);
    const low0 = weights4(w0, dtype, mask, power);
    const high0 = next4(w0, dtype, mask, power);
    s0 = madd(a0, low0, s0);
    t0 = madd(b0, high0, t0);
    s1 = madd(a1, low0, s1);
    t1 = madd(b1, high0, t1);
    const low1 = weights4(w1, dtype, mask, power);
    const high1 = next4(w1, dtype, mask, power);
    s2 = madd(a0, low1, s2);
    t2 = madd(b0, high1, t2);
    s3 = madd(a1, low1, s3);
    t3 = madd(b1, high1, t3);
    const low2 = weights4(w2, dtype, mask, power);
    const high2 = next4(w2, dtype, mask, power);
    s4 = madd(a0, low2, s4);
    t4 = madd(b0, high2, t4);
    s5 = madd(a1, low2, s5);
    t5 = madd(b1, high2, t5);
    const low3 = weights4(w3, dtype, mask, power);
    const high3 = next4(w3, dtype, mask, power);
    s6 = madd(a0, low3, s6);
    t6 = madd(b0, high3, t6);
    s7 = madd(a1, low3, s7);
    t7 = madd(b1, high3, t7);
    w0 += 8 * size;
    w1 += 8 * size;
    w2 += 8 * size;
    w3 += 8 * size;
    x0 += 32;
    x1 += 32;
  }
  v128.store(sums, s0);
  v128.store(sums, t0, 16);
  v128.store(sums, s1, 32);
  v128.store(sums, t1, 48);
  v128.store(sums1, s2);
  v128.store(sums1, t2, 16);
  v128.store(sums1, s3, 32);
  v128.store(sums1, t3, 48);
  v128.store(sums2, s4);
  v128.store(sums2, t4, 16);
  v128.store(sums2, s5, 32);
  v128.store(sums2, t5, 48);
  v128.store(sums3, s6);
  v128.store(sums3, t6, 16);
  v128.store(sums3, s7, 32);
  v128.store(sums3, t7, 48);
}

// Out of line, one for each dtype: what joins vectors works function by function.

export function fourByTwoF32(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w0: usize,
  w1: usize,
  n: i32,
  sums: usize,
  step: usize,
): void {
  fourByTwoOf(x0, x1, x2, x3, w0, w1, n, sums, step, 0);
}

export function fourByTwoBf16(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w0: usize,
  w1: usize,
  n: i32,
  sums: usize,
  step: usize,
): void {
  fourByTwoOf(x0, x1, x2, x3, w0, w1, n, sums, step, 1);
}

export function fourByTwoF16(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w0: usize,
  w1: usize,
  n: i32,
  sums: usize,
  step: usize,
): void {
  fourByTwoOf(x0, x1, x2, x3, w0, w1, n, sums, step, 2);
}

export function twoByFourF32(
  x0: usize,
  x1: usize,
  w0: usize,
  w1: usize,
  w2: usize,
  w3: usize,
  n: i32,
  sums: usize,
  step: usize,
): void {
  twoByFourOf(x0, x1, w0, w1, w2, w3, n, sums, step, 0);
}

export function twoByFourBf16(
  x0: usize,
  x1: usize,
  w0: usize,
  w1: usize,
  w2: usize,
  w3: usize,
  n: i32,
  sums: usize,
  step: usize,
): void {
  twoByFourOf(x0, x1, w0, w1, w2, w3, n, sums, step, 1);
}

export function twoByFourF16(
  x0: usize,
  x1: usize,
  w0: usize,
  w1: usize,
  w2: usize,
  w3: usize,
  n: i32,
  sums: usize,
  step: usize,
): void {
  twoByFourOf(x0, x1, w0, w1, w2, w3, n, sums, step, 2);
}
