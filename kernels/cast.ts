/**
 * Rows of f32, bf16 and f16 into each other: narrowing rounds to nearest even (beyond the range to infinity), widening
 * is exact. dtypes are 0 for f32, 1 for bf16, 2 for f16.
 */
import { loadBf16, loadBf16x4, loadF16, loadF16x4, storeBf16, storeBf16x4 } from "./math";
import { nextUnit } from "./runtime";
import { rowsPerUnit, unitsOf } from "./units";

/** Elements of a unit of one long row. */
const UNIT: i32 = 16384;

/** f16 bits of four f32 in the lanes' low halves. */
// @ts-ignore: decorator
@inline
function halfBits(x: v128): v128 {
  const sign = v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000));
  const size = v128.and(x, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
  const rounded = i32x4.shr_u(
    i32x4.add(i32x4.add(i32x4.sub(size, i32x4.splat(112 << 23)), i32x4.splat(0xfff)), odd),
    13,
  );
  // Below 2^-14: added to a half, the mantissa ends where that of a subnormal does, rounded on the way.
  const half = f32x4.splat(0.5);
  const small = i32x4.sub(f32x4.add(size, half), half);
  let bits = v128.bitselect(small, rounded, i32x4.lt_u(size, i32x4.splat(113 << 23)));
  // From 65520 on the nearest is infinity.
  bits = v128.bitselect(i32x4.splat(0x7c00), bits, i32x4.gt_u(size, i32x4.splat(0x477fefff)));
  const nan = v128.or(i32x4.splat(0x7e00), v128.and(i32x4.shr_u(size, 13), i32x4.splat(0x3ff)));
  bits = v128.bitselect(nan, bits, f32x4.ne(x, x));
  return v128.or(bits, sign);
}

// @ts-ignore: decorator
@inline
function read4(at: usize, dtype: i32): v128 {
  if (dtype == 1) return loadBf16x4(at);
  if (dtype == 2) return loadF16x4(at);
  return v128.load(at);
}

// @ts-ignore: decorator
@inline
function write4(at: usize, x: v128, dtype: i32): void {
  if (dtype == 1) storeBf16x4(at, x);
  else if (dtype == 2) {
    const bits = halfBits(x);
    v128.store64_lane(at, i16x8.narrow_i32x4_u(bits, bits), 0);
  } else v128.store(at, x);
}

// @ts-ignore: decorator
@inline
function read1(at: usize, dtype: i32): f32 {
  if (dtype == 1) return loadBf16(at);
  if (dtype == 2) return loadF16(at);
  return load<f32>(at);
}

// @ts-ignore: decorator
@inline
function write1(at: usize, x: f32, dtype: i32): void {
  if (dtype == 1) storeBf16(at, x);
  else if (dtype == 2) store<u16>(at, <u16>i32x4.extract_lane(halfBits(f32x4.splat(x)), 0));
  else store<f32>(at, x);
}

// @ts-ignore: decorator
@inline
function cast(x: usize, y: usize, n: i32, from: i32, to: i32): void {
  const step: usize = from == 0 ? 4 : 2;
  const stepTo: usize = to == 0 ? 4 : 2;
  for (; n >= 4; n -= 4) {
    write4(y, read4(x, from), to);
    x += 4 * step;
    y += 4 * stepTo;
  }
  for (; n > 0; n--) {
    write1(y, read1(x, from), to);
    x += step;
    y += stepTo;
  }
}

function castRow(x: usize, y: usize, n: i32, from: i32, to: i32): void {
  if (from == to) memory.copy(y, x, (<usize>n) << (from == 0 ? 2 : 1));
  else if (from == 0) {
    if (to == 1) cast(x, y, n, 0, 1);
    else cast(x, y, n, 0, 2);
  } else if (from == 1) {
    if (to == 0) cast(x, y, n, 1, 0);
    else cast(x, y, n, 1, 2);
  } else {
    if (to == 0) cast(x, y, n, 2, 0);
    else cast(x, y, n, 2, 1);
  }
}

/** y[r][0..n) = x[r][0..n) in another dtype. Arguments: x, y; rows, n, xStride, yStride, dtypes of x and y. */
export function cast_rows(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const rows = load<i32>(a, 8);
  const n = load<i32>(a, 12);
  const from = load<i32>(a, 24);
  const to = load<i32>(a, 28);
  const shift: usize = from == 0 ? 2 : 1;
  const shiftTo: usize = to == 0 ? 2 : 1;
  const xStride = (<usize>load<i32>(a, 16)) << shift;
  const yStride = (<usize>load<i32>(a, 20)) << shiftTo;
  if (rows == 1) {
    const count = unitsOf(n, UNIT);
    for (let u = nextUnit(); u < count; u = nextUnit()) {
      const begin = u * UNIT;
      castRow(
        x + ((<usize>begin) << shift),
        y + ((<usize>begin) << shiftTo),
        min(n, begin + UNIT) - begin,
        from,
        to,
      );
    }
    return;
  }
  const perUnit = rowsPerUnit(n);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    for (let r = u * perUnit; r < min(rows, (u + 1) * perUnit); r++) {
      castRow(x + <usize>r * xStride, y + <usize>r * yStride, n, from, to);
    }
  }
}

/** Targets of a call of `store_rows`, and integers for each: its rows, the first of them in x, and in y. */
const TARGETS: usize = 8;
const FIELDS: usize = 3;

/**
 * Rows of x into up to eight matrices: row `from + r` of x becomes channels `channel` to `channel + n` of row `to + r`
 * of y. Arguments: x (f32), eight y?; targets, n, width (of a row of y), channel, dtype of y, then FIELDS for each of
 * the eight.
 */
export function store_rows(a: usize): void {
  const x = load<usize>(a);
  const tables = a + 4;
  const ints = tables + (TARGETS << 2);
  const targets = load<i32>(ints);
  const n = load<i32>(ints, 4);
  const width = load<i32>(ints, 8);
  const channel = load<i32>(ints, 12);
  const dtype = load<i32>(ints, 16);
  const fields = ints + 20;
  const shift: usize = dtype == 0 ? 2 : 1;
  const perUnit = rowsPerUnit(n);
  let first = 0;
  let next = nextUnit();
  for (let t: usize = 0; t < <usize>targets; t++) {
    const own = fields + ((t * FIELDS) << 2);
    const rows = load<i32>(own);
    const from = x + ((<usize>load<i32>(own, 4) * <usize>n) << 2);
    const to =
      load<usize>(tables + (t << 2)) + ((<usize>load<i32>(own, 8) * <usize>width + <usize>channel) << shift);
    const end = first + unitsOf(rows, perUnit);
    for (; next < end; next = nextUnit()) {
      const begin = (next - first) * perUnit;
      for (let r = begin; r < min(rows, begin + perUnit); r++) {
        castRow(from + ((<usize>r * <usize>n) << 2), to + ((<usize>r * <usize>width) << shift), n, 0, dtype);
      }
    }
    first = end;
  }
}

/** y = value rounded to its dtype. Arguments: y; n, dtype; value. */
export function fill_narrow(a: usize): void {
  const y = load<usize>(a);
  const n = load<i32>(a, 4);
  const dtype = load<i32>(a, 8);
  const wide = f32x4.splat(load<f32>(a, 12));
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) write4(y + ((<usize>i) << 1), wide, dtype);
    for (; i < end; i++) write1(y + ((<usize>i) << 1), f32x4.extract_lane(wide, 0), dtype);
  }
}
