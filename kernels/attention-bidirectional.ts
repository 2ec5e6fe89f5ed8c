/**
 * Bidirectional attention of vision towers, forward: every query of a window against every key of it, with a running softmax
 * (the order of FlashAttention-2) and SAM's relative positions where there are tables for them.
 *
 * A unit is a run of queries of one head of one window. Queries are the lanes of panels; keys and values are copied block
 * by block out of the fused projection, whose rows lie far apart, and serve all panels of the unit.
 */
import { lseOf } from "./attention";
import {
  addValues,
  CONSTANT_BYTES,
  LOG2E,
  LOWEST,
  PITCH,
  rescale,
  scoresOf,
  softmaxLanes,
  unpackFour,
  writeConstants,
} from "./attention-lanes";
import { addRelative, prepareRelative, relativePanel } from "./attention-relative";
import {
  copyKeys,
  openWindow,
  outputRow,
  packQueries,
  prepareWindows,
  queryCount,
  tokenOf,
  windowCount,
} from "./attention-window";
import { nextUnit, scratch } from "./runtime";

/**
 * Most queries of a unit: keys and values, whose rows lie on pages of their own, are copied once per unit. Heads wider than
 * `ROOM` allows take the lesser number, so that a unit stays in the second-level cache. Fewest if there are few units.
 */
const MOST_ROWS: i32 = 592;
const WIDE_ROWS: i32 = 208;
/** Floats of a unit's queries. */
const ROOM: i32 = 53248;
const FEWEST_ROWS: i32 = 48;
/** Units wanted: enough for threads of unequal speed to end together. */
const UNITS_WANTED: i32 = 16;
/** Most keys of a block, a multiple of six. */
const KEYS: i32 = 120;

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}

/**
 * Arguments: qkv [B, T, 3, H, D], padding? [3, H, D], rowTable?, columnTable?, y [B, T, H, D], lse? [B, H, T]; batch,
 * gridHeight, gridWidth (T is their product), windowHeight, windowWidth, heads, width; scale, not 0 if there are tables.
 */
