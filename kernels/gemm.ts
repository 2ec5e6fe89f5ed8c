/**
 * Matrix products c (+)= a b in f32 with b in f32, bf16 or f16, by any strides.
 *
 * A unit of work is a block of c. Its thread packs the columns of b once and keeps them while units of the same
 * columns follow; a is read in place where its rows are contiguous and packed if its columns are. k runs in
 * blocks whose size depends on k only, so the order of every sum is the same for any number of threads. Where c is
 * small and k long (weight gradients), k is cut into `chunks` whose sums meet in a second phase. A bias and an
 * activation are applied to each panel of results while it is in the first-level cache.
 */
import { applyEpilogue } from "./epilogue";
import { packA, packB, TILE_ROWS } from "./packing";
import { barrier, nextUnit, scratch, wideVectors } from "./runtime";
import { tile6x8, tile6x16 } from "./tiles";

/** Rows of a that stay in the second-level cache while the panels of b pass. */
export const BLOCK_ROWS: i32 = 144;
/** Most of k in one block: a panel of 16 columns takes 18 KB of the first-level cache. */
const BLOCK_DEPTH: i32 = 288;
/** Most of k that is packed at once; sixteen columns of it fit the scratch memory. */
export const PACK_DEPTH: i32 = 32768;
/** Most columns of a unit. */
export const BLOCK_COLUMNS: i32 = 256;
/** Units wanted: enough for threads of unequal speed to end together. */
const UNITS_WANTED: i32 = 16;

// Scratch memory: one tile, packed rows of a, packed columns of b.
const PACKED_A: usize = 1024;
const PACKED_B: usize = 192 * 1024;
export const PACKED_B_FLOATS: i32 = 983040;

// @ts-ignore: decorator
@inline
export function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}

// @ts-ignore: decorator
@inline
export function roundUp(a: i32, b: i32): i32 {
  return ceilDiv(a, b) * b;
}

/** Where a thread keeps packed columns of b. */
// @ts-ignore: decorator
@inline
export function packedColumns(): usize {
  return scratch() + PACKED_B;
}

/** Where a thread keeps packed rows of a: `BLOCK_ROWS` of them and six more, `BLOCK_DEPTH` deep. */
// @ts-ignore: decorator
@inline
export function packedRows(): usize {
  return scratch() + PACKED_A;
}

/** Size of the blocks that `k` is cut into. */
// @ts-ignore: decorator
@inline
export function blockDepth(k: i32): i32 {
  return roundUp(ceilDiv(k, max(1, ceilDiv(k, BLOCK_DEPTH))), 4);
}

/** Columns of a unit: few enough to keep all of `k` packed, and for `parts` blocks of rows to be enough units. */
export function unitColumns(n: i32, k: i32, parts: i32): i32 {
  const room = max(16, (PACKED_B_FLOATS / max(1, min(k, PACK_DEPTH))) & ~15);
  let columns = min(BLOCK_COLUMNS, room);
  while (columns > 64 && ceilDiv(n, columns) * parts < UNITS_WANTED / 2) columns >>= 1;
  return max(16, roundUp(ceilDiv(n, max(1, ceilDiv(n, columns))), 16));
}

/** Rows of a unit, a multiple of the tile, given the number of `columnUnits` that there are anyway. */
export function unitRows(m: i32, columnUnits: i32): i32 {
  const parts = max(1, ceilDiv(UNITS_WANTED, max(1, columnUnits)));
  return max(48, roundUp(ceilDiv(max(1, m), parts), TILE_ROWS));
}

/** Packs `k` x `n` of b at `to` for `multiply`. Strides in elements. */
export function packColumns(b: usize, row: i32, column: i32, k: i32, n: i32, dtype: i32, to: usize): void {
  const width = wideVectors() ? 16 : 8;
  const depth = blockDepth(k);
  const shift: usize = dtype == 0 ? 2 : 1;
  const panels = <usize>roundUp(n, width);
  for (let p = 0; p < k; p += depth) {
    const deep = min(depth, k - p);
    packB(b + ((<usize>p * <usize>row) << shift), row, column, deep, n, width, dtype, to);
    to += (panels * <usize>deep) << 2;
  }
}

