/**
 * Values rounded to a format of fewer bits and back, with one scale for each tile of a matrix: what a product in that format would
 * read. e4m3 and e5m2 are scaled so that the largest magnitude of a tile is their largest; bf16 needs no scale.
 */
import { nextUnit } from "./runtime";
import { unitsOf } from "./units";

const E4M3: i32 = 0;
const BF16: i32 = 2;
/** Rows of a unit, unless a tile has more. */
const UNIT_ROWS: i32 = 16;
/** A tile with no larger magnitude counts as zeros: its scale would not be finite. */
const TINY: f32 = 1e-30;

/** Rounded to nearest even in units of the last place of a format with `mantissa` bits and exponents from that of `least` on. */
// @ts-ignore: decorator
@inline
function nearest(x: v128, scale: v128, least: v128, mantissa: v128): v128 {
  const v = f32x4.div(x, scale);
  const power = i32x4.max_u(v128.and(v, i32x4.splat(0x7f800000)), least);
  const step = i32x4.sub(power, mantissa);
  // Powers of two: the exponent of the inverse is the opposite.
  const inverse = i32x4.sub(i32x4.splat(0x7f000000), step);
  return f32x4.mul(f32x4.mul(f32x4.nearest(f32x4.mul(v, inverse)), step), scale);
}

/** The upper 16 bits, rounded to nearest even; what is no number stays one. */
// @ts-ignore: decorator
@inline
function nearestBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const up = i32x4.add(x, i32x4.add(odd, i32x4.splat(0x7fff)));
  const finite = f32x4.eq(f32x4.sub(x, x), f32x4.splat(0));
  return v128.bitselect(v128.and(up, i32x4.splat(0xffff0000)), x, finite);
}

/** Largest magnitude of `rows` x `columns` values, in every lane; columns in fours, then one by one. */
// @ts-ignore: decorator
@inline
function largest(x: usize, rows: i32, columns: i32, step: usize): f32 {
  let most = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    let c = 0;
    for (; c + 4 <= columns; c += 4) most = f32x4.max(most, f32x4.abs(v128.load(x + ((<usize>c) << 2))));
    for (; c < columns; c++) most = f32x4.max(most, f32x4.abs(v128.load32_splat(x + ((<usize>c) << 2))));
    x += step;
  }
  const half = f32x4.max(most, v128.shuffle<i32>(most, most, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.max(half, v128.shuffle<i32>(half, half, 1, 0, 3, 2)), 0);
}

/** One tile with one scale. */
function roundTile(x: usize, y: usize, rows: i32, columns: i32, step: usize, format: i32): void {
  const top: f32 = format == E4M3 ? 448 : 57344;
  const most: f32 = format == BF16 ? 1 : largest(x, rows, columns, step);
  if (most < TINY) {
    for (let r = 0; r < rows; r++) {
      memory.fill(y, 0, (<usize>columns) << 2);
      y += step;
    }
    return;
  }
  const scale = f32x4.splat(most / top);
  const least = f32x4.splat(format == E4M3 ? 0.015625 : 0.00006103515625);
  const mantissa = i32x4.splat((format == E4M3 ? 3 : 2) << 23);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c += 4) {
      const at = (<usize>c) << 2;
      if (c + 4 <= columns) {
        const v = v128.load(x + at);
        v128.store(y + at, format == BF16 ? nearestBf16(v) : nearest(v, scale, least, mantissa));
        continue;
      }
      for (let i = at; i < (<usize>columns) << 2; i += 4) {
        const v = v128.load32_splat(x + i);
        v128.store32_lane(y + i, format == BF16 ? nearestBf16(v) : nearest(v, scale, least, mantissa), 0);
      }
    }
    x += step;
    y += step;
  }
}

/** Four columns of `rows` values, each with a scale of its own. */
function roundColumns(x: usize, y: usize, rows: i32, step: usize, format: i32): void {
  let most = f32x4.splat(0);
  for (let r = 0; r < rows; r++) most = f32x4.max(most, f32x4.abs(v128.load(x + <usize>r * step)));
  const top: f32 = format == E4M3 ? 448 : 57344;
  const least = f32x4.splat(format == E4M3 ? 0.015625 : 0.00006103515625);
  const mantissa = i32x4.splat((format == E4M3 ? 3 : 2) << 23);
  const scale = f32x4.div(most, f32x4.splat(top));
  const none = f32x4.lt(most, f32x4.splat(TINY));
  for (let r = 0; r < rows; r++) {
    const v = nearest(v128.load(x), scale, least, mantissa);
    v128.store(y, v128.andnot(v, none));
    x += step;
    y += step;
  }
}

/**
 * y [rows, n] = x in a format of fewer bits, with a scale for each tile of `tileRows` x `tileColumns`. Arguments: x, y; rows, n,
 * tileRows, tileColumns, format (0: e4m3, 1: e5m2, 2: bf16).
 */
export function round_tiles(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const rows = load<i32>(a, 8);
  const n = load<i32>(a, 12);
  const tileRows = load<i32>(a, 16);
  const tileColumns = load<i32>(a, 20);
  const format = load<i32>(a, 24);
  const step = (<usize>n) << 2;
  const high = max(tileRows, UNIT_ROWS - (UNIT_ROWS % tileRows));
  for (let u = nextUnit(0); u < unitsOf(rows, high); u = nextUnit(0)) {
    for (let r = u * high; r < min(rows, (u + 1) * high); r += tileRows) {
      const count = min(tileRows, rows - r);
      const from = <usize>r * step;
      let c = 0;
      if (tileColumns == 1 && format != BF16) {
        for (; c + 4 <= n; c += 4) {
          const at = from + ((<usize>c) << 2);
          roundColumns(x + at, y + at, count, step, format);
        }
      }
      for (; c < n; c += tileColumns) {
        const at = from + ((<usize>c) << 2);
        roundTile(x + at, y + at, count, min(tileColumns, n - c), step, format);
      }
    }
  }
}
