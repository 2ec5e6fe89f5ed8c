/**
 * Products of a few rows (at most 8) with a matrix whose columns are strided and whose rows are contiguous: y[m][n] (+)=
 * x[m][k] w[k][n]. w is read once, some of its rows side by side, and never packed; the sums of a strip of columns stay
 * in the nearest cache. Every element sums in the order of k, so a row has the same bits whatever rows come with it.
 */
import { applyEpilogue } from "./epilogue";
import { BEHIND_NUMBERS, maskNumber, powerNumber, weight, weights4, writeConstants } from "./gemv-tiles";
import { madd } from "./math";
import { nextUnit, scratch } from "./runtime";

/** Columns of a unit: wide ones if the batch alone makes enough units. */
const STRIP: i32 = 128;
const WIDE_STRIP: i32 = 512;
const MANY: i32 = 16;
/** Rows of w that pass together. */
const ROWS: i32 = 16;
/** Sums of four rows of x and sixteen columns of `n` rows of w. */
// @ts-ignore: decorator
@inline
function fourRowsOf(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w: usize,
  row: usize,
  n: i32,
  sums: usize,
  pitch: usize,
  dtype: i32,
): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const mask = maskNumber();
  const power = powerNumber();
  const sums1 = sums + pitch;
  const sums2 = sums1 + pitch;
  const sums3 = sums2 + pitch;
  let c00 = v128.load(sums);
  let c01 = v128.load(sums, 16);
  let c02 = v128.load(sums, 32);
  let c03 = v128.load(sums, 48);
  let c10 = v128.load(sums1);
  let c11 = v128.load(sums1, 16);
  let c12 = v128.load(sums1, 32);
  let c13 = v128.load(sums1, 48);
  let c20 = v128.load(sums2);
  let c21 = v128.load(sums2, 16);
  let c22 = v128.load(sums2, 32);
  let c23 = v128.load(sums2, 48);
  let c30 = v128.load(sums3);
  let c31 = v128.load(sums3, 16);
  let c32 = v128.load(sums3, 32);
  let c33 = v128.load(sums3, 48);
  for (; n > 0; n--) {
    const w0 = weights4(w, dtype, mask, power);
    const w1 = weights4(w + 4 * size, dtype, mask, power);
    const w2 = weights4(w + 8 * size, dtype, mask, power);
    const w3 = weights4(w + 12 * size, dtype, mask, power);
    const a0 = v128.load32_splat(x0);
    c00 = madd(a0, w0, c00);
    c01 = madd(a0, w1, c01);
    c02 = madd(a0, w2, c02);
    c03 = madd(a0, w3, c03);
    const a1 = v128.load32_splat(x1);
    c10 = madd(a1, w0, c10);
    c11 = madd(a1, w1, c11);
    c12 = madd(a1, w2, c12);
    c13 = madd(a1, w3, c13);
    const a2 = v128.load32_splat(x2);
    c20 = madd(a2, w0, c20);
    c21 = madd(a2, w1, c21);
    c22 = madd(a2, w2, c22);
    c23 = madd(a2, w3, c23);
    const a3 = v128.load32_splat(x3);
    c30 = madd(a3, w0, c30);
    c31 = madd(a3, w1, c31);
    c32 = madd(a3, w2, c32);
    c33 = madd(a3, w3, c33);
    w += row;
    x0 += 4;
    x1 += 4;
    x2 += 4;
    x3 += 4;
  }
  v128.store(sums, c00);
  v128.store(sums, c01, 16);
  v128.store(sums, c02, 32);
  v128.store(sums, c03, 48);
  v128.store(sums1, c10);
  v128.store(sums1, c11, 16);
  v128.store(sums1, c12, 32);
  v128.store(sums1, c13, 48);
  v128.store(sums2, c20);
  v128.store(sums2, c21, 16);
  v128.store(sums2, c22, 32);
  v128.store(sums2, c23, 48);
  v128.store(sums3, c30);
  v128.store(sums3, c31, 16);
  v128.store(sums3, c32, 32);
  v128.store(sums3, c33, 48);
}

/** The same for one row of x. */
// @ts-ignore: decorator
@inline
function oneRowOf(x: usize, w: usize, row: usize, n: i32, sums: usize, dtype: i32): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const mask = maskNumber();
  const power = powerNumber();
  let c0 = v128.load(sums);
  let c1 = v128.load(sums, 16);
  let c2 = v128.load(sums, 32);
  let c3 = v128.load(sums, 48);
  for (; n > 0; n--) {
    const a = v128.load32_splat(x);
    c0 = madd(a, weights4(w, dtype, mask, power), c0);
    c1 = madd(a, weights4(w + 4 * size, dtype, mask, power), c1);
    c2 = madd(a, weights4(w + 8 * size, dtype, mask, power), c2);
    c3 = madd(a, weights4(w + 12 * size, dtype, mask, power), c3);
    w += row;
    x += 4;
  }
  v128.store(sums, c0);
  v128.store(sums, c1, 16);
  v128.store(sums, c2, 32);
  v128.store(sums, c3, 48);
}

// Out of line, one for each dtype: what joins vectors works function by function.

