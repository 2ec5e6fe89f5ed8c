/**
 * Axes in another order. The caller has merged axes that stay neighbors, so that the input's last axis either stays last
 * (rows are copied) or changes places with another axis (a batch of transposes, 4 x 4 in registers, in tiles whose
 * lines stay in the first-level cache).
 */
import { storeTransposed } from "./packing";
import { nextUnit } from "./runtime";

/** Elements of a unit, about. */
const UNIT: i32 = 16384;
/** Rows and columns of a tile of a transpose. */
const TILE: i32 = 32;

/** Rows [n] of the output from rows of the input: a memory.copy for long ones. */
// @ts-ignore: decorator
@inline
function copyRow(from: usize, to: usize, n: i32): void {
  if (n >= 1024) {
    memory.copy(to, from, (<usize>n) << 2);
    return;
  }
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const low = v128.load(from + at);
    const high = v128.load(from + at, 16);
    v128.store(to + at, low);
    v128.store(to + at, high, 16);
  }
  for (; i < n; i++) store<f32>(to + ((<usize>i) << 2), load<f32>(from + ((<usize>i) << 2)));
}

/** to[i][j] = from[j][i] for i < m, j < n; strides in bytes. */
function transposeTile(from: usize, fromStep: usize, to: usize, toStep: usize, m: i32, n: i32): void {
  let i = 0;
  for (; i + 4 <= m; i += 4) {
    const at = from + ((<usize>i) << 2);
    const put = to + <usize>i * toStep;
    let j = 0;
    for (; j + 4 <= n; j += 4) {
      const row = at + <usize>j * fromStep;
      storeTransposed(
        put + ((<usize>j) << 2),
        toStep,
        v128.load(row),
        v128.load(row + fromStep),
        v128.load(row + fromStep * 2),
        v128.load(row + fromStep * 3),
      );
    }
    for (; j < n; j++) {
      const row = at + <usize>j * fromStep;
      const column = put + ((<usize>j) << 2);
      store<f32>(column, load<f32>(row));
      store<f32>(column + toStep, load<f32>(row, 4));
      store<f32>(column + toStep * 2, load<f32>(row, 8));
      store<f32>(column + toStep * 3, load<f32>(row, 12));
    }
  }
  for (; i < m; i++) {
    const put = to + <usize>i * toStep;
    for (let j = 0; j < n; j++) {
      store<f32>(put + ((<usize>j) << 2), load<f32>(from + <usize>j * fromStep + ((<usize>i) << 2)));
    }
  }
}

/**
 * Four outer axes of sizes n0..n3 with strides in x (s) and in y (t), and inside of them a matrix: `transpose` 0: one row
 * of `columns` elements, contiguous in both; 1: y[i][j] = x[j][i] for `rows` i and `columns` j, x's j `xStep` elements
 * apart and y's i `yStep`. Arguments: x, y; n0..n3, s0..s3, t0..t3, rows, columns, xStep, yStep, transpose.
 */
export function permute(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const n0 = load<i32>(a, 8);
  const n1 = load<i32>(a, 12);
  const n2 = load<i32>(a, 16);
  const n3 = load<i32>(a, 20);
  const rows = load<i32>(a, 56);
  const columns = load<i32>(a, 60);
  const xStep = (<usize>load<i32>(a, 64)) << 2;
  const yStep = (<usize>load<i32>(a, 68)) << 2;
  const transpose = load<i32>(a, 72) != 0;
  const outer = n0 * n1 * n2 * n3;
  // A unit is a part of one matrix (bands of rows), or several whole ones.
  const bands = transpose ? max(1, (rows + TILE - 1) / TILE) : 1;
  const size = transpose ? TILE * columns : columns;
  const each = max(1, UNIT / max(1, size));
  const total = outer * bands;
  const units = (total + each - 1) / each;
  const s0 = (<usize>load<i32>(a, 24)) << 2;
  const s1 = (<usize>load<i32>(a, 28)) << 2;
  const s2 = (<usize>load<i32>(a, 32)) << 2;
  const s3 = (<usize>load<i32>(a, 36)) << 2;
  const t0 = (<usize>load<i32>(a, 40)) << 2;
  const t1 = (<usize>load<i32>(a, 44)) << 2;
  const t2 = (<usize>load<i32>(a, 48)) << 2;
  const t3 = (<usize>load<i32>(a, 52)) << 2;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const begin = u * each;
    const end = min(total, begin + each);
    // Places are counted up from that of the unit's first matrix: divisions would take longer than short rows.
    const first = begin / bands;
    let band = begin - first * bands;
    let i3 = first % n3;
    let i2 = (first / n3) % n2;
    let i1 = (first / n3 / n2) % n1;
    let i0 = first / n3 / n2 / n1;
    for (let p = begin; p < end; p++) {
      const from = x + <usize>i0 * s0 + <usize>i1 * s1 + <usize>i2 * s2 + <usize>i3 * s3;
      const to = y + <usize>i0 * t0 + <usize>i1 * t1 + <usize>i2 * t2 + <usize>i3 * t3;
      const i = band * TILE;
      if (++band == bands) {
        band = 0;
        if (++i3 == n3) {
          i3 = 0;
          if (++i2 == n2) {
            i2 = 0;
            if (++i1 == n1) {
              i1 = 0;
              i0++;
            }
          }
        }
      }
      if (!transpose) {
        copyRow(from, to, columns);
        continue;
      }
      const high = min(TILE, rows - i);
      const put = to + <usize>i * yStep;
      const at = from + ((<usize>i) << 2);
      for (let j = 0; j < columns; j += TILE) {
        transposeTile(
          at + <usize>j * xStep,
          xStep,
          put + ((<usize>j) << 2),
          yStep,
          high,
          min(TILE, columns - j),
        );
      }
    }
  }
}
