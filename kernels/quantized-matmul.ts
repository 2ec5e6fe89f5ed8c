/**
 * Products with quantized weight matrices: plain and batched, and with rows sorted by group. Activations are
 * quantized first: few of them by every thread for itself, more by all threads together into memory that the caller
 * lends. Every result has the same bits regardless of the number of rows, groups and threads.
 */
import { applyEpilogue } from "./epilogue";
import { activationBytes, quantizeRow, quantizeRows } from "./quantized-activations";
import { groupSize, padding, prepareTiles, privateRows } from "./quantized-lanes";
import { multiplyTiles } from "./quantized-tiles";
import { barrier, nextUnit, threads } from "./runtime";

/**
 * Bytes of weights of a unit, at least and at most. Threads that take turns at short pieces of memory disturb each
 * other's streams: two of them read 26 GB/s from units of 64 KiB and 41 from units of 256.
 */
const LEAST_WEIGHTS: usize = 65536;
const MOST_WEIGHTS: usize = 393216;
/** Bytes of activations of a unit: they stay in the second-level cache. */
const UNIT_ACTIVATIONS: usize = 393216;

/**
 * Groups of 8 weight rows of a unit, an even number, of `groups` in total. It may depend on the number of threads, since
 * no result depends on how rows are grouped.
 */
export function unitGroups(groupBytes: usize, groups: i32): i32 {
  const share = (groupBytes * <usize>groups) / <usize>(4 * max(2, threads()));
  const bytes = max(LEAST_WEIGHTS, min(MOST_WEIGHTS, share));
  return max(2, <i32>(bytes / max(1, groupBytes)) & ~1);
}

/** Rows of activations of a unit, an even number. */
export function unitTokens(rowBytes: usize): i32 {
  return <i32>max(16, min(128, UNIT_ACTIVATIONS / max(1, rowBytes)) & ~1);
}

/**
 * y[g] = activation(x[g] w[g]^T + bias). Arguments: x, w, y, rows (memory for batch m rows of quantized activations;
 * absent if m rows fit private memory and are few), bias (f32 [n] or absent); format, m, n, k, batch, strides of x (row,
 * batch) and y (row, batch) in elements, activation.
 */
export function quantized_matmul(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const lent = load<usize>(a, 12);
  const bias = load<usize>(a, 16);
  const format = load<i32>(a, 20);
  const m = load<i32>(a, 24);
  const n = load<i32>(a, 28);
  const k = load<i32>(a, 32);
  const batch = load<i32>(a, 36);
  const rowX = (<usize>load<i32>(a, 40)) << 2;
  const batchX = (<usize>load<i32>(a, 44)) << 2;
  const rowY = (<usize>load<i32>(a, 48)) << 2;
  const batchY = (<usize>load<i32>(a, 52)) << 2;
  const activation = load<i32>(a, 56);
  const rowBytes = activationBytes(format, k);
  const groupBytes = groupSize(format, k);
  const matrixBytes = groupBytes * <usize>((n + 7) >> 3);
  prepareTiles();
  const pad = padding();
  if (lent != 0) {
    if (rowX * <usize>m == batchX || batch == 1) {
      quantizeRows(format, x, rowX, m * batch, k, lent, pad, 0);
    } else {
      for (let u = nextUnit(0); u < m * batch; u = nextUnit(0)) {
        const g = u / m;
        const from = x + <usize>g * batchX + <usize>(u - g * m) * rowX;
        quantizeRow(format, from, k, lent + <usize>u * rowBytes, pad);
      }
    }
    barrier();
  }
  const rows = lent != 0 ? lent : privateRows();
  const columns = unitGroups(groupBytes, ((n + 7) >> 3) * batch) << 3;
  const columnUnits = (n + columns - 1) / columns;
  const tokens = unitTokens(rowBytes);
  const tokenUnits = (m + tokens - 1) / tokens;
  let held = -1;
  for (let u = nextUnit(1); u < batch * columnUnits * tokenUnits; u = nextUnit(1)) {
    const block = u / tokenUnits;
    const i = (u - block * tokenUnits) * tokens;
    const g = block / columnUnits;
    const j = (block - g * columnUnits) * columns;
    let at = rows;
    if (lent != 0) {
      at += <usize>(g * m + i) * rowBytes;
    } else {
      if (held != g) {
        const from = x + <usize>g * batchX;
        for (let r = 0; r < m; r++)
          quantizeRow(format, from + <usize>r * rowX, k, rows + <usize>r * rowBytes, pad);
        held = g;
      }
      at += <usize>i * rowBytes;
    }
    const tiles = w + <usize>g * matrixBytes + <usize>(j >> 3) * groupBytes;
    const to = y + <usize>g * batchY + <usize>i * rowY + ((<usize>j) << 2);
    const high = min(tokens, m - i);
    const wide = min(columns, n - j);
    multiplyTiles(format, at, 0, high, tiles, wide, k, to, rowY);
    if (bias != 0 || activation != 0) {
      applyEpilogue(to, rowY, high, wide, bias != 0 ? bias + ((<usize>j) << 2) : 0, activation);
    }
  }
}

/**
 * y[r] = x[r] w[group of r]^T for rows sorted by group. Arguments: x (f32 [.., k]), offsets (i32 [groups + 1]), w,
 * y (f32 [.., n]), rows (memory for quantized activations); format, groups, n, k, count (rows, for the estimate of
 * work only).
 */
export function quantized_grouped(a: usize): void {
  const x = load<usize>(a);
  const offsets = load<usize>(a, 4);
  const w = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const lent = load<usize>(a, 16);
  const format = load<i32>(a, 20);
  const groups = load<i32>(a, 24);
  const n = load<i32>(a, 28);
  const k = load<i32>(a, 32);
  const rowBytes = activationBytes(format, k);
  const groupBytes = groupSize(format, k);
  const matrixBytes = groupBytes * <usize>((n + 7) >> 3);
  const step = (<usize>n) << 2;
  prepareTiles();
  const start = load<i32>(offsets);
  const total = load<i32>(offsets + ((<usize>groups) << 2)) - start;
  const from = x + ((<usize>start * <usize>k) << 2);
  const rows = lent + <usize>start * rowBytes;
  quantizeRows(format, from, (<usize>k) << 2, total, k, rows, padding(), 0);
  barrier();
  const columns = unitGroups(groupBytes, ((n + 7) >> 3) * groups) << 3;
  const columnUnits = (n + columns - 1) / columns;
  const tokens = unitTokens(rowBytes);
  let group = 0;
  let first = 0;
  for (let u = nextUnit(1); ; u = nextUnit(1)) {
    let begin = 0;
    let count = 0;
    let parts = 0;
    for (; group < groups; group++) {
      begin = load<i32>(offsets + ((<usize>group) << 2));
      count = load<i32>(offsets + ((<usize>group) << 2), 4) - begin;
      parts = (count + tokens - 1) / tokens;
      if (u < first + parts * columnUnits) break;
      first += parts * columnUnits;
    }
    if (group == groups) break;
    const block = (u - first) / parts;
    const i = begin + (u - first - block * parts) * tokens;
    const j = block * columns;
    const tiles = w + <usize>group * matrixBytes + <usize>(j >> 3) * groupBytes;
    const to = y + <usize>i * step + ((<usize>j) << 2);
    const high = min(tokens, begin + count - i);
    multiplyTiles(format, lent + <usize>i * rowBytes, 0, high, tiles, min(columns, n - j), k, to, step);
  }
}
