/**
 * A unit of attention: up to 64 query rows against a run of keys with a running softmax (the order of
 * FlashAttention-2), in base 2, without any matrix of scores beyond one block.
 *
 * The rows of a unit are the pairs (query, head of the group) of one key head, query by query, so that grouped heads
 * share each key that is read and widened. Maxima, sums and outputs stay in the thread's scratch memory until the
 * caller takes them with `emit`. A row's results are a function of its query and its keys alone, whatever rows come
 * with it: the others fill other lanes.
 */

import { DECODE_ROWS, decodeRows } from "./attention-decode";
import {
  addValues,
  CONSTANT_BYTES,
  LOG2E,
  LOWEST,
  PITCH,
  packFour,
  rescale,
  scoresOf,
  softmaxLanes,
  unpackFour,
  widen,
  writeConstants,
} from "./attention-lanes";
import { scratch, threads } from "./runtime";

/** Rows of a unit. */
export const ROWS: i32 = 64;
/** Keys of a block. */
const KEYS: i32 = 48;
/** Most queries, and most heads of a group, that are better off with dot products along the channels. */
const FEW: i32 = 2;
/** Units of a call for each thread, at least, before one takes several heads. */
const UNITS: i32 = 4;

// What the units of a call have in common; every thread has its own.
let group: i32 = 1;
let heads: i32 = 1;
let width: i32 = 0;
let valueWidth: i32 = 0;
let dtype: i32 = 0;
let shared: bool = false;
let scale: f32 = 1;
let kPitch: usize = 0;
let vPitch: usize = 0;
// Where things lie in scratch memory.
let constants: usize = 0;
let qPanels: usize = 0;
let outPanels: usize = 0;
let maxima: usize = 0;
let sums: usize = 0;
let factors: usize = 0;
let scores: usize = 0;
let kCopy: usize = 0;
let vCopy: usize = 0;
let panelBytes: usize = 0;
let outPanelBytes: usize = 0;
/** Outputs lie row by row and not as panels. */
let byRow: bool = false;
/** Heads of a query that a unit has. */
let span: i32 = 1;

/** Sets what the units of a call have in common. `values` is 0 if a key's first channels are its value. */
export function prepareUnits(
  headCount: i32,
  kvHeads: i32,
  keyWidth: i32,
  outWidth: i32,
  values: usize,
  type: i32,
  factor: f32,
): void {
  heads = headCount;
  group = headCount / kvHeads;
  width = keyWidth;
  valueWidth = outWidth;
  shared = values == 0;
  dtype = type;
  scale = factor;
  const shift: usize = type == 0 ? 2 : 1;
  kPitch = (<usize>(kvHeads * width)) << shift;
  vPitch = shared ? kPitch : (<usize>(kvHeads * valueWidth)) << shift;
  panelBytes = <usize>width * PITCH;
  outPanelBytes = <usize>(valueWidth + 5) * PITCH;
  constants = scratch();
  qPanels = constants + CONSTANT_BYTES;
  outPanels = qPanels + <usize>(ROWS >> 4) * panelBytes;
  maxima = outPanels + <usize>(ROWS >> 4) * outPanelBytes;
  sums = maxima + ((<usize>ROWS) << 2);
  factors = sums + ((<usize>ROWS) << 2);
  scores = factors + PITCH;
  kCopy = scores + <usize>(KEYS + 6) * PITCH;
  vCopy = kCopy + ((<usize>((KEYS + 6) * width)) << 2);
  writeConstants(constants);
}

/** Address of row (query, head of the unit) if `base` is that of row 0 and a query has `heads` rows. */
// @ts-ignore: decorator
@inline
export function rowOf(base: usize, row: i32, bytes: usize): usize {
  return base + (<usize>(row / span) * <usize>heads + <usize>(row % span)) * bytes;
}

