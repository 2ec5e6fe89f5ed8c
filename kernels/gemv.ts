/**
 * Products of a few rows (at most 8) with a weight matrix whose rows are contiguous: y[m][n] (+)= x[m][k] w[n][k].
 * Every weight is read once from memory and widened for two or four rows of x; sums run in eight lanes and meet at the
 * end, in an order that does not depend on m: a row has the same bits alone or batched with others.
 */
import { applyEpilogue } from "./epilogue";
import {
  fourByTwoBf16,
  fourByTwoF16,
  fourByTwoF32,
  maskNumber,
  next4,
  powerNumber,
  twoByFourBf16,
  twoByFourF16,
  twoByFourF32,
  weight,
  weights4,
  writeConstants,
} from "./gemv-tiles";
import { hsum, madd } from "./math";
import { nextUnit, scratch } from "./runtime";

/** Most rows of x. */
export const SKINNY_ROWS: i32 = 8;
/** Weights of a unit. */
const UNIT_WEIGHTS: i32 = 32768;
/** Rows of w whose sums, [8 rows of x][8 lanes] each, wait in scratch memory while blocks of k pass. */
const WAITING: i32 = 8;
/** Elements of k in a block, a multiple of eight: four rows of x stay in the nearest cache. */
const DEPTH: i32 = 1024;
/** x[p..k) w[p..k), what the vectors leave over. */
// @ts-ignore: decorator
@inline
function rest(x: usize, w: usize, p: i32, k: i32, dtype: i32): f32 {
  let sum: f32 = 0;
  const size: usize = dtype == 0 ? 4 : 2;
  for (; p < k; p++) sum += load<f32>(x + ((<usize>p) << 2)) * weight(w + <usize>p * size, dtype);
  return sum;
}

// @ts-ignore: decorator
@inline
function put(y: usize, value: f32, add: i32): void {
  store<f32>(y, add ? load<f32>(y) + value : value);
}

/** The sum of the eight lanes that lie at `at`. */
// @ts-ignore: decorator
@inline
function sum8(at: usize): f32 {
  return hsum(f32x4.add(v128.load(at), v128.load(at, 16)));
}

// The sums leave through memory, pair beside pair: engines that join vectors start from neighboring stores.

/** One row of x against four rows of w, `row` bytes apart, of which the first `n` are stored. */
// @ts-ignore: decorator
@inline
function fourRowsOf(x: usize, w: usize, row: usize, k: i32, n: i32, y: usize, add: i32, dtype: i32): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const w1 = n > 1 ? w + row : w;
  const w2 = n > 2 ? w + row * 2 : w;
  const w3 = n > 3 ? w + row * 3 : w;
  const mask = maskNumber();
  const power = powerNumber();
  let s0 = f32x4.splat(0);
  let t0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let t1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let t2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let t3 = f32x4.splat(0);
  let p = 0;
  for (; p + 8 <= k; p += 8) {
    const at = x + ((<usize>p) << 2);
    const q = <usize>p * size;
    const low = v128.load(at);
    const high = v128.load(at, 16);
    s0 = madd(low, weights4(w + q, dtype, mask, power), s0);
    t0 = madd(high, next4(w + q, dtype, mask, power), t0);
    s1 = madd(low, weights4(w1 + q, dtype, mask, power), s1);
    t1 = madd(high, next4(w1 + q, dtype, mask, power), t1);
    s2 = madd(low, weights4(w2 + q, dtype, mask, power), s2);
    t2 = madd(high, next4(w2 + q, dtype, mask, power), t2);
    s3 = madd(low, weights4(w3 + q, dtype, mask, power), s3);
    t3 = madd(high, next4(w3 + q, dtype, mask, power), t3);
  }
  const sums = scratch();
  v128.store(sums, s0);
  v128.store(sums, t0, 16);
  v128.store(sums, s1, 32);
  v128.store(sums, t1, 48);
  v128.store(sums, s2, 64);
  v128.store(sums, t2, 80);
  v128.store(sums, s3, 96);
  v128.store(sums, t3, 112);
  put(y, sum8(sums) + rest(x, w, p, k, dtype), add);
  if (n > 1) put(y + 4, sum8(sums + 32) + rest(x, w1, p, k, dtype), add);
  if (n > 2) put(y + 8, sum8(sums + 64) + rest(x, w2, p, k, dtype), add);
  if (n > 3) put(y + 12, sum8(sums + 96) + rest(x, w3, p, k, dtype), add);
}

