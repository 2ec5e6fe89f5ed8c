/**
 * Sums of columns in blocks of rows, which meet in a second phase in the order of the blocks: gradients of biases and of
 * the affine parts of norms.
 */
import { madd } from "./math";
import { barrier, nextUnit } from "./runtime";

/** Columns of a unit of the second phase. */
const SLICE: i32 = 64;

/** y[n] (+)= the sum of `blocks` rows of `partial`. */
export function sumBlocks(
  partial: usize,
  y: usize,
  blocks: i32,
  n: i32,
  accumulate: i32,
  counter: i32,
): void {
  const slices = (n + SLICE - 1) / SLICE;
  for (let u = nextUnit(counter); u < slices; u = nextUnit(counter)) {
    const end = min(n, (u + 1) * SLICE);
    let i = u * SLICE;
    for (; i + 4 <= end; i += 4) {
      const at = (<usize>i) << 2;
      let sum = accumulate ? v128.load(y + at) : f32x4.splat(0);
      for (let b = 0; b < blocks; b++) {
        sum = f32x4.add(sum, v128.load(partial + ((<usize>b * <usize>n) << 2) + at));
      }
      v128.store(y + at, sum);
    }
    for (; i < end; i++) {
      const at = (<usize>i) << 2;
      let sum: f32 = accumulate ? load<f32>(y + at) : 0;
      for (let b = 0; b < blocks; b++) sum += load<f32>(partial + ((<usize>b * <usize>n) << 2) + at);
      store<f32>(y + at, sum);
    }
  }
}

/** sums[n] += x[n], or x w. */
// @ts-ignore: decorator
@inline
function addRow(x: usize, w: usize, sums: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const value = v128.load(x + at);
    const sum = v128.load(sums + at);
    v128.store(sums + at, w != 0 ? madd(value, v128.load(w + at), sum) : f32x4.add(value, sum));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const value = load<f32>(x + at);
    store<f32>(sums + at, load<f32>(sums + at) + (w != 0 ? value * load<f32>(w + at) : value));
  }
}

/**
 * y (+)= sums of the columns of x, or of x w. Arguments: x, w (the shape of x, or absent), y, partial (f32 [blocks, n]);
 * rows, n, blockRows, accumulate.
 */
export function column_sums(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const partial = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const blockRows = load<i32>(a, 24);
  const accumulate = load<i32>(a, 28);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  for (let u = nextUnit(0); u < blocks; u = nextUnit(0)) {
    const end = min(rows, (u + 1) * blockRows);
    const sums = partial + <usize>u * step;
    memory.fill(sums, 0, step);
    for (let r = u * blockRows; r < end; r++) {
      const row = <usize>r * step;
      if (w != 0) addRow(x + row, w + row, sums, n);
      else addRow(x + row, 0, sums, n);
    }
  }
  barrier();
  sumBlocks(partial, y, blocks, n, accumulate, 1);
}
