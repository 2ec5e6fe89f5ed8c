/** Rows of a table by number, and the gradient that adds rows back in the order of the numbers. */
import { loadBf16, loadBf16x4, loadF16, loadF16x4 } from "./math";
import { barrier, nextUnit } from "./runtime";

const UNIT: i32 = 16384;
/** Columns of a unit of the gradient: two cache lines. */
const SLICE: i32 = 32;

/** y[r] = w[ids[r]], NaN if the id is out of range. Arguments: w, ids, y; rows, vocabulary, n, dtype of w. */
export function embedding(a: usize): void {
  const w = load<usize>(a);
  const ids = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const vocabulary = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const dtype = load<i32>(a, 24);
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = (rows + rowsPerUnit - 1) / rowsPerUnit;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let r = u * rowsPerUnit; r < end; r++) {
      const id = load<i32>(ids + ((<usize>r) << 2));
      const to = y + ((<usize>r * <usize>n) << 2);
      if (<u32>id >= <u32>vocabulary) {
        for (let i = 0; i < n; i++) store<f32>(to + ((<usize>i) << 2), f32.reinterpret_i32(0x7fc00000));
        continue;
      }
      const first = <usize>id * <usize>n;
      let i = 0;
      if (dtype == 0) {
        memory.copy(to, w + (first << 2), (<usize>n) << 2);
      } else if (dtype == 1) {
        const from = w + (first << 1);
        for (; i + 4 <= n; i += 4) v128.store(to + ((<usize>i) << 2), loadBf16x4(from + ((<usize>i) << 1)));
        for (; i < n; i++) store<f32>(to + ((<usize>i) << 2), loadBf16(from + ((<usize>i) << 1)));
      } else {
        const from = w + (first << 1);
        for (; i + 4 <= n; i += 4) v128.store(to + ((<usize>i) << 2), loadF16x4(from + ((<usize>i) << 1)));
        for (; i < n; i++) store<f32>(to + ((<usize>i) << 2), loadF16(from + ((<usize>i) << 1)));
      }
    }
  }
}

/**
 * dw (+)= sum of dy[r] over rows with that id; ids out of range add nothing.
 * A unit is a slice of columns and goes through all ids, so that every sum has the order of the rows.
 * Arguments: ids, dy, dw; rows, vocabulary, n, accumulate.
 */
export function embedding_grad(a: usize): void {
  const ids = load<usize>(a);
  const dy = load<usize>(a, 4);
  const dw = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const vocabulary = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const accumulate = load<i32>(a, 24);
  const stride = (<usize>n) << 2;
  if (!accumulate) {
    const bytes = <usize>vocabulary * stride;
    const unit = (<usize>UNIT) << 4;
    const count = <i32>((bytes + unit - 1) / unit);
    for (let u = nextUnit(0); u < count; u = nextUnit(0)) {
      const begin = <usize>u * unit;
      memory.fill(dw + begin, 0, min(unit, bytes - begin));
    }
    barrier();
  }
  const slices = (n + SLICE - 1) / SLICE;
  for (let u = nextUnit(1); u < slices; u = nextUnit(1)) {
    const begin = u * SLICE;
    const width = min(SLICE, n - begin);
    const offset = (<usize>begin) << 2;
    for (let r = 0; r < rows; r++) {
      const id = load<i32>(ids + ((<usize>r) << 2));
      if (<u32>id >= <u32>vocabulary) continue;
      const from = dy + <usize>r * stride + offset;
      const to = dw + <usize>id * stride + offset;
      let i = 0;
      for (; i + 4 <= width; i += 4) {
        const at = (<usize>i) << 2;
        v128.store(to + at, f32x4.add(v128.load(to + at), v128.load(from + at)));
      }
      for (; i < width; i++) {
        const at = (<usize>i) << 2;
        store<f32>(to + at, load<f32>(to + at) + load<f32>(from + at));
      }
    }
  }
}
