/** Quantized weights as floats: rows, rows as columns, and rows by number. Exact: a scale has 11 bits. */
import { loadF16, loadF16x4 } from "./math";
import { groupSize, tileSize } from "./quantized-lanes";
import { nextUnit, scratch } from "./runtime";

/** Elements of a unit. */
const UNIT: i32 = 16384;

/** Four signed bytes at the bottom of `bytes` times the scale. */
// @ts-ignore: decorator
@inline
function put4(bytes: v128, scale: v128, to: usize): void {
  const wide = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(bytes));
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(wide), scale));
}

/** Row `r` of a tile: 32 numbers at `to`. */
function decodeRow(format: i32, tile: usize, r: usize, to: usize): void {
  const scale = f32x4.splat(loadF16(tile + (r << 1)));
  if (format == 0) {
    const from = tile + (r << 2);
    const low = i8x16.splat(0x0f);
    const eight = i8x16.splat(8);
    for (let p: usize = 0; p < 4; p++) {
      const v = v128.load32_zero(from + (p << 5), 16);
      const at = to + (p << 4);
      put4(i8x16.sub(v128.and(v, low), eight), scale, at);
      put4(i8x16.sub(i8x16.shr_u(v, 4), eight), scale, at + 64);
    }
    return;
  }
  const from = tile + 16 + (r << 1);
  for (let p: usize = 0; p < 16; p += 2) {
    const first = <u32>load<u16>(from + (p << 4));
    const second = <u32>load<u16>(from + (p << 4), 16);
    put4(i32x4.splat(first | (second << 16)), scale, to + (p << 3));
  }
}

/** A row of k numbers; `group` is the row's group of tiles. */
function decode(format: i32, group: usize, r: usize, k: i32, to: usize): void {
  const tileBytes = tileSize(format);
  let i = 0;
  for (; i + 32 <= k; i += 32) {
    decodeRow(format, group, r, to + ((<usize>i) << 2));
    group += tileBytes;
  }
  if (i == k) return;
  const pad = scratch();
  decodeRow(format, group, r, pad);
  memory.copy(to + ((<usize>i) << 2), pad, (<usize>(k - i)) << 2);
}

/** Eight numbers, one of each row of a tile, of which `n` from row `r` on are stored. */
// @ts-ignore: decorator
@inline
function putColumn(low: v128, high: v128, to: usize, r: usize, n: usize, pad: usize): void {
  if (n == 8) {
    v128.store(to, low);
    v128.store(to, high, 16);
    return;
  }
  v128.store(pad, low);
  v128.store(pad, high, 16);
  memory.copy(to, pad + (r << 2), n << 2);
}

/** A tile as columns: number i of row r at `to` + i step + 4 (r - first). */
function decodeColumns(
  format: i32,
  tile: usize,
  first: usize,
  n: usize,
  columns: i32,
  to: usize,
  step: usize,
): void {
  const pad = scratch();
  const scale0 = loadF16x4(tile);
  const scale1 = loadF16x4(tile + 8);
  const eight = i32x4.splat(8);
  const low = i32x4.splat(0x0f);
  for (let c = 0; c < columns; c++) {
    let a: v128;
    let b: v128;
    if (format == 0) {
      const from = tile + ((<usize>((c & 15) >> 2)) << 5);
      const shift = ((c & 3) << 3) + (c >= 16 ? 4 : 0);
      a = i32x4.sub(v128.and(i32x4.shr_u(v128.load(from, 16), shift), low), eight);
      b = i32x4.sub(v128.and(i32x4.shr_u(v128.load(from, 32), shift), low), eight);
    } else {
      const from = tile + ((<usize>(c >> 1)) << 4);
      const shift = c & 1 ? 0 : 8;
      a = i32x4.shr_s(i32x4.shl(v128.load16x4_s(from, 16), 16 + shift), 24);
      b = i32x4.shr_s(i32x4.shl(v128.load16x4_s(from, 24), 16 + shift), 24);
    }
    a = f32x4.mul(f32x4.convert_i32x4_s(a), scale0);
    b = f32x4.mul(f32x4.convert_i32x4_s(b), scale1);
    putColumn(a, b, to + <usize>c * step, first, n, pad);
  }
}

/**
 * Rows `first` to `first` + `rows` of a matrix. Arguments: w (its tiles), y (f32 [rows, k], or [k, rows] if
 * `transpose`); format, first, rows, k, transpose.
 */
export function dequantize_rows(a: usize): void {
  const w = load<usize>(a);
  const y = load<usize>(a, 4);
  const format = load<i32>(a, 8);
  const first = load<i32>(a, 12);
  const rows = load<i32>(a, 16);
  const k = load<i32>(a, 20);
  const transpose = load<i32>(a, 24) != 0;
  const groupBytes = groupSize(format, k);
  const begin = first >> 3;
  const units = rows == 0 ? 0 : ((first + rows + 7) >> 3) - begin;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const top = (begin + u) << 3;
    const from = max(first, top);
    const end = min(first + rows, top + 8);
    const group = w + <usize>(begin + u) * groupBytes;
    if (!transpose) {
      for (let r = from; r < end; r++) {
        decode(format, group, <usize>(r - top), k, y + ((<usize>(r - first) * <usize>k) << 2));
      }
      continue;
    }
    const step = (<usize>rows) << 2;
    let tile = group;
    for (let i = 0; i < k; i += 32) {
      const to = y + <usize>i * step + ((<usize>(from - first)) << 2);
      decodeColumns(format, tile, <usize>(from - top), <usize>(end - from), min(32, k - i), to, step);
      tile += tileSize(format);
    }
  }
}

/**
 * y[i] = row ids[i] of a table, NaN if the id is out of range. Arguments: w, ids, y; format, rows (ids),
 * vocabulary, k.
 */
export function quantized_embedding(a: usize): void {
  const w = load<usize>(a);
  const ids = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const format = load<i32>(a, 12);
  const rows = load<i32>(a, 16);
  const vocabulary = load<i32>(a, 20);
  const k = load<i32>(a, 24);
  const groupBytes = groupSize(format, k);
  const each = max(1, UNIT / max(1, k));
  const units = (rows + each - 1) / each;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const end = min(rows, (u + 1) * each);
    for (let r = u * each; r < end; r++) {
      const id = load<i32>(ids + ((<usize>r) << 2));
      const to = y + ((<usize>r * <usize>k) << 2);
      if (<u32>id >= <u32>vocabulary) {
        for (let i = 0; i < k; i++) store<f32>(to + ((<usize>i) << 2), f32.reinterpret_i32(0x7fc00000));
        continue;
      }
      decode(format, w + <usize>(id >> 3) * groupBytes, <usize>(id & 7), k, to);
    }
  }
}