export function packEdgeRows(a: usize, row: usize, column: usize, m: i32, k: i32, to: usize): void {
  for (let p = 0; p < k; p++) {
    for (let i = 0; i < TILE_ROWS; i++) {
      store<f32>(to + ((<usize>i) << 2), i < m ? load<f32>(a + <usize>i * row) : <f32>0);
    }
    a += column;
    to += TILE_ROWS << 2;
  }
}

function writeEdge(tile: usize, step: usize, c: usize, ldc: usize, m: i32, n: i32, add: i32): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      const at = c + ((<usize>j) << 2);
      const value = load<f32>(tile + ((<usize>j) << 2));
      store<f32>(at, add ? load<f32>(at) + value : value);
    }
    tile += step;
    c += ldc;
  }
}

/**
 * One block of rows against the packed panels of one block of k. Strides in bytes; `panel` from 6 rows to the next. If
 * it is the `last` block of k, results get their bias (unless 0) and activation.
 */
export function multiplyPanels(
  a: usize,
  rs: usize,
  cs: usize,
  panel: usize,
  edge: usize,
  b: usize,
  k: i32,
  m: i32,
  n: i32,
  c: usize,
  ldc: usize,
  add: i32,
  last: bool,
  bias: usize,
  activation: i32,
): void {
  const wide = wideVectors();
  const width = wide ? 16 : 8;
  const step = (<usize>width) << 2;
  const tile = scratch();
  const whole = m - (m % TILE_ROWS);
  const finishes = last && (bias != 0 || activation != 0);
  for (let j = 0; j < n; j += width) {
    const columns = min(width, n - j);
    let at = a;
    let to = c + ((<usize>j) << 2);
    if (columns == width) {
      for (let i = 0; i < whole; i += TILE_ROWS) {
        if (wide) tile6x16(at, rs, cs, b, k, to, ldc, add);
        else tile6x8(at, rs, cs, b, k, to, ldc, add);
        at += panel;
        to += ldc * TILE_ROWS;
      }
    } else {
      for (let i = 0; i < whole; i += TILE_ROWS) {
        if (wide) tile6x16(at, rs, cs, b, k, tile, step, 0);
        else tile6x8(at, rs, cs, b, k, tile, step, 0);
        writeEdge(tile, step, to, ldc, TILE_ROWS, columns, add);
        at += panel;
        to += ldc * TILE_ROWS;
      }
    }
    if (whole < m) {
      if (wide) tile6x16(edge, 4, 24, b, k, tile, step, 0);
      else tile6x8(edge, 4, 24, b, k, tile, step, 0);
      writeEdge(tile, step, to, ldc, m - whole, columns, add);
    }
    if (finishes) {
      const at = (<usize>j) << 2;
      applyEpilogue(c + at, ldc, m, columns, bias != 0 ? bias + at : 0, activation);
    }
    b += <usize>k * step;
  }
}

/**
 * c[m][n] (+)= a[m][k] b, b packed by `packColumns`, then if `last` the bias (unless 0) and the activation. Strides in
 * elements. k = 0 gives zeros.
 */