// Out of line, one for each dtype: what joins vectors works function by function.

function fourRowsF32(x: usize, w: usize, row: usize, k: i32, n: i32, y: usize, add: i32): void {
  fourRowsOf(x, w, row, k, n, y, add, 0);
}

function fourRowsBf16(x: usize, w: usize, row: usize, k: i32, n: i32, y: usize, add: i32): void {
  fourRowsOf(x, w, row, k, n, y, add, 1);
}

function fourRowsF16(x: usize, w: usize, row: usize, k: i32, n: i32, y: usize, add: i32): void {
  fourRowsOf(x, w, row, k, n, y, add, 2);
}

/** Two to eight rows of x against the first `n` <= WAITING rows of w. */
function severalRows(
  x: usize,
  rowX: usize,
  m: i32,
  w: usize,
  rowW: usize,
  k: i32,
  n: i32,
  y: usize,
  rowY: usize,
  add: i32,
  dtype: i32,
): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const sums = scratch();
  const step: usize = 256;
  memory.fill(sums, 0, <usize>WAITING * step);
  const whole = k & ~7;
  for (let p = 0; p < whole; p += DEPTH) {
    const deep = min(DEPTH, whole - p);
    const xAt = x + ((<usize>p) << 2);
    const wAt = w + <usize>p * size;
    for (let i = 0; i < m; i += 4) {
      const left = m - i;
      const x0 = xAt + <usize>i * rowX;
      const x1 = left > 1 ? x0 + rowX : x0;
      const to = sums + ((<usize>i) << 5);
      // What lies past the last row of x or w is computed from a row that is there, and not used.
      if (left <= 2) {
        for (let j = 0; j < n; j += 4) {
          const w0 = wAt + <usize>j * rowW;
          const w1 = wAt + <usize>min(j + 1, n - 1) * rowW;
          const w2 = wAt + <usize>min(j + 2, n - 1) * rowW;
          const w3 = wAt + <usize>min(j + 3, n - 1) * rowW;
          const at = to + <usize>j * step;
          if (dtype == 0) twoByFourF32(x0, x1, w0, w1, w2, w3, deep, at, step);
          else if (dtype == 1) twoByFourBf16(x0, x1, w0, w1, w2, w3, deep, at, step);
          else twoByFourF16(x0, x1, w0, w1, w2, w3, deep, at, step);
        }
      } else {
        const x2 = x1 + rowX;
        const x3 = left > 3 ? x2 + rowX : x2;
        for (let j = 0; j < n; j += 2) {
          const w0 = wAt + <usize>j * rowW;
          const w1 = wAt + <usize>min(j + 1, n - 1) * rowW;
          const at = to + <usize>j * step;
          if (dtype == 0) fourByTwoF32(x0, x1, x2, x3, w0, w1, deep, at, step);
          else if (dtype == 1) fourByTwoBf16(x0, x1, x2, x3, w0, w1, deep, at, step);
          else fourByTwoF16(x0, x1, x2, x3, w0, w1, deep, at, step);
        }
      }
    }
  }
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < m; i++) {
      const sum = sum8(sums + <usize>j * step + ((<usize>i) << 5));
      const more = rest(x + <usize>i * rowX, w + <usize>j * rowW, whole, k, dtype);
      put(y + <usize>i * rowY + ((<usize>j) << 2), sum + more, add);
    }
  }
}

