/** Means of squared and absolute differences, cosines of rows, and moving averages of weights. */
import { hsum, madd } from "./math";
import { barrier, nextUnit } from "./runtime";
import { unitsOf } from "./units";

/** Elements of a partial sum; src/tensor/ops/mean-error.ts has the same number. */
const BLOCK: i32 = 16384;

/** Sum of squared or absolute differences over n elements, in double precision. */
// @ts-ignore: decorator
@inline
function differences(x: usize, t: usize, n: i32, squared: bool): f64 {
  let s0 = f64x2.splat(0);
  let s1 = s0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    let d = f32x4.sub(v128.load(x + at), v128.load(t + at));
    if (!squared) d = f32x4.abs(d);
    const p = f64x2.promote_low_f32x4(d);
    const q = f64x2.promote_low_f32x4(v128.shuffle<i64>(d, d, 1, 0));
    s0 = f64x2.add(s0, squared ? f64x2.mul(p, p) : p);
    s1 = f64x2.add(s1, squared ? f64x2.mul(q, q) : q);
  }
  const both = f64x2.add(s0, s1);
  let sum = f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1);
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const d = <f64>(load<f32>(x + at) - load<f32>(t + at));
    sum += squared ? d * d : abs<f64>(d);
  }
  return sum;
}

/**
 * y[rows] = the mean of squared or absolute differences of each row. Arguments: x, t [rows, n], y, partial [rows, blocks, 2];
 * rows, n, squared.
 */
export function mean_errors(a: usize): void {
  const x = load<usize>(a);
  const t = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const partial = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const squared = load<i32>(a, 24) != 0;
  const blocks = unitsOf(n, BLOCK);
  for (let u = nextUnit(0); u < rows * blocks; u = nextUnit(0)) {
    const begin = (u % blocks) * BLOCK;
    const at = (<usize>(u / blocks) * <usize>n + <usize>begin) << 2;
    const width = min(BLOCK, n - begin);
    const sum = squared
      ? differences(x + at, t + at, width, true)
      : differences(x + at, t + at, width, false);
    store<f64>(partial + ((<usize>u) << 3), sum);
  }
  barrier();
  for (let u = nextUnit(1); u < unitsOf(rows, 256); u = nextUnit(1)) {
    for (let r = u * 256; r < min(rows, (u + 1) * 256); r++) {
      let sum: f64 = 0;
      for (let k = 0; k < blocks; k++)
        sum += load<f64>(partial + ((<usize>r * <usize>blocks + <usize>k) << 3));
      store<f32>(y + ((<usize>r) << 2), <f32>(sum / <f64>n));
    }
  }
}

/** -1, 0 or 1. */
// @ts-ignore: decorator
@inline
function sign4(x: v128): v128 {
  const one = f32x4.splat(1);
  const zero = f32x4.splat(0);
  return f32x4.sub(v128.and(f32x4.gt(x, zero), one), v128.and(f32x4.lt(x, zero), one));
}

/**
 * d (+)= factor dy[row] times the difference x - t, or its sign. Arguments: x, t [rows, n], dy [rows], d; rows, n, squared,
 * accumulate; factor.
 */
export function mean_errors_grad(a: usize): void {
  const x = load<usize>(a);
  const t = load<usize>(a, 4);
  const dy = load<usize>(a, 8);
  const d = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const squared = load<i32>(a, 24) != 0;
  const mask = i32x4.splat(-load<i32>(a, 28));
  const factor = load<f32>(a, 32);
  const blocks = unitsOf(n, BLOCK);
  for (let u = nextUnit(); u < rows * blocks; u = nextUnit()) {
    const row = u / blocks;
    const slope = f32x4.splat(factor * load<f32>(dy + ((<usize>row) << 2)));
    const begin = (u % blocks) * BLOCK;
    const first = (<usize>row * <usize>n + <usize>begin) << 2;
    const width = min(BLOCK, n - begin);
    let i = 0;
    for (; i + 4 <= width; i += 4) {
      const at = first + ((<usize>i) << 2);
      const e = f32x4.sub(v128.load(x + at), v128.load(t + at));
      const old = v128.and(v128.load(d + at), mask);
      v128.store(d + at, madd(squared ? e : sign4(e), slope, old));
    }
    for (; i < width; i++) {
      const at = first + ((<usize>i) << 2);
      const e = f32x4.sub(v128.load32_zero(x + at), v128.load32_zero(t + at));
      const old = v128.and(v128.load32_zero(d + at), mask);
      v128.store32_lane(d + at, madd(squared ? e : sign4(e), slope, old), 0);
    }
  }
}

