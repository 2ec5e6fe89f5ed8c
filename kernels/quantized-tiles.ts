/**
 * Rows of quantized activations times groups of quantized weight rows: which inner loop takes which rows, in which
 * order weights are read, and where results go. The same bits for a row whatever rows come with it.
 */
import { groupSize, pairSums, sums } from "./quantized-lanes";
import { quad4, row4, two4 } from "./quantized-q4";
import { quad4Pairs, row4Pairs, two4Pairs } from "./quantized-q4-pairs";
import { quad8, row8, two8 } from "./quantized-q8";

/** Bytes between two rows of results of an inner loop. */
const RESULT_ROW: usize = 64;

/** Copies the results of one row, 8 or 16 of which `n` count. */
// @ts-ignore: decorator
@inline
function put(from: usize, to: usize, n: i32, width: i32): void {
  if (n < width) {
    memory.copy(to, from, (<usize>n) << 2);
    return;
  }
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
  if (width == 8) return;
  v128.store(to, v128.load(from, 32), 32);
  v128.store(to, v128.load(from, 48), 48);
}

// @ts-ignore: decorator
@inline
function rowAt(x: usize, bytes: usize, index: usize, i: i32): usize {
  const at = <usize>i;
  return x + (index != 0 ? <usize>load<i32>(index + (at << 2)) : at) * bytes;
}

// @ts-ignore: decorator
@inline
function one(format: i32, x: usize, w: usize, blocks: i32, to: usize): void {
  if (format != 0) row8(x, w, blocks, to);
  else if (pairSums()) row4Pairs(x, w, blocks, to);
  else row4(x, w, blocks, to);
}

// @ts-ignore: decorator
@inline
function two(format: i32, x0: usize, x1: usize, w: usize, blocks: i32, to: usize): void {
  if (format != 0) two8(x0, x1, w, blocks, to);
  else if (pairSums()) two4Pairs(x0, x1, w, blocks, to);
  else two4(x0, x1, w, blocks, to);
}

/** Two rows of activations against `n` weight rows from `w` on. */
function streamTwo(format: i32, x0: usize, x1: usize, w: usize, n: i32, k: i32, y: usize, step: usize): void {
  const blocks = (k + 31) >> 5;
  const groupBytes = groupSize(format, k);
  const results = sums();
  for (let j = 0; j < n; j += 8) {
    two(format, x0, x1, w, blocks, results);
    put(results, y, n - j, 8);
    put(results + RESULT_ROW, y + step, n - j, 8);
    w += groupBytes;
    y += 32;
  }
}

/**
 * y[i][j] = x[i] w[j] for `m` rows of quantized activations and `n` weight rows from `w` on, which begins a group.
 * Row i is the i-th from `x`, or if there is an `index` the one that its i-th number names. Results are `step`
 * bytes apart.
 *
 * The first two rows pass all weights in one long stream, as fast as memory delivers: processors fetch ahead in a
 * stream and begin anew after every interruption. Other rows find the weights in the second-level cache: two groups
 * of weights at a time pass them all.
 */
export function multiplyTiles(
  format: i32,
  x: usize,
  index: usize,
  m: i32,
  w: usize,
  n: i32,
  k: i32,
  y: usize,
  step: usize,
): void {
  const blocks = (k + 31) >> 5;
  const rowBytes = <usize>blocks * (format == 0 ? 40 : 68);
  const groupBytes = groupSize(format, k);
  const results = sums();
  let first = 0;
  if (m >= 2) {
    streamTwo(format, rowAt(x, rowBytes, index, 0), rowAt(x, rowBytes, index, 1), w, n, k, y, step);
    if (m == 2) return;
    first = 2;
    y += step * 2;
  }
  for (let j = 0; j < n; j += 16) {
    const columns = min(16, n - j);
    const next = w + groupBytes;
    let to = y + ((<usize>j) << 2);
    let i = first;
    if (columns > 8) {
      for (; i + 4 <= m; i += 4) {
        const x0 = rowAt(x, rowBytes, index, i);
        const x1 = rowAt(x, rowBytes, index, i + 1);
        const x2 = rowAt(x, rowBytes, index, i + 2);
        const x3 = rowAt(x, rowBytes, index, i + 3);
        if (format != 0) quad8(x0, x1, x2, x3, w, next, blocks, results);
        else if (pairSums()) quad4Pairs(x0, x1, x2, x3, w, next, blocks, results);
        else quad4(x0, x1, x2, x3, w, next, blocks, results);
        for (let r: usize = 0; r < 4; r++) {
          put(results + r * RESULT_ROW, to, columns, 16);
          to += step;
        }
      }
    }
    for (; i + 2 <= m; i += 2) {
      const x0 = rowAt(x, rowBytes, index, i);
      const x1 = rowAt(x, rowBytes, index, i + 1);
      two(format, x0, x1, w, blocks, results);
      if (columns > 8) two(format, x0, x1, next, blocks, results + 32);
      put(results, to, columns, 16);
      put(results + RESULT_ROW, to + step, columns, 16);
      to += step * 2;
    }
    if (i < m) {
      const x0 = rowAt(x, rowBytes, index, i);
      one(format, x0, w, blocks, results);
      if (columns > 8) one(format, x0, next, blocks, results + 32);
      put(results, to, columns, 16);
    }
    w += groupBytes * 2;
  }
}