/** y[m][n] (+)= x[m][k] w[n][k], m at most SKINNY_ROWS. Strides in bytes. */
export function skinny(
  x: usize,
  rowX: usize,
  m: i32,
  w: usize,
  rowW: usize,
  k: i32,
  n: i32,
  y: usize,
  rowY: usize,
  add: i32,
  dtype: i32,
): void {
  writeConstants();
  if (m == 1) {
    for (let j = 0; j < n; j += 4) {
      if (dtype == 0) fourRowsF32(x, w, rowW, k, n - j, y, add);
      else if (dtype == 1) fourRowsBf16(x, w, rowW, k, n - j, y, add);
      else fourRowsF16(x, w, rowW, k, n - j, y, add);
      w += rowW * 4;
      y += 16;
    }
    return;
  }
  for (let j = 0; j < n; j += WAITING) {
    const few = min(WAITING, n - j);
    severalRows(x, rowX, m, w, rowW, k, few, y, rowY, add, dtype);
    w += <usize>WAITING * rowW;
    y += (<usize>WAITING) << 2;
  }
}

/** Rows of w in a unit. */
export function skinnyRows(k: i32): i32 {
  return max(4, (UNIT_WEIGHTS / max(1, k)) & ~3);
}

/**
 * y[g] = activation(x[g] w[g]^T + bias), or y[g] += x[g] w[g]^T. Arguments: x, w, y, bias (f32 [n] or absent); m (at
 * most 8), n, k, batch, strides of x (row, batch), w (row, batch) and y (row, batch) in elements, dtype of w,
 * accumulate, activation.
 */
export function gemv(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const bias = load<usize>(a, 12);
  const m = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const k = load<i32>(a, 24);
  const batch = load<i32>(a, 28);
  const rowX = (<usize>load<i32>(a, 32)) << 2;
  const batchX = (<usize>load<i32>(a, 36)) << 2;
  const dtype = load<i32>(a, 56);
  const shift: usize = dtype == 0 ? 2 : 1;
  const rowW = (<usize>load<i32>(a, 40)) << shift;
  const batchW = (<usize>load<i32>(a, 44)) << shift;
  const rowY = (<usize>load<i32>(a, 48)) << 2;
  const batchY = (<usize>load<i32>(a, 52)) << 2;
  const accumulate = load<i32>(a, 60);
  const activation = load<i32>(a, 64);
  const rows = skinnyRows(k);
  const parts = (n + rows - 1) / rows;
  for (let u = nextUnit(); u < parts * batch; u = nextUnit()) {
    const g = <usize>(u / parts);
    const j = (u % parts) * rows;
    const count = min(rows, n - j);
    const from = w + g * batchW + <usize>j * rowW;
    const to = y + g * batchY + ((<usize>j) << 2);
    skinny(x + g * batchX, rowX, m, from, rowW, k, count, to, rowY, accumulate, dtype);
    if (bias != 0 || activation != 0) {
      applyEpilogue(to, rowY, m, count, bias != 0 ? bias + ((<usize>j) << 2) : 0, activation);
    }
  }
}

/** Reads memory as fast as it comes. Arguments: x (f32 [units n]), y (f32 [units]); units, n (a multiple of 32). */
export function read_peak(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const units = load<i32>(a, 8);
  const n = load<i32>(a, 12);
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    let at = x + ((<usize>u * <usize>n) << 2);
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let i = 0; i < n; i += 32) {
      s0 = f32x4.add(s0, f32x4.add(v128.load(at), v128.load(at, 64)));
      s1 = f32x4.add(s1, f32x4.add(v128.load(at, 16), v128.load(at, 80)));
      s2 = f32x4.add(s2, f32x4.add(v128.load(at, 32), v128.load(at, 96)));
      s3 = f32x4.add(s3, f32x4.add(v128.load(at, 48), v128.load(at, 112)));
      at += 128;
    }
    store<f32>(y + ((<usize>u) << 2), hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3))));
  }
}
