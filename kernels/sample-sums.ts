/**
 * Sums over the rows of each sample, `[batch, rows, n]` to `[batch, n]`: in blocks of rows, whose sums meet in their order.
 * What norms over samples and their gradients share.
 */
import { madd } from "./math";
import { nextUnit } from "./runtime";

/** Columns of a unit of the second phase. */
const SLICE: i32 = 64;

/** to[n] = the sum of `blocks` rows of `partial`, from column `begin` to `end`; added to what is there if `accumulate`. */
function sumColumns(
  partial: usize,
  to: usize,
  blocks: i32,
  n: i32,
  begin: i32,
  end: i32,
  accumulate: i32,
): void {
  const mask = i32x4.splat(-accumulate);
  const step = (<usize>n) << 2;
  let i = begin;
  for (; i + 4 <= end; i += 4) {
    const at = (<usize>i) << 2;
    let sum = v128.and(v128.load(to + at), mask);
    for (let k = 0; k < blocks; k++) sum = f32x4.add(sum, v128.load(partial + <usize>k * step + at));
    v128.store(to + at, sum);
  }
  for (; i < end; i++) {
    const at = (<usize>i) << 2;
    let sum = v128.and(v128.load32_zero(to + at), mask);
    for (let k = 0; k < blocks; k++) sum = f32x4.add(sum, v128.load32_zero(partial + <usize>k * step + at));
    v128.store32_lane(to + at, sum, 0);
  }
}

/** Second phase: sums[batch][n] (+)= the sums of partial[batch][blocks][n]. */
export function sumSamples(
  partial: usize,
  sums: usize,
  batch: i32,
  blocks: i32,
  n: i32,
  accumulate: i32,
  counter: i32,
): void {
  const slices = (n + SLICE - 1) / SLICE;
  for (let u = nextUnit(counter); u < batch * slices; u = nextUnit(counter)) {
    const sample = u / slices;
    const begin = (u % slices) * SLICE;
    const from = partial + ((<usize>sample * <usize>blocks * <usize>n) << 2);
    const to = sums + ((<usize>sample * <usize>n) << 2);
    sumColumns(from, to, blocks, n, begin, min(n, begin + SLICE), accumulate);
  }
}

/** y[c] (+)= sum over the samples of sums[sample][c] for the columns of slice `u`; a sample has `stride` columns. */
export function sumOverSamples(
  sums: usize,
  y: usize,
  batch: i32,
  stride: i32,
  n: i32,
  u: i32,
  accumulate: i32,
): void {
  const begin = u * SLICE;
  const step = (<usize>stride) << 2;
  for (let i = begin; i < min(n, begin + SLICE); i++) {
    const at = (<usize>i) << 2;
    let sum: f32 = accumulate ? load<f32>(y + at) : 0;
    for (let b = 0; b < batch; b++) sum += load<f32>(sums + <usize>b * step + at);
    store<f32>(y + at, sum);
  }
}

/** Units of `sumOverSamples`. */
export function slicesOf(n: i32): i32 {
  return (n + SLICE - 1) / SLICE;
}

/** first[n] += d, second[n] += d x over one row. */
export function addProducts(d: usize, x: usize, first: usize, second: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const value = v128.load(d + at);
    v128.store(first + at, f32x4.add(v128.load(first + at), value));
    v128.store(second + at, madd(value, v128.load(x + at), v128.load(second + at)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const value = load<f32>(d + at);
    store<f32>(first + at, load<f32>(first + at) + value);
    store<f32>(second + at, load<f32>(second + at) + value * load<f32>(x + at));
  }
}