export function multiply(
  a: usize,
  row: i32,
  column: i32,
  b: usize,
  k: i32,
  m: i32,
  n: i32,
  c: usize,
  rowC: i32,
  add: i32,
  last: bool,
  bias: usize,
  activation: i32,
): void {
  const ldc = (<usize>rowC) << 2;
  if (k == 0) {
    if (!add) for (let i = 0; i < m; i++) memory.fill(c + <usize>i * ldc, 0, (<usize>n) << 2);
    if (last) applyEpilogue(c, ldc, m, n, bias, activation);
    return;
  }
  const rowBytes = (<usize>row) << 2;
  const columnBytes = (<usize>column) << 2;
  const panels = (<usize>roundUp(n, wideVectors() ? 16 : 8)) << 2;
  const depth = blockDepth(k);
  const packed = scratch() + PACKED_A;
  const blocks = ceilDiv(m, BLOCK_ROWS);
  const blockRows = roundUp(ceilDiv(m, max(1, blocks)), TILE_ROWS);
  for (let i = 0; i < m; i += blockRows) {
    const rows = min(blockRows, m - i);
    const to = c + <usize>i * ldc;
    let panel = b;
    for (let p = 0; p < k; p += depth) {
      const deep = min(depth, k - p);
      const from = a + <usize>i * rowBytes + <usize>p * columnBytes;
      const sum = add | i32(p > 0);
      const end = last && p + deep == k;
      if (row == 1 && column != 1) {
        packA(from, column, rows, deep, packed);
        const six = <usize>deep * 24;
        const edge = packed + <usize>(rows / TILE_ROWS) * six;
        multiplyPanels(packed, 4, 24, six, edge, panel, deep, rows, n, to, ldc, sum, end, bias, activation);
      } else {
        const rest = rows % TILE_ROWS;
        if (rest > 0)
          packEdgeRows(from + <usize>(rows - rest) * rowBytes, rowBytes, columnBytes, rest, deep, packed);
        const six = rowBytes * TILE_ROWS;
        multiplyPanels(
          from,
          rowBytes,
          columnBytes,
          six,
          packed,
          panel,
          deep,
          rows,
          n,
          to,
          ldc,
          sum,
          end,
          bias,
          activation,
        );
      }
      panel += panels * <usize>deep;
    }
  }
}

/**
 * c[g] = activation(a[g] b[g] + bias), or c[g] += a[g] b[g]. Arguments: a, b, c, partial (f32 [chunks, m, n], absent for
 * one chunk), bias (f32 [n] or absent); m, n, k, batch, strides of a (row, column, batch), b (row, column, batch), c
 * (row, batch) in elements, dtype of b, accumulate, chunks, activation. Several chunks need batch 1.
 */
export function gemm(a: usize): void {
  const left = load<usize>(a);
  const right = load<usize>(a, 4);
  const c = load<usize>(a, 8);
  const partial = load<usize>(a, 12);
  const bias = load<usize>(a, 16);
  const m = load<i32>(a, 20);
  const n = load<i32>(a, 24);
  const k = load<i32>(a, 28);
  const batch = load<i32>(a, 32);
  const rowA = load<i32>(a, 36);
  const columnA = load<i32>(a, 40);
  const batchA = load<i32>(a, 44);
  const rowB = load<i32>(a, 48);
  const columnB = load<i32>(a, 52);
  const batchB = load<i32>(a, 56);
  const rowC = load<i32>(a, 60);
  const batchC = load<i32>(a, 64);
  const dtype = load<i32>(a, 68);
  const accumulate = load<i32>(a, 72);
  const chunks = load<i32>(a, 76);
  const activation = load<i32>(a, 80);
  const shift: usize = dtype == 0 ? 2 : 1;

  const chunk = max(1, roundUp(ceilDiv(k, chunks), 8));
  const columns = unitColumns(n, chunks > 1 ? chunk : k, batch * chunks * ceilDiv(m, 48));
  const columnUnits = ceilDiv(n, columns);
  const rows = unitRows(m, columnUnits * batch * chunks);
  const rowUnits = ceilDiv(m, rows);
  const units = columnUnits * rowUnits * batch * chunks;
  const packed = packedColumns();
  let held = -1;
  for (let u = nextUnit(0); u < units; u = nextUnit(0)) {
    const block = u / rowUnits;
    const i = (u - block * rowUnits) * rows;
    const outer = block / columnUnits;
    const j = (block - outer * columnUnits) * columns;
    // Several chunks mean one batch, several batches one chunk.
    const g = chunks > 1 ? 0 : outer;
    const begin = chunks > 1 ? min(k, outer * chunk) : 0;
    const end = chunks > 1 ? min(k, begin + chunk) : k;
    const wide = min(columns, n - j);
    const high = min(rows, m - i);
    const rowStart = left + ((<usize>g * <usize>batchA + <usize>i * <usize>rowA) << 2);
    const columnStart = right + ((<usize>g * <usize>batchB + <usize>j * <usize>columnB) << shift);
    let to: usize;
    let ldc: i32;
    let add: i32;
    if (chunks > 1) {
      to = partial + (((<usize>outer * <usize>m + <usize>i) * <usize>n + <usize>j) << 2);
      ldc = n;
      add = 0;
    } else {
      to = c + ((<usize>g * <usize>batchC + <usize>i * <usize>rowC + <usize>j) << 2);
      ldc = rowC;
      add = accumulate;
    }
    let p = begin;
    do {
      const deep = min(PACK_DEPTH, end - p);
      const whole = p == begin && p + deep == end;
      if (!whole || held != block) {
        const from = columnStart + ((<usize>p * <usize>rowB) << shift);
        packColumns(from, rowB, columnB, deep, wide, dtype, packed);
        held = whole ? block : -1;
      }
      const at = rowStart + ((<usize>p * <usize>columnA) << 2);
      const last = chunks == 1 && p + deep == end;
      const biasAt = bias != 0 ? bias + ((<usize>j) << 2) : 0;
      const sum = add | i32(p > begin);
      multiply(at, rowA, columnA, packed, deep, high, wide, to, ldc, sum, last, biasAt, activation);
      p += deep;
    } while (p < end);
  }
  if (chunks > 1) {
    barrier();
    combine(partial, c, m, n, rowC, chunks, accumulate, bias, activation);
  }
}

