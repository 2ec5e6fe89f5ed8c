/** Sums over whole tensors in double precision, block by block in a fixed order, and scalars spread over tensors. */
import { nextUnit } from "./runtime";

/** Elements of a block: its sum is one partial, kept as the sum of two f32. */
const BLOCK: i32 = 16384;
const UNIT: i32 = 16384;

// @ts-ignore: decorator
@inline
function term(x: v128, squared: bool): v128 {
  const wide = f64x2.promote_low_f32x4(x);
  return squared ? f64x2.mul(wide, wide) : wide;
}

// @ts-ignore: decorator
@inline
function high(x: v128): v128 {
  return v128.shuffle<i64>(x, x, 1, 0);
}

// @ts-ignore: decorator
@inline
function partials(a: usize, squared: bool): void {
  const x = load<usize>(a);
  const partial = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const first = load<i32>(a, 12);
  const count = (n + BLOCK - 1) / BLOCK;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * BLOCK);
    let i = u * BLOCK;
    let s0 = f64x2.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (; i + 8 <= end; i += 8) {
      const p = v128.load(x + ((<usize>i) << 2));
      const q = v128.load(x + ((<usize>i) << 2), 16);
      s0 = f64x2.add(s0, term(p, squared));
      s1 = f64x2.add(s1, term(high(p), squared));
      s2 = f64x2.add(s2, term(q, squared));
      s3 = f64x2.add(s3, term(high(q), squared));
    }
    const four = f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3));
    let sum = f64x2.extract_lane(four, 0) + f64x2.extract_lane(four, 1);
    for (; i < end; i++) {
      const value = <f64>load<f32>(x + ((<usize>i) << 2));
      sum += squared ? value * value : value;
    }
    const to = partial + ((<usize>(first + u)) << 3);
    const rounded = <f32>sum;
    store<f32>(to, rounded);
    // Where the sum is past f32 there is no rest (inf - inf would be NaN).
    const rest = <f32>(sum - <f64>rounded);
    store<f32>(to, abs<f32>(rounded) == f32.reinterpret_i32(0x7f800000) ? 0 : rest, 4);
  }
}

/** Partial sums of x, from block `first` of partial. Arguments: x, partial; n, first. */
export function sum_partials(a: usize): void {
  partials(a, false);
}

/** Partial sums of squares of x. Arguments: x, partial; n, first. */
export function square_partials(a: usize): void {
  partials(a, true);
}

/** y = alpha sum of the partials in order. Arguments: partial, y; blocks; alpha. */
export function sum_blocks(a: usize): void {
  if (nextUnit() != 0) return;
  const partial = load<usize>(a);
  const blocks = load<i32>(a, 8);
  let sum: f64 = 0;
  for (let b = 0; b < blocks; b++) {
    const at = partial + ((<usize>b) << 3);
    sum += <f64>load<f32>(at) + <f64>load<f32>(at, 4);
  }
  store<f32>(load<usize>(a, 4), <f32>(sum * <f64>load<f32>(a, 12)));
}

/** y (+)= alpha x[0] for every element of y. Arguments: x, y; n, accumulate; alpha. */
export function spread(a: usize): void {
  const value = load<f32>(load<usize>(a)) * load<f32>(a, 16);
  const y = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const accumulate = load<i32>(a, 12);
  const wide = f32x4.splat(value);
  const mask = i32x4.splat(-accumulate);
  const count = (n + UNIT - 1) / UNIT;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) {
      const at = y + ((<usize>i) << 2);
      v128.store(at, f32x4.add(wide, v128.and(v128.load(at), mask)));
    }
    for (; i < end; i++) {
      const at = y + ((<usize>i) << 2);
      store<f32>(at, accumulate ? load<f32>(at) + value : value);
    }
  }
}
