/**
 * Relative positions in attention over a window, decomposed as in SAM (section "Image encoder" of arXiv 2304.02643, after
 * arXiv 2112.01526): the score of query (y, x) and key (y', x') gets q . Rh[y - y' + H - 1] + q . Rw[x - x' + W - 1].
 *
 * A panel of sixteen queries has H + W rows of such products, one for each row and column of keys; a score adds two of
 * them. The backward pass sums slopes into rows of the same layout and spreads them over the tables.
 */
import { addValues, PITCH, scoresOf, tile } from "./attention-lanes";
import { queryColumn, queryRow } from "./attention-window";
import { wideVectors } from "./runtime";

let height: i32 = 0;
let columns: i32 = 0;
let width: i32 = 0;
/** Both tables times a factor, in scratch memory. */
let tables: usize = 0;
/** Products of a panel with one table. */
let products: usize = 0;

/** Rows of both tables. */
// @ts-ignore: decorator
@inline
export function tableRows(windowHeight: i32, windowWidth: i32): i32 {
  return 2 * (windowHeight + windowWidth) - 2;
}

/** Copies the tables times `factor` to scratch memory from `at` on. */
export function prepareRelative(
  rowTable: usize,
  columnTable: usize,
  windowHeight: i32,
  windowWidth: i32,
  channels: i32,
  factor: f32,
  at: usize,
): void {
  height = windowHeight;
  columns = windowWidth;
  width = channels;
  tables = at;
  const rows = tableRows(height, columns);
  products = at + <usize>(rows + 6) * ((<usize>width) << 2);
  const split = (2 * height - 1) * width;
  for (let i = 0; i < rows * width; i++) {
    const from = i < split ? rowTable + ((<usize>i) << 2) : columnTable + ((<usize>(i - split)) << 2);
    store<f32>(tables + ((<usize>i) << 2), factor * load<f32>(from));
  }
}

/** First row of the tables that matters to queries at `low` or later of an axis whose rows start at `start`. */
// @ts-ignore: decorator
@inline
function tableAt(start: i32, low: i32): usize {
  return tables + ((<usize>(start + low) * <usize>width) << 2);
}

/** The smallest column of a run of queries: 0 if the run covers more than one row. */
// @ts-ignore: decorator
@inline
function lowColumn(first: i32, last: i32): i32 {
  return queryRow(first) == queryRow(last) ? queryColumn(first) : 0;
}

// @ts-ignore: decorator
@inline
function highColumn(first: i32, last: i32): i32 {
  return queryRow(first) == queryRow(last) ? queryColumn(last) : columns - 1;
}

/**
 * Products of the queries of a panel, `first` to `first + lanes` of the open window, with the tables: `to` gets `height`
 * rows for the rows of keys, then `columns` for their columns.
 */
export function relativePanel(
  panel: usize,
  first: i32,
  lanes: i32,
  to: usize,
  half: bool,
  constants: usize,
): void {
  const last = first + lanes - 1;
  const bytes = (<usize>width) << 2;
  for (let axis = 0; axis < 2; axis++) {
    const size = axis == 0 ? height : columns;
    const start = axis == 0 ? 0 : 2 * height - 1;
    const low = axis == 0 ? queryRow(first) : lowColumn(first, last);
    const high = axis == 0 ? queryRow(last) : highColumn(first, last);
    scoresOf(tableAt(start, low), bytes, high - low + size, width, panel, products, half, constants);
    for (let i = 0; i < 16; i++) {
      const query = min(last, first + i);
      const at = axis == 0 ? queryRow(query) : queryColumn(query);
      // Row at - key + size - 1 of the table, of which the products start with row `low`.
      let from = products + <usize>(at - low + size - 1) * PITCH + ((<usize>i) << 2);
      let row = to + ((<usize>i) << 2);
      for (let key = 0; key < size; key++) {
        store<f32>(row, load<f32>(from));
        from -= PITCH;
        row += PITCH;
      }
    }
    to += <usize>size * PITCH;
  }
}