/** Rows of results as panels of sixteen: from `base` on, times `factor`; lanes past the last row repeat it. */
function packRows(base: usize, first: i32, n: i32, channels: i32, to: usize, step: usize, factor: f32): void {
  const bytes = (<usize>channels) << 2;
  const last = first + n - 1;
  // A half of a panel without rows is never looked at.
  for (let i = 0; i < ((n + 7) & ~7); i += 4) {
    const x0 = rowOf(base, min(last, first + i), bytes);
    const x1 = rowOf(base, min(last, first + i + 1), bytes);
    const x2 = rowOf(base, min(last, first + i + 2), bytes);
    const x3 = rowOf(base, min(last, first + i + 3), bytes);
    packFour(x0, x1, x2, x3, channels, to + <usize>(i >> 4) * step + ((<usize>(i & 15)) << 2), factor);
  }
}

/**
 * Starts a unit of rows `first` to `first + n`: no key seen yet, or with what `output`, `largest` and `total` (of row 0)
 * hold of earlier keys.
 */
export function beginRows(
  qBase: usize,
  first: i32,
  n: i32,
  output: usize,
  largest: usize,
  total: usize,
): void {
  byRow = false;
  span = group;
  packRows(qBase, first, n, width, qPanels, panelBytes, scale * LOG2E);
  const lanes = (n + 15) & ~15;
  if (output) {
    packRows(output, first, n, valueWidth, outPanels, outPanelBytes, 1);
  } else {
    memory.fill(outPanels, 0, <usize>(lanes >> 4) * outPanelBytes);
  }
  for (let i = 0; i < lanes; i++) {
    const at = (<usize>i) << 2;
    const known = output != 0 && i < n;
    store<f32>(maxima + at, known ? load<f32>(rowOf(largest, first + i, 4)) : LOWEST);
    store<f32>(sums + at, known ? load<f32>(rowOf(total, first + i, 4)) : 0);
  }
}

/**
 * The rows of a unit against keys `begin` to `end`: row r sees key j while j <= past + r / group. `kBase` and `vBase`
 * are the addresses of key 0 of the key head.
 */
export function foldKeys(
  first: i32,
  n: i32,
  kBase: usize,
  vBase: usize,
  begin: i32,
  end: i32,
  past: i32,
): void {
  const rowBytes = (<usize>width) << 2;
  const outBytes = shared ? rowBytes : (<usize>valueWidth) << 2;
  const panels = (n + 15) >> 4;
  const last = first + n - 1;
  for (let key = begin; key < end; key += KEYS) {
    const count = min(KEYS, end - key);
    let kBlock = kBase + <usize>key * kPitch;
    let vBlock = shared ? kBlock : vBase + <usize>key * vPitch;
    let kStep = kPitch;
    let vStep = vPitch;
    // One panel reads each f32 key once: a copy would cost more than it saves. Tiles are whole, though, and what lies
    // past the last key is not ours to read.
    if (dtype != 0 || panels > 1 || key + KEYS + 6 > end) {
      for (let j: usize = 0; j < <usize>count; j++) {
        widen(kBlock + j * kPitch, dtype, kCopy + j * rowBytes, width, constants);
        if (!shared) widen(vBlock + j * vPitch, dtype, vCopy + j * outBytes, valueWidth, constants);
      }
      kBlock = kCopy;
      kStep = rowBytes;
      vBlock = shared ? kCopy : vCopy;
      vStep = outBytes;
    }
    for (let p = 0; p < panels; p++) {
      const row = first + (p << 4);
      const lanes = min(16, last + 1 - row);
      const half = lanes <= 8;
      const open = past + row / group + 1 - key;
      const seen = min(count, past + (row + lanes - 1) / group + 1 - key);
      if (seen <= 0) continue;
      const out = outPanels + <usize>p * outPanelBytes;
      const at = (<usize>p) << 6;
      scoresOf(kBlock, kStep, seen, width, qPanels + <usize>p * panelBytes, scores, half, constants);
      const masked = open < seen;
      if (masked) maskScores(seen, row, past - key);
      if (softmaxLanes(scores, seen, maxima + at, sums + at, factors, masked, constants)) {
        rescale(out, valueWidth, factors);
      }
      if (!half) {
        const next = at + 32;
        if (softmaxLanes(scores + 32, seen, maxima + next, sums + next, factors, masked, constants)) {
          rescale(out + 32, valueWidth, factors);
        }
      }
      addValues(scores, vBlock, vStep, seen, out, valueWidth, half, constants);
    }
  }
}