function fourRows(
  x: usize,
  rowX: usize,
  m: i32,
  w: usize,
  row: usize,
  n: i32,
  sums: usize,
  pitch: usize,
  dtype: i32,
): void {
  // What lies past the last row of x is computed from a row that is there, and not used.
  const x1 = x + rowX;
  const x2 = m > 2 ? x1 + rowX : x1;
  const x3 = m > 3 ? x2 + rowX : x2;
  if (dtype == 0) fourRowsF32(x, x1, x2, x3, w, row, n, sums, pitch);
  else if (dtype == 1) fourRowsBf16(x, x1, x2, x3, w, row, n, sums, pitch);
  else fourRowsF16(x, x1, x2, x3, w, row, n, sums, pitch);
}

function fourRowsF32(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w: usize,
  row: usize,
  n: i32,
  sums: usize,
  pitch: usize,
): void {
  fourRowsOf(x0, x1, x2, x3, w, row, n, sums, pitch, 0);
}

function fourRowsBf16(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w: usize,
  row: usize,
  n: i32,
  sums: usize,
  pitch: usize,
): void {
  fourRowsOf(x0, x1, x2, x3, w, row, n, sums, pitch, 1);
}

function fourRowsF16(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w: usize,
  row: usize,
  n: i32,
  sums: usize,
  pitch: usize,
): void {
  fourRowsOf(x0, x1, x2, x3, w, row, n, sums, pitch, 2);
}

function oneRowF32(x: usize, w: usize, row: usize, n: i32, sums: usize): void {
  oneRowOf(x, w, row, n, sums, 0);
}

function oneRowBf16(x: usize, w: usize, row: usize, n: i32, sums: usize): void {
  oneRowOf(x, w, row, n, sums, 1);
}

function oneRowF16(x: usize, w: usize, row: usize, n: i32, sums: usize): void {
  oneRowOf(x, w, row, n, sums, 2);
}

/** A strip of `n` columns. Strides in bytes. */
function strip(
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
  const shift: usize = dtype == 0 ? 2 : 1;
  const sums = scratch() + BEHIND_NUMBERS;
  const pitch = (<usize>WIDE_STRIP) << 2;
  memory.fill(sums, 0, <usize>((m + 3) & ~3) * pitch);
  const whole = n & ~15;
  for (let p = 0; p < k; p += ROWS) {
    const deep = min(ROWS, k - p);
    const xAt = x + ((<usize>p) << 2);
    const wAt = w + <usize>p * rowW;
    for (let i = 0; i < m; i += 4) {
      const from = xAt + <usize>i * rowX;
      const to = sums + <usize>i * pitch;
      for (let j = 0; j < whole; j += 16) {
        const at = wAt + ((<usize>j) << shift);
        const put = to + ((<usize>j) << 2);
        if (m - i > 1) fourRows(from, rowX, m - i, at, rowW, deep, put, pitch, dtype);
        else if (dtype == 0) oneRowF32(from, at, rowW, deep, put);
        else if (dtype == 1) oneRowBf16(from, at, rowW, deep, put);
        else oneRowF16(from, at, rowW, deep, put);
      }
    }
    for (let i = 0; i < m; i++) {
      for (let j = whole; j < n; j++) {
        const at = sums + <usize>i * pitch + ((<usize>j) << 2);
        let sum = load<f32>(at);
        for (let q = 0; q < deep; q++) {
          const value = load<f32>(xAt + <usize>i * rowX + ((<usize>q) << 2));
          sum += value * weight(wAt + <usize>q * rowW + ((<usize>j) << shift), dtype);
        }
        store<f32>(at, sum);
      }
    }
  }
  for (let i = 0; i < m; i++) {
    const from = sums + <usize>i * pitch;
    const to = y + <usize>i * rowY;
    for (let j = 0; j < n; j++) {
      const at = (<usize>j) << 2;
      store<f32>(to + at, add ? load<f32>(to + at) + load<f32>(from + at) : load<f32>(from + at));
    }
  }
}

/**
 * y[g] = activation(x[g] w[g] + bias), or y[g] += x[g] w[g]. Arguments: x, w, y, bias (f32 [n] or absent); m (at most
 * 8), n, k, batch, strides of x (row, batch), w (row, batch) and y (row, batch) in elements, dtype of w, accumulate,
 * activation.
 */
export function gemv_columns(a: usize): void {
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
  writeConstants();
  const columns = batch >= MANY ? WIDE_STRIP : STRIP;
  const parts = (n + columns - 1) / columns;
  for (let u = nextUnit(); u < parts * batch; u = nextUnit()) {
    const g = <usize>(u / parts);
    const j = (u % parts) * columns;
    const count = min(columns, n - j);
    const from = w + g * batchW + ((<usize>j) << shift);
    const to = y + g * batchY + ((<usize>j) << 2);
    strip(x + g * batchX, rowX, m, from, rowW, k, count, to, rowY, accumulate, dtype);
    if (bias != 0 || activation != 0) {
      applyEpilogue(to, rowY, m, count, bias != 0 ? bias + ((<usize>j) << 2) : 0, activation);
    }
  }
}