export function attention_bidirectional(a: usize): void {
  const qkv = load<usize>(a);
  const padding = load<usize>(a, 4);
  const rowTable = load<usize>(a, 8);
  const columnTable = load<usize>(a, 12);
  const y = load<usize>(a, 16);
  const lse = load<usize>(a, 20);
  const batch = load<i32>(a, 24);
  const gridHeight = load<i32>(a, 28);
  const gridWidth = load<i32>(a, 32);
  const windowHeight = load<i32>(a, 36);
  const windowWidth = load<i32>(a, 40);
  const heads = load<i32>(a, 44);
  const width = load<i32>(a, 48);
  const scale = load<f32>(a, 52);

  prepareWindows(qkv, padding, gridHeight, gridWidth, windowHeight, windowWidth, heads, width);
  const tokens = gridHeight * gridWidth;
  const keys = windowHeight * windowWidth;
  const windows = windowCount();
  const enough = min(ceilDiv(keys, FEWEST_ROWS), ceilDiv(UNITS_WANTED, batch * windows * heads));
  const most = min(MOST_ROWS, max(WIDE_ROWS, (ROOM / width) & ~15));
  const blocks = max(ceilDiv(keys, most), enough);
  const rows = (ceilDiv(keys, blocks) + 15) & ~15;

  // Blocks of about equal size, in whole tiles.
  const keyBlocks = ceilDiv(keys, KEYS);
  const blockKeys = ceilDiv(ceilDiv(keys, keyBlocks), 6) * 6;

  const relative = rowTable != 0;
  const rowBytes = (<usize>width) << 2;
  const panelBytes = <usize>width * PITCH;
  const outBytes = <usize>(width + 5) * PITCH;
  const relativeStep = <usize>(windowHeight + windowWidth) * PITCH;
  const panelRoom = <usize>(rows >> 4);
  const constants = scratch();
  const qPanels = constants + CONSTANT_BYTES;
  const outPanels = qPanels + panelRoom * panelBytes;
  const maxima = outPanels + panelRoom * outBytes;
  const sums = maxima + ((<usize>rows) << 2);
  const factors = sums + ((<usize>rows) << 2);
  const scores = factors + PITCH;
  const kCopy = scores + <usize>(KEYS + 6) * PITCH;
  const vCopy = kCopy + <usize>(KEYS + 6) * rowBytes;
  const blank = vCopy + <usize>(KEYS + 6) * rowBytes;
  const relativePanels = blank + <usize>(width + 4) * 4;
  writeConstants(constants);
  memory.fill(blank, 0, rowBytes);
  if (relative) {
    // Panels hold q times scale log2 e: relative positions take the plain q.
    const at = relativePanels + panelRoom * relativeStep;
    prepareRelative(rowTable, columnTable, windowHeight, windowWidth, width, 1 / scale, at);
  }

  const units = batch * windows * heads * blocks;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const block = u % blocks;
    const head = (u / blocks) % heads;
    const window = u / blocks / heads;
    const image = window / windows;
    openWindow(image, window % windows);
    const first = block * rows;
    const n = min(rows, queryCount() - first);
    if (n <= 0) continue;
    const panels = (n + 15) >> 4;
    packQueries(0, head, first, n, qPanels, panelBytes, scale * LOG2E, blank);
    memory.fill(outPanels, 0, <usize>panels * outBytes);
    for (let i = 0; i < panels << 4; i++) {
      store<f32>(maxima + ((<usize>i) << 2), LOWEST);
      store<f32>(sums + ((<usize>i) << 2), 0);
    }
    for (let p = 0; relative && p < panels; p++) {
      const lanes = min(16, n - (p << 4));
      const panel = qPanels + <usize>p * panelBytes;
      const to = relativePanels + <usize>p * relativeStep;
      relativePanel(panel, first + (p << 4), lanes, to, lanes <= 8, constants);
    }
    for (let key = 0; key < keys; key += blockKeys) {
      const count = min(blockKeys, keys - key);
      copyKeys(head, key, count, kCopy, vCopy);
      for (let p = 0; p < panels; p++) {
        const half = n - (p << 4) <= 8;
        const out = outPanels + <usize>p * outBytes;
        const at = (<usize>p) << 6;
        scoresOf(kCopy, rowBytes, count, width, qPanels + <usize>p * panelBytes, scores, half, constants);
        if (relative) addRelative(scores, key, count, relativePanels + <usize>p * relativeStep);
        if (softmaxLanes(scores, count, maxima + at, sums + at, factors, false, constants)) {
          rescale(out, width, factors);
        }
        if (!half) {
          const next = at + 32;
          if (softmaxLanes(scores + 32, count, maxima + next, sums + next, factors, false, constants)) {
            rescale(out + 32, width, factors);
          }
        }
        addValues(scores, vCopy, rowBytes, count, out, width, half, constants);
      }
    }
    for (let i = 0; i < n; i += 4) {
      for (let j = i; j < i + 4; j++) {
        const sum: f32 = j < n ? load<f32>(sums + ((<usize>j) << 2)) : 1;
        store<f32>(factors + ((<usize>(j - i)) << 2), 1 / sum);
      }
      const last = first + n - 1;
      const y0 = outputRow(y, tokenOf(first + i), head);
      const y1 = outputRow(y, tokenOf(min(last, first + i + 1)), head);
      const y2 = outputRow(y, tokenOf(min(last, first + i + 2)), head);
      const y3 = outputRow(y, tokenOf(min(last, first + i + 3)), head);
      const from = outPanels + <usize>(i >> 4) * outBytes + ((<usize>(i & 15)) << 2);
      unpackFour(from, width, n - i, y0, y1, y2, y3, factors);
    }
    for (let i = 0; i < n && lse != 0; i++) {
      const at = (<usize>i) << 2;
      const to = (image * heads + head) * tokens + (tokenOf(first + i) - image * tokens);
      store<f32>(lse + ((<usize>to) << 2), lseOf(load<f32>(maxima + at), load<f32>(sums + at)));
    }
  }
}
