/**
 * Copies of matrix blocks in the order in which the tiles read them.
 *
 * b (k x n) is cut into panels of `width` columns (8 or 16), each panel k x width contiguous and filled up with
 * zeros; a (m x k) if its rows are not contiguous into panels of 6 rows, each k x 6. Narrow floats are decoded
 * on the way. Strides are in elements.
 */
import { loadBf16, loadBf16x4, loadF16, loadF16x4 } from "./math";

/** Rows of a tile. */
export const TILE_ROWS: i32 = 6;

// @ts-ignore: decorator
@inline
function load4(at: usize, dtype: i32): v128 {
  if (dtype == 1) return loadBf16x4(at);
  if (dtype == 2) return loadF16x4(at);
  return v128.load(at);
}

// @ts-ignore: decorator
@inline
function load1(at: usize, dtype: i32): f32 {
  if (dtype == 1) return loadBf16(at);
  if (dtype == 2) return loadF16(at);
  return load<f32>(at);
}

/** Writes four vectors of four consecutive k of one column each as four rows of four columns. */
// @ts-ignore: decorator
@inline
export function storeTransposed(to: usize, step: usize, r0: v128, r1: v128, r2: v128, r3: v128): void {
  const t0 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
  const t2 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
  const t3 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(t0, t2, 0, 2));
  v128.store(to + step, v128.shuffle<i64>(t0, t2, 1, 3));
  v128.store(to + step * 2, v128.shuffle<i64>(t1, t3, 0, 2));
  v128.store(to + step * 3, v128.shuffle<i64>(t1, t3, 1, 3));
}

/** Four columns, each contiguous along k (`column` bytes apart), to a panel whose rows are `step` bytes. */
// @ts-ignore: decorator
@inline
function packColumns4(b: usize, column: usize, k: i32, dtype: i32, to: usize, step: usize): void {
  const shift: usize = dtype == 0 ? 2 : 1;
  let p = 0;
  for (; p + 4 <= k; p += 4) {
    const at = b + ((<usize>p) << shift);
    storeTransposed(
      to + <usize>p * step,
      step,
      load4(at, dtype),
      load4(at + column, dtype),
      load4(at + column * 2, dtype),
      load4(at + column * 3, dtype),
    );
  }
  for (; p < k; p++) {
    const at = b + ((<usize>p) << shift);
    const row = to + <usize>p * step;
    store<f32>(row, load1(at, dtype));
    store<f32>(row, load1(at + column, dtype), 4);
    store<f32>(row, load1(at + column * 2, dtype), 8);
    store<f32>(row, load1(at + column * 3, dtype), 12);
  }
}

/** `n` <= width columns by any strides, the slow way, with zeros up to `width`. */
function packEdge(
  b: usize,
  row: usize,
  column: usize,
  k: i32,
  n: i32,
  width: i32,
  dtype: i32,
  to: usize,
): void {
  for (let p = 0; p < k; p++) {
    const from = b + <usize>p * row;
    for (let j = 0; j < width; j++) {
      store<f32>(to + ((<usize>j) << 2), j < n ? load1(from + <usize>j * column, dtype) : <f32>0);
    }
    to += (<usize>width) << 2;
  }
}

// @ts-ignore: decorator
@inline
function packRows(b: usize, row: usize, k: i32, width: i32, dtype: i32, to: usize): void {
  const half: usize = dtype == 0 ? 16 : 8;
  for (let p = 0; p < k; p++) {
    v128.store(to, load4(b, dtype));
    v128.store(to, load4(b + half, dtype), 16);
    if (width == 16) {
      v128.store(to, load4(b + half * 2, dtype), 32);
      v128.store(to, load4(b + half * 3, dtype), 48);
      to += 64;
    } else to += 32;
    b += row;
  }
}

/** Packs `k` x `n` of b into panels at `to`; b(p, j) lies at b + p rowStride + j columnStride. */
export function packB(
  b: usize,
  rowStride: i32,
  columnStride: i32,
  k: i32,
  n: i32,
  width: i32,
  dtype: i32,
  to: usize,
): void {
  const shift: usize = dtype == 0 ? 2 : 1;
  const row = (<usize>rowStride) << shift;
  const column = (<usize>columnStride) << shift;
  const step = (<usize>width) << 2;
  for (let j = 0; j < n; j += width) {
    const at = b + <usize>j * column;
    if (j + width > n || (rowStride != 1 && columnStride != 1)) {
      packEdge(at, row, column, k, min(width, n - j), width, dtype, to);
    } else if (columnStride == 1) {
      if (dtype == 0) packRows(at, row, k, width, 0, to);
      else if (dtype == 1) packRows(at, row, k, width, 1, to);
      else packRows(at, row, k, width, 2, to);
    } else {
      for (let q = 0; q < width; q += 4) {
        const from = at + <usize>q * column;
        const there = to + ((<usize>q) << 2);
        if (dtype == 0) packColumns4(from, column, k, 0, there, step);
        else if (dtype == 1) packColumns4(from, column, k, 1, there, step);
        else packColumns4(from, column, k, 2, there, step);
      }
    }
    to += <usize>k * step;
  }
}

/** Packs `m` x `k` of an f32 a whose columns are contiguous: a(i, p) lies at a + i + p stride. */
export function packA(a: usize, stride: i32, m: i32, k: i32, to: usize): void {
  const row = (<usize>stride) << 2;
  const panel = <usize>k * 24;
  const whole = m - (m % TILE_ROWS);
  // Eight rows at a time, so that their lines are still near when the next panel wants the rest of them.
  for (let begin = 0; begin < k; begin += 8) {
    const end = min(k, begin + 8);
    const from = a + <usize>begin * row;
    let there = to + <usize>begin * 24;
    for (let i = 0; i < whole; i += TILE_ROWS) {
      let at = from + ((<usize>i) << 2);
      let put = there;
      for (let p = begin; p < end; p++) {
        v128.store(put, v128.load(at));
        store<i64>(put, load<i64>(at, 16), 16);
        at += row;
        put += 24;
      }
      there += panel;
    }
    if (whole < m) {
      let at = from + ((<usize>whole) << 2);
      let put = there;
      for (let p = begin; p < end; p++) {
        for (let i = 0; i < TILE_ROWS; i++) {
          store<f32>(put + ((<usize>i) << 2), whole + i < m ? load<f32>(at + ((<usize>i) << 2)) : <f32>0);
        }
        at += row;
        put += 24;
      }
    }
  }
}