/** Scores of keys that a row of the panel does not see become LOWEST: key j is seen while j <= past + row / group. */
function maskScores(count: i32, row: i32, past: i32): void {
  for (let i = 0; i < 16; i++) {
    for (let j = max(0, past + (row + i) / group + 1); j < count; j++) {
      store<f32>(scores + <usize>j * PITCH + ((<usize>i) << 2), LOWEST);
    }
  }
}

/** Whether `tokens` queries go one by one. By the two sizes, not by their product: alone as beside another. */
export function isFew(tokens: i32): bool {
  return tokens <= FEW && group <= FEW;
}

/**
 * Key heads of a unit of few queries if a call has `units` of one each. Results do not depend on it, so that it may depend on the
 * number of threads.
 */
export function headsOfUnit(units: i32): i32 {
  return max(1, min(DECODE_ROWS / (FEW * group), units / (UNITS * threads())));
}

/**
 * What beginRows and foldKeys do, for all rows of a few queries and of `keyHeads` heads of the keys, of which kBase and vBase are
 * the first; with `more` they go on after earlier keys.
 */
export function fewRows(
  qBase: usize,
  tokens: i32,
  keyHeads: i32,
  kBase: usize,
  vBase: usize,
  begin: i32,
  end: i32,
  past: i32,
  more: bool = false,
): void {
  byRow = true;
  span = keyHeads * group;
  const kFrom = kBase + <usize>begin * kPitch;
  const vFrom = shared ? kFrom : vBase + <usize>begin * vPitch;
  decodeRows(
    qBase,
    (<usize>(heads * width)) << 2,
    tokens,
    keyHeads,
    group,
    kFrom,
    kPitch,
    vFrom,
    vPitch,
    end - begin,
    past - begin,
    width,
    valueWidth,
    dtype,
    scale,
    outPanels,
    maxima,
    sums,
    kCopy,
    more,
  );
}

/** The largest score, times log2 e, of row i of the unit, or LOWEST if it saw no key. */
// @ts-ignore: decorator
@inline
export function largestOf(i: i32): f32 {
  const largest = load<f32>(maxima + ((<usize>i) << 2));
  return byRow ? largest * LOG2E : largest;
}

/** The sum of row i's weights. */
// @ts-ignore: decorator
@inline
export function sumOf(i: i32): f32 {
  return load<f32>(sums + ((<usize>i) << 2));
}

/**
 * Writes the unit's outputs to rows `bytes` apart, of which row 0 lies at `to`; with `divide`, by their sums (0 if
 * no key was seen).
 */
export function emit(to: usize, bytes: usize, first: i32, n: i32, divide: bool): void {
  for (let i = 0; i < n; i += 4) {
    for (let j = i; j < i + 4; j++) {
      const sum = j < n ? sumOf(j) : 0;
      store<f32>(factors + ((<usize>(j - i)) << 2), divide ? (sum == 0 ? 0 : 1 / sum) : 1);
    }
    const y0 = rowOf(to, first + i, bytes);
    const y1 = rowOf(to, first + i + 1, bytes);
    const y2 = rowOf(to, first + i + 2, bytes);
    const y3 = rowOf(to, first + i + 3, bytes);
    if (byRow) {
      const from = outPanels + ((<usize>(i * valueWidth)) << 2);
      const step = (<usize>valueWidth) << 2;
      scaleRow(from, y0, factors);
      if (i + 1 < n) scaleRow(from + step, y1, factors + 4);
      if (i + 2 < n) scaleRow(from + 2 * step, y2, factors + 8);
      if (i + 3 < n) scaleRow(from + 3 * step, y3, factors + 12);
    } else {
      const from = outPanels + <usize>(i >> 4) * outPanelBytes + ((<usize>(i & 15)) << 2);
      unpackFour(from, valueWidth, n - i, y0, y1, y2, y3, factors);
    }
  }
}

function scaleRow(x: usize, y: usize, factor: usize): void {
  const wide = v128.load32_splat(factor);
  let c = valueWidth;
  for (; c >= 4; c -= 4) {
    v128.store(y, f32x4.mul(wide, v128.load(x)));
    x += 16;
    y += 16;
  }
  for (; c > 0; c--) {
    store<f32>(y, load<f32>(factor) * load<f32>(x));
    x += 4;
    y += 4;
  }
}
