/**
 * Windows of a grid of tokens, by index arithmetic: which rows of the fused projection `[B, T, 3, H, D]` are the queries and
 * keys of a window, and how they reach a thread's scratch memory. T is the grid row by row.
 *
 * Windows that reach over the bottom or the right edge keep their size: the positions outside are keys with one given row
 * (`padding`, [3, H, D]), and no queries.
 */
import { PITCH, packFour } from "./attention-lanes";
import { copyRow } from "./attention-tiles";

// What all windows of a call have in common; every thread has its own.
let qkv: usize = 0;
let padding: usize = 0;
let gridHeight: i32 = 1;
let gridWidth: i32 = 1;
let windowHeight: i32 = 1;
let windowWidth: i32 = 1;
let heads: i32 = 1;
let width: i32 = 0;
let across: i32 = 1;
let down: i32 = 1;
// The open window: the image's first token, the window's first row and column, and how much of it lies in the grid.
let origin: i32 = 0;
let top: i32 = 0;
let left: i32 = 0;
let visibleHeight: i32 = 0;
let visibleWidth: i32 = 0;

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}

export function prepareWindows(
  projection: usize,
  outside: usize,
  rows: i32,
  columns: i32,
  high: i32,
  wide: i32,
  headCount: i32,
  channels: i32,
): void {
  qkv = projection;
  padding = outside;
  gridHeight = rows;
  gridWidth = columns;
  windowHeight = high;
  windowWidth = wide;
  heads = headCount;
  width = channels;
  down = ceilDiv(rows, high);
  across = ceilDiv(columns, wide);
}

/** Windows of an image. */
export function windowCount(): i32 {
  return down * across;
}

export function openWindow(image: i32, window: i32): void {
  origin = image * gridHeight * gridWidth;
  top = (window / across) * windowHeight;
  left = (window % across) * windowWidth;
  visibleHeight = min(windowHeight, gridHeight - top);
  visibleWidth = min(windowWidth, gridWidth - left);
}

/** Queries of the open window. */
export function queryCount(): i32 {
  return visibleHeight * visibleWidth;
}

/** Row in the open window of a query. */
// @ts-ignore: decorator
@inline
export function queryRow(query: i32): i32 {
  return query / visibleWidth;
}

/** Column in the open window of a query. */
// @ts-ignore: decorator
@inline
export function queryColumn(query: i32): i32 {
  return query % visibleWidth;
}

/** Token (of all images) of a query. */
export function tokenOf(query: i32): i32 {
  return origin + (top + queryRow(query)) * gridWidth + left + queryColumn(query);
}

/** Token (of all images) of a key, -1 outside the grid. */
export function keyToken(key: i32): i32 {
  const y = key / windowWidth;
  const x = key % windowWidth;
  if (y >= visibleHeight || x >= visibleWidth) return -1;
  return origin + (top + y) * gridWidth + left + x;
}

/** Address of a head's row of a token in a tensor of the projection's shape; `part` 0 is q, 1 k, 2 v. */
// @ts-ignore: decorator
@inline
export function projectionRow(base: usize, token: i32, part: i32, head: i32): usize {
  return base + ((((<usize>token * 3 + <usize>part) * <usize>heads + <usize>head) * <usize>width) << 2);
}

/** Address of a head's row of a token in a tensor `[B, T, H, D]`. */
// @ts-ignore: decorator
@inline
export function outputRow(base: usize, token: i32, head: i32): usize {
  return base + (((<usize>token * <usize>heads + <usize>head) * <usize>width) << 2);
}

/** Keys `begin` to `begin + count` of a head of the open window, and their values, as rows of `width` floats. */
export function copyKeys(head: i32, begin: i32, count: i32, keys: usize, values: usize): void {
  const bytes = (<usize>width) << 2;
  let y = begin / windowWidth;
  let x = begin % windowWidth;
  for (let j = 0; j < count; j++) {
    const inside = y < visibleHeight && x < visibleWidth;
    const token = inside ? origin + (top + y) * gridWidth + left + x : 0;
    const from = inside ? qkv : padding;
    copyRow(projectionRow(from, token, 1, head), keys, width);
    copyRow(projectionRow(from, token, 2, head), values, width);
    keys += bytes;
    values += bytes;
    if (++x == windowWidth) {
      x = 0;
      y++;
    }
  }
}

/** Where a query's row lies: in the projection's queries if `outputs` is 0, else in `outputs` [B, T, H, D]. */
// @ts-ignore: decorator
@inline
function rowOfQuery(outputs: usize, query: i32, head: i32): usize {
  const token = tokenOf(query);
  return outputs ? outputRow(outputs, token, head) : projectionRow(qkv, token, 0, head);
}

/**
 * Rows `first` to `first + n` of the open window's queries (or of `outputs`) times `factor` as panels of sixteen, `step`
 * bytes apart; lanes past the last row get `blank`, a row of zeros.
 */
export function packQueries(
  outputs: usize,
  head: i32,
  first: i32,
  n: i32,
  to: usize,
  step: usize,
  factor: f32,
  blank: usize,
): void {
  for (let i = 0; i < ((n + 15) & ~15); i += 4) {
    const x0 = i < n ? rowOfQuery(outputs, first + i, head) : blank;
    const x1 = i + 1 < n ? rowOfQuery(outputs, first + i + 1, head) : blank;
    const x2 = i + 2 < n ? rowOfQuery(outputs, first + i + 2, head) : blank;
    const x3 = i + 3 < n ? rowOfQuery(outputs, first + i + 3, head) : blank;
    packFour(x0, x1, x2, x3, width, to + <usize>(i >> 4) * step + ((<usize>(i & 15)) << 2), factor);
  }
}

/** The same rows as they are, in panels [room][16] of sixteen channels; zeros past the last row and channel. */
export function packChannels(outputs: usize, head: i32, first: i32, n: i32, room: i32, to: usize): void {
  const step = <usize>room * PITCH;
  memory.fill(to, 0, <usize>((width + 15) >> 4) * step);
  for (let i = 0; i < n; i++) {
    const from = rowOfQuery(outputs, first + i, head);
    const row = to + <usize>i * PITCH;
    for (let c = 0; c < width; c += 16) {
      copyRow(from + ((<usize>c) << 2), row + <usize>(c >> 4) * step, min(16, width - c));
    }
  }
}