/** Adds a panel's products to the scores [count][16] of keys from `key` on. */
export function addRelative(scores: usize, key: i32, count: i32, panel: usize): void {
  let y = key / columns;
  let x = key % columns;
  let left = count;
  while (left > 0) {
    const run = min(left, columns - x);
    const row = panel + <usize>y * PITCH;
    const r0 = v128.load(row);
    const r1 = v128.load(row, 16);
    const r2 = v128.load(row, 32);
    const r3 = v128.load(row, 48);
    let from = panel + <usize>(height + x) * PITCH;
    for (let j = 0; j < run; j++) {
      const s0 = f32x4.add(v128.load(scores), f32x4.add(v128.load(from), r0));
      const s1 = f32x4.add(v128.load(scores, 16), f32x4.add(v128.load(from, 16), r1));
      v128.store(scores, s0);
      v128.store(scores, s1, 16);
      const s2 = f32x4.add(v128.load(scores, 32), f32x4.add(v128.load(from, 32), r2));
      const s3 = f32x4.add(v128.load(scores, 48), f32x4.add(v128.load(from, 48), r3));
      v128.store(scores, s2, 32);
      v128.store(scores, s3, 48);
      scores += PITCH;
      from += PITCH;
    }
    left -= run;
    x = 0;
    y++;
  }
}

// @ts-ignore: decorator
@inline
function addTo(to: usize, x0: v128, x1: v128, x2: v128, x3: v128): void {
  const y0 = f32x4.add(v128.load(to), x0);
  const y1 = f32x4.add(v128.load(to, 16), x1);
  v128.store(to, y0);
  v128.store(to, y1, 16);
  const y2 = f32x4.add(v128.load(to, 32), x2);
  const y3 = f32x4.add(v128.load(to, 48), x3);
  v128.store(to, y2, 32);
  v128.store(to, y3, 48);
}

/** Adds the slopes [count][16] of keys from `key` on to the rows of a panel that the keys' scores added. */
export function addSlopes(slopes: usize, key: i32, count: i32, panel: usize): void {
  let y = key / columns;
  let x = key % columns;
  for (let j = 0; j < count; j++) {
    const s0 = v128.load(slopes);
    const s1 = v128.load(slopes, 16);
    const s2 = v128.load(slopes, 32);
    const s3 = v128.load(slopes, 48);
    addTo(panel + <usize>y * PITCH, s0, s1, s2, s3);
    addTo(panel + <usize>(height + x) * PITCH, s0, s1, s2, s3);
    slopes += PITCH;
    if (++x == columns) {
      x = 0;
      y++;
    }
  }
}

/**
 * What `slopes`, a panel of the layout of `relativePanel`, means for its queries and for the tables. `out` [width][16] gets
 * the sums over the tables (times their factor) of the queries' slopes; `gradient`, panels [rows of both tables + 6][16]
 * of sixteen channels, those over the queries, whose channels are panels `step` bytes apart from `channels` on.
 */
export function spreadSlopes(
  slopes: usize,
  first: i32,
  lanes: i32,
  out: usize,
  channels: usize,
  step: usize,
  gradient: usize,
  constants: usize,
): void {
  const last = first + lanes - 1;
  const bytes = (<usize>width) << 2;
  const gradientStep = <usize>(tableRows(height, columns) + 6) * PITCH;
  for (let axis = 0; axis < 2; axis++) {
    const size = axis == 0 ? height : columns;
    const start = axis == 0 ? 0 : 2 * height - 1;
    const low = axis == 0 ? queryRow(first) : lowColumn(first, last);
    const high = axis == 0 ? queryRow(last) : highColumn(first, last);
    const rows = high - low + size;
    memory.fill(products, 0, <usize>(rows + 6) * PITCH);
    for (let i = 0; i < lanes; i++) {
      const at = axis == 0 ? queryRow(first + i) : queryColumn(first + i);
      let to = products + <usize>(at - low + size - 1) * PITCH + ((<usize>i) << 2);
      let from = slopes + ((<usize>i) << 2);
      for (let key = 0; key < size; key++) {
        store<f32>(to, load<f32>(from));
        to -= PITCH;
        from += PITCH;
      }
    }
    addValues(products, tableAt(start, low), bytes, rows, out, width, false, constants);
    const to = gradient + <usize>(start + low) * PITCH;
    for (let c = 0; c < width; c += 16) {
      const panel = <usize>(c >> 4);
      const narrow = width - c <= 8;
      for (let r = 0; r < rows; r += 6) {
        const at = (<usize>r) << 6;
        tile(
          products + at,
          PITCH,
          4,
          channels + panel * step,
          16,
          to + panel * gradientStep + at,
          1,
          narrow,
          wideVectors(),
          constants,
        );
      }
    }
    slopes += <usize>size * PITCH;
  }
}
