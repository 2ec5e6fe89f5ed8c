/**
 * Rows of quantized activations times groups of quantized weight rows: which inner loop takes which rows, and where
 * results go. The same bits for a row whatever rows come with it.
 */
import { groupSize, sums } from "./quantized-lanes";
import { pair4, row4, two4 } from "./quantized-q4";
import { pair8, row8, two8 } from "./quantized-q8";

// @ts-ignore: decorator
@inline
function put(from: usize, to: usize, n: i32): void {
  if (n >= 16) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(to, v128.load(from, 32), 32);
    v128.store(to, v128.load(from, 48), 48);
    return;
  }
  memory.copy(to, from, <usize>n << 2);
}

// @ts-ignore: decorator
@inline
function rowAt(x: usize, bytes: usize, index: usize, i: i32): usize {
  const at = <usize>i;
  return x + (index != 0 ? <usize>load<i32>(index + (at << 2)) : at) * bytes;
}

/**
 * y[i][j] = x[i] w[j] for `m` rows of quantized activations and `n` weight rows from `w` on, which begins a group.
 * Row i is the i-th from `x`, or where there is an `index` the one that its i-th number names. Results are `step`
 * bytes apart. Two groups of weights at a time pass all rows, so they are read from memory once.
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
  for (let j = 0; j < n; j += 16) {
    const columns = min(16, n - j);
    const next = w + groupBytes;
    let to = y + (<usize>j << 2);
    let i = 0;
    for (; i + 2 <= m; i += 2) {
      const x0 = rowAt(x, rowBytes, index, i);
      const x1 = rowAt(x, rowBytes, index, i + 1);
      if (i == 0 || columns <= 8) {
        // The weights come from memory: one stream, which processors fetch ahead. Later rows find them in the cache.
        if (format == 0) two4(x0, x1, w, blocks, results);
        else two8(x0, x1, w, blocks, results);
        if (columns > 8) {
          if (format == 0) two4(x0, x1, next, blocks, results + 32);
          else two8(x0, x1, next, blocks, results + 32);
        }
      } else if (format == 0) {
        pair4(x0, x1, w, next, blocks, results);
      } else {
        pair8(x0, x1, w, next, blocks, results);
      }
      put(results, to, columns);
      put(results + 64, to + step, columns);
      to += step * 2;
    }
    if (i < m) {
      const x0 = rowAt(x, rowBytes, index, i);
      if (format == 0) {
        row4(x0, w, blocks, results);
        if (columns > 8) row4(x0, next, blocks, results + 32);
      } else {
        row8(x0, w, blocks, results);
        if (columns > 8) row8(x0, next, blocks, results + 32);
      }
      put(results, to, columns);
    }
    w += groupBytes * 2;
  }
}