/** c (+)= sum of the chunks, in their order, then bias and activation, in units of rows. */
export function combine(
  partial: usize,
  c: usize,
  m: i32,
  n: i32,
  rowC: i32,
  chunks: i32,
  accumulate: i32,
  bias: usize,
  activation: i32,
): void {
  const rows = max(1, 4096 / max(1, n));
  const units = ceilDiv(m, rows);
  const step = (<usize>m * <usize>n) << 2;
  for (let u = nextUnit(1); u < units; u = nextUnit(1)) {
    const end = min(m, (u + 1) * rows);
    for (let i = u * rows; i < end; i++) {
      const from = partial + ((<usize>i * <usize>n) << 2);
      const to = c + ((<usize>i * <usize>rowC) << 2);
      let j = 0;
      for (; j + 4 <= n; j += 4) {
        const at = (<usize>j) << 2;
        let sum = v128.load(from + at);
        for (let q = 1; q < chunks; q++) sum = f32x4.add(sum, v128.load(from + at + <usize>q * step));
        if (accumulate) sum = f32x4.add(v128.load(to + at), sum);
        v128.store(to + at, sum);
      }
      for (; j < n; j++) {
        const at = (<usize>j) << 2;
        let sum = load<f32>(from + at);
        for (let q = 1; q < chunks; q++) sum += load<f32>(from + at + <usize>q * step);
        store<f32>(to + at, accumulate ? load<f32>(to + at) + sum : sum);
      }
      if (bias != 0 || activation != 0) applyEpilogue(to, 0, 1, n, bias, activation);
    }
  }
}

/**
 * Measures the tiles on data in the first-level cache. Arguments: c (f32 [units], written so that the work is
 * seen); units, repeats of a 6 x 16 x 256 product (two 6 x 8 if `wide` is 0), wide.
 */
export function gemm_peak(a: usize): void {
  const c = load<usize>(a);
  const units = load<i32>(a, 4);
  const repeats = load<i32>(a, 8);
  const wide = load<i32>(a, 12);
  const tile = scratch();
  const left = tile + PACKED_A;
  const right = tile + PACKED_B;
  memory.fill(left, 0, 256 * 6 * 4);
  memory.fill(right, 0, 256 * 16 * 4);
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    for (let r = 0; r < repeats; r++) {
      if (wide) tile6x16(left, 4, 24, right, 256, tile, 64, 0);
      else {
        tile6x8(left, 4, 24, right, 256, tile, 64, 0);
        tile6x8(left, 4, 24, right + 8192, 256, tile + 32, 64, 0);
      }
    }
    store<f32>(c + ((<usize>u) << 2), load<f32>(tile));
  }
}
