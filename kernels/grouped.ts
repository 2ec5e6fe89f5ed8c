/**
 * Matrix products of experts: rows sorted by group, one weight matrix per group, the bounds of the groups in
 * memory (i32 [groups + 1]). Units are counted from the bounds, so any number of threads cuts them the same way.
 */
import { multiply, PACK_DEPTH, packColumns, packedColumns, unitColumns, unitRows } from "./gemm";
import { SKINNY_ROWS, skinny } from "./gemv";
import { nextUnit } from "./runtime";

/** Most rows of a unit. */
const UNIT_ROWS: i32 = 432;

/**
 * c[r] (+)= a[r] b[group of r]. Arguments: a (f32 [rows, k]), offsets, b, c (f32 [rows, n]); groups, n, k, strides
 * of b (row, column, group) in elements, dtype of b, accumulate, rows (for the estimate of work only).
 */
export function grouped_gemm(a: usize): void {
  const left = load<usize>(a);
  const offsets = load<usize>(a, 4);
  const right = load<usize>(a, 8);
  const c = load<usize>(a, 12);
  const groups = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const k = load<i32>(a, 24);
  const rowB = load<i32>(a, 28);
  const columnB = load<i32>(a, 32);
  const groupB = load<i32>(a, 36);
  const dtype = load<i32>(a, 40);
  const accumulate = load<i32>(a, 44);
  const shift: usize = dtype == 0 ? 2 : 1;
  const columns = unitColumns(n, k, groups);
  const columnUnits = (n + columns - 1) / columns;
  const packed = packedColumns();
  let held = -1;
  let group = 0;
  let first = 0;
  for (let u = nextUnit(); ; u = nextUnit()) {
    let begin = 0;
    let rows = 0;
    let parts = 0;
    for (; group < groups; group++) {
      begin = load<i32>(offsets + ((<usize>group) << 2));
      rows = load<i32>(offsets + ((<usize>group) << 2), 4) - begin;
      parts = (rows + UNIT_ROWS - 1) / UNIT_ROWS;
      if (u < first + parts * columnUnits) break;
      first += parts * columnUnits;
    }
    if (group == groups) break;
    const block = (u - first) / parts;
    const part = (u - first) % parts;
    const j = block * columns;
    const wide = min(columns, n - j);
    const i = begin + part * UNIT_ROWS;
    const high = min(UNIT_ROWS, begin + rows - i);
    const from = left + ((<usize>i * <usize>k) << 2);
    const columnStart = right + ((<usize>group * <usize>groupB + <usize>j * <usize>columnB) << shift);
    const to = c + ((<usize>i * <usize>n + <usize>j) << 2);
    if (rows <= SKINNY_ROWS && rowB == 1) {
      const rowW = (<usize>columnB) << shift;
      skinny(from, (<usize>k) << 2, high, columnStart, rowW, k, wide, to, (<usize>n) << 2, accumulate, dtype);
      continue;
    }
    const key = group * columnUnits + block;
    let p = 0;
    do {
      const deep = min(PACK_DEPTH, k - p);
      if (deep < k || held != key) {
        packColumns(
          columnStart + ((<usize>p * <usize>rowB) << shift),
          rowB,
          columnB,
          deep,
          wide,
          dtype,
          packed,
        );
        held = deep < k ? -1 : key;
      }
      const sum = accumulate | i32(p > 0);
      multiply(from + ((<usize>p) << 2), k, 1, packed, deep, high, wide, to, n, sum, false, 0, 0);
      p += deep;
    } while (p < k);
  }
}

/**
 * c[group] (+)= a[rows of group]^T b[rows of group]; a group without rows gives zeros. Arguments: a (f32
 * [rows, m]), offsets, b (f32 [rows, n]), c (f32 [groups, m, n]); groups, m, n, accumulate, rows (for the estimate
 * of work only).
 */
export function grouped_outer(a: usize): void {
  const left = load<usize>(a);
  const offsets = load<usize>(a, 4);
  const right = load<usize>(a, 8);
  const c = load<usize>(a, 12);
  const groups = load<i32>(a, 16);
  const m = load<i32>(a, 20);
  const n = load<i32>(a, 24);
  const accumulate = load<i32>(a, 28);
  const columns = unitColumns(n, 1024, groups);
  const columnUnits = (n + columns - 1) / columns;
  const rows = unitRows(m, groups * columnUnits);
  const rowUnits = (m + rows - 1) / rows;
  const packed = packedColumns();
  let held = -1;
  for (let u = nextUnit(); u < groups * columnUnits * rowUnits; u = nextUnit()) {
    const block = u / rowUnits;
    const i = (u - block * rowUnits) * rows;
    const group = block / columnUnits;
    const j = (block - group * columnUnits) * columns;
    const begin = load<i32>(offsets + ((<usize>group) << 2));
    const k = load<i32>(offsets + ((<usize>group) << 2), 4) - begin;
    const wide = min(columns, n - j);
    const high = min(rows, m - i);
    const to = c + ((<usize>group * <usize>m * <usize>n + <usize>i * <usize>n + <usize>j) << 2);
    // 3072 rows of 256 packed columns fit the scratch memory.
    let p = 0;
    do {
      const deep = min(3072, k - p);
      if (deep < k || held != block) {
        packColumns(right + ((<usize>(begin + p) * <usize>n + <usize>j) << 2), n, 1, deep, wide, 0, packed);
        held = deep < k ? -1 : block;
      }
      const from = left + ((<usize>(begin + p) * <usize>m + <usize>i) << 2);
      multiply(from, 1, m, packed, deep, high, wide, to, n, accumulate | i32(p > 0), false, 0, 0);
      p += deep;
    } while (p < k);
  }
}