/** Product of two rows. */
function dot(x: usize, t: usize, n: i32): f32 {
  let s = f32x4.splat(0);
  let r = s;
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    s = madd(v128.load(x + at), v128.load(t + at), s);
    r = madd(v128.load(x + at, 16), v128.load(t + at, 16), r);
  }
  let sum = hsum(f32x4.add(s, r));
  for (; i < n; i++) sum += load<f32>(x + ((<usize>i) << 2)) * load<f32>(t + ((<usize>i) << 2));
  return sum;
}

/** y[rows] = x t / max(|x| |t|, epsilon). Arguments: x, t [rows, n], y; rows, n; epsilon. */
export function cosines(a: usize): void {
  const x = load<usize>(a);
  const t = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const n = load<i32>(a, 16);
  const epsilon = load<f32>(a, 20);
  const perUnit = max(1, BLOCK / max(1, n));
  for (let u = nextUnit(); u < unitsOf(rows, perUnit); u = nextUnit()) {
    for (let r = u * perUnit; r < min(rows, (u + 1) * perUnit); r++) {
      const at = (<usize>r * <usize>n) << 2;
      const lengths = sqrt<f32>(dot(x + at, x + at, n)) * sqrt<f32>(dot(t + at, t + at, n));
      store<f32>(y + ((<usize>r) << 2), dot(x + at, t + at, n) / max<f32>(lengths, epsilon));
    }
  }
}

/** d (+)= own x + other t. */
function combine(x: usize, t: usize, d: usize, n: i32, own: f32, other: f32, accumulate: i32): void {
  const mask = i32x4.splat(-accumulate);
  const p = f32x4.splat(own);
  const q = f32x4.splat(other);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load(d + at), mask);
    v128.store(d + at, madd(v128.load(x + at), p, madd(v128.load(t + at), q, old)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load32_zero(d + at), mask);
    v128.store32_lane(d + at, madd(v128.load32_zero(x + at), p, madd(v128.load32_zero(t + at), q, old)), 0);
  }
}

/** d (+)= the gradient of cosines for x. Arguments: x, t [rows, n], dy [rows], d; rows, n, accumulate; epsilon. */
export function cosines_grad(a: usize): void {
  const x = load<usize>(a);
  const t = load<usize>(a, 4);
  const dy = load<usize>(a, 8);
  const d = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const accumulate = load<i32>(a, 24);
  const epsilon = load<f32>(a, 28);
  const perUnit = max(1, BLOCK / max(1, n));
  for (let u = nextUnit(); u < unitsOf(rows, perUnit); u = nextUnit()) {
    for (let r = u * perUnit; r < min(rows, (u + 1) * perUnit); r++) {
      const at = (<usize>r * <usize>n) << 2;
      const slope = load<f32>(dy + ((<usize>r) << 2));
      const squared = dot(x + at, x + at, n);
      const lengths = sqrt<f32>(squared) * sqrt<f32>(dot(t + at, t + at, n));
      const other = slope / max<f32>(lengths, epsilon);
      // Shorter than epsilon, the denominator is constant.
      const own: f32 = lengths > epsilon ? (-other * dot(x + at, t + at, n)) / squared : 0;
      combine(x + at, t + at, d + at, n, own, other, accumulate);
    }
  }
}

/** average += rest (w - average). Arguments: average, w; n; rest. */
export function moving_average(a: usize): void {
  const average = load<usize>(a);
  const w = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const rest = f32x4.splat(load<f32>(a, 12));
  for (let u = nextUnit(); u < unitsOf(n, BLOCK); u = nextUnit()) {
    const end = min(n, (u + 1) * BLOCK);
    let i = u * BLOCK;
    for (; i + 4 <= end; i += 4) {
      const at = (<usize>i) << 2;
      const old = v128.load(average + at);
      v128.store(average + at, madd(f32x4.sub(v128.load(w + at), old), rest, old));
    }
    for (; i < end; i++) {
      const at = (<usize>i) << 2;
      const old = v128.load32_zero(average + at);
      v128.store32_lane(average + at, madd(f32x4.sub(v128.load32_zero(w + at), old), rest, old), 0);
    }
  }
}
