/**
 * Causal attention, forward: blocks of query rows against blocks of keys with a running softmax (the order
 * of FlashAttention-2), in base 2, without any matrix of scores beyond one block.
 *
 * The rows of a unit are the pairs (query, head of the group) of one key head, query by query, so that
 * grouped heads share each key that is read. Eight rows are the lanes of a panel: scores, maxima, sums and
 * outputs are kept transposed, keys and values enter as splats, and softmax needs no sums across lanes.
 * Where there are few rows and many keys the keys are cut in `splits` parts whose partial results are
 * combined in order. With parts of a given size a row's result is a function of its query and its keys alone,
 * whatever other queries come with it: the others fill other lanes, and parts it does not see add nothing.
 */
import {
  accumulate,
  copyRow,
  exp2Negative4,
  packLanes,
  products,
  unpackLanes,
  zero,
} from "./attention-tiles";
import { DECODE_BYTES, decodeRow } from "./attention-decode";
import { logd, madd } from "./math";
import { barrier, nextUnit, scratch } from "./runtime";

/** Rows of a unit. The op computes the size of `partial` with the same number. */
const ROWS: i32 = 64;
/** Keys of a block. */
const KEYS: i32 = 48;
/** Most queries, and most heads of a group, that are better off with dot products along the channels. */
const FEW: i32 = 2;
/** Below every score, and finite: differences stay numbers. */
const LOWEST: f32 = -1e30;
const LOG2E: f32 = 1.4426950408889634;

/** Keys of a split where the rows of a unit see `limit` keys at most. */
// @ts-ignore: decorator
@inline
function shareOf(limit: i32, splits: i32, fixed: i32): i32 {
  if (fixed) return fixed;
  return splits > 1 ? (((limit + splits - 1) / splits + KEYS - 1) / KEYS) * KEYS : limit;
}

/** Splits that have keys; one where there is none, for the zeros. */
// @ts-ignore: decorator
@inline
function partsOf(limit: i32, share: i32): i32 {
  return limit > 0 ? (limit + share - 1) / share : 1;
}

/**
 * Arguments: q, k, v?, lengths?, partial?, y, lse?; batch, tokens, keys, heads, kvHeads, width, valueWidth,
 * splits, share (keys of a split; 0: what the rows of a unit see, in equal parts); scale. `partial` has, for every
 * unit and split, the maxima, the sums and the outputs of its rows.
 */
export function attention_forward(a: usize): void {
  const q = load<usize>(a);
  const k = load<usize>(a, 4);
  const v = load<usize>(a, 8);
  const lengths = load<usize>(a, 12);
  const partial = load<usize>(a, 16);
  const y = load<usize>(a, 20);
  const lse = load<usize>(a, 24);
  const batch = load<i32>(a, 28);
  const tokens = load<i32>(a, 32);
  const keys = load<i32>(a, 36);
  const heads = load<i32>(a, 40);
  const kvHeads = load<i32>(a, 44);
  const width = load<i32>(a, 48);
  const valueWidth = load<i32>(a, 52);
  const splits = load<i32>(a, 56);
  const fixed = load<i32>(a, 60);
  const scale = load<f32>(a, 64);

  const group = heads / kvHeads;
  const rows = tokens * group;
  // By the two sizes, not by their product: one query alone goes the way that it goes beside another.
  const few = tokens <= FEW && group <= FEW;
  const blocks = (rows + ROWS - 1) / ROWS;
  const most = min(ROWS, (rows + 7) & ~7);
  const kPitch = (<usize>(kvHeads * width)) << 2;
  const vPitch = v ? (<usize>(kvHeads * valueWidth)) << 2 : kPitch;
  const rowBytes = (<usize>width) << 2;
  const outBytes = (<usize>valueWidth) << 2;
  const panelBytes = (<usize>width) << 5;
  const outPanelBytes = (<usize>(valueWidth + 4)) << 5;
  const partialBytes = (<usize>(most * (valueWidth + 6))) << 2;

  const qPanels = scratch();
  const outPanels = qPanels + <usize>(most >> 3) * panelBytes;
  const maxima = outPanels + <usize>(most >> 3) * outPanelBytes;
  const sums = maxima + ((<usize>most) << 2);
  const factors = sums + ((<usize>most) << 2);
  const scores = factors + 32;
  const kCopy = scores + ((<usize>(KEYS + 6)) << 5);
  const vCopy = kCopy + <usize>(KEYS + 6) * rowBytes;

  const units = batch * kvHeads * blocks * splits;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const split = u % splits;
    const unit = u / splits;
    // The last rows see the most keys and go first.
    const block = blocks - 1 - (unit % blocks);
    const bh = unit / blocks;
    const b = bh / kvHeads;
    const h = bh % kvHeads;
    const first = block * ROWS;
    const n = min(ROWS, rows - first);
    const panels = (n + 7) >> 3;
    const valid = lengths ? min(keys, load<i32>(lengths + ((<usize>b) << 2))) : keys;
    const past = valid - tokens;
    const limit = max(0, past + (first + n - 1) / group + 1);
    const share = shareOf(limit, splits, fixed);
    // Parts without keys are not read either.
    if (split >= partsOf(limit, share)) continue;
    const begin = min(limit, split * share);
    const end = min(limit, begin + share);
    const qBase = q + <usize>(b * tokens * heads + h * group) * rowBytes;
    const kBase = k + <usize>b * <usize>keys * kPitch + <usize>h * rowBytes;
    const vBase = v ? v + <usize>b * <usize>keys * vPitch + <usize>h * outBytes : kBase;

    if (few) {
      for (let i = 0; i < n; i++) {
        const seen = max(0, min(end, past + (first + i) / group + 1) - begin);
        const from = rowAt(qBase, first + i, group, heads, rowBytes);
        const kFrom = kBase + <usize>begin * kPitch;
        const vFrom = vBase + <usize>begin * vPitch;
        const line = kCopy + DECODE_BYTES;
        decodeRow(from, kFrom, kPitch, vFrom, vPitch, seen, width, valueWidth, scale, line, factors, kCopy);
        const lane = (<usize>i) << 2;
        for (let c: usize = 0; c < <usize>valueWidth; c++) {
          store<f32>(outPanels + (c << 5) + lane, load<f32>(line + (c << 2)));
        }
        store<f32>(maxima + lane, load<f32>(factors) * LOG2E);
        store<f32>(sums + lane, load<f32>(factors, 4));
      }
    } else {
      for (let p = 0; p < panels; p++) {
        packRows(
          qBase,
          first + (p << 3),
          rows,
          group,
          heads,
          width,
          qPanels + <usize>p * panelBytes,
          scale * LOG2E,
        );
      }
      zero(outPanels, <i32>((<usize>panels * outPanelBytes) >> 4));
      for (let i = 0; i < panels << 3; i++) {
        store<f32>(maxima + ((<usize>i) << 2), LOWEST);
        store<f32>(sums + ((<usize>i) << 2), 0);
      }

      // One panel reads each key once: copying it first would cost more than it saves.
      const single = panels == 1 && (valueWidth & 3) == 0;
      for (let key = begin; key < end; key += KEYS) {
        const count = min(KEYS, end - key);
        let kBlock = kBase + <usize>key * kPitch;
        let vBlock = vBase + <usize>key * vPitch;
        let kStep = kPitch;
        let vStep = vPitch;
        // Tiles are whole, and what lies past the last key is not ours to read.
        if (!single || key + KEYS > end) {
          for (let j: usize = 0; j < <usize>count; j++) {
            copyRow(kBlock + j * kPitch, kCopy + j * rowBytes, width);
            if (v) copyRow(vBlock + j * vPitch, vCopy + j * outBytes, valueWidth);
          }
          kBlock = kCopy;
          kStep = rowBytes;
          vBlock = v ? vCopy : kCopy;
          vStep = v ? outBytes : rowBytes;
        }
        for (let p = 0; p < panels; p++) {
          const row = first + (p << 3);
          const open = past + row / group + 1 - key;
          const seen = min(count, past + min(row + 7, rows - 1) / group + 1 - key);
          if (seen <= 0) continue;
          products(kBlock, kStep, seen, width, qPanels + <usize>p * panelBytes, scores, 32);
          if (open < seen) maskScores(scores, seen, row, past - key, group);
          const at = (<usize>p) << 5;
          const out = outPanels + <usize>p * outPanelBytes;
          softmax(scores, seen, maxima + at, sums + at, factors, open < seen);
          accumulate(scores, 32, vBlock, vStep, seen, out, valueWidth, factors);
        }
      }
    }

    if (splits > 1) {
      const to = partial + <usize>u * partialBytes;
      const bytes = (<usize>most) << 2;
      memory.copy(to, maxima, bytes);
      memory.copy(to + bytes, sums, bytes);
      memory.copy(to + 2 * bytes, outPanels, <usize>panels * outPanelBytes);
      continue;
    }
    const yBase = y + <usize>(b * tokens * heads + h * group) * outBytes;
    const lseBase = lse ? lse + ((<usize>((b * heads + h * group) * tokens)) << 2) : 0;
    for (let p = 0; p < panels; p++) {
      const at = (<usize>p) << 5;
      const row = first + (p << 3);
      const out = outPanels + <usize>p * outPanelBytes;
      writeRows(
        out,
        maxima + at,
        sums + at,
        factors,
        row,
        rows,
        group,
        heads,
        valueWidth,
        yBase,
        lseBase,
        tokens,
      );
    }
  }
  if (splits == 1) return;

  barrier();
  // Parts are added in their order, whoever made them.
  const whole = batch * kvHeads * blocks;
  for (let u = nextUnit(1); u < whole; u = nextUnit(1)) {
    const first = (blocks - 1 - (u % blocks)) * ROWS;
    const b = u / blocks / kvHeads;
    const h = (u / blocks) % kvHeads;
    const n = min(ROWS, rows - first);
    const valid = lengths ? min(keys, load<i32>(lengths + ((<usize>b) << 2))) : keys;
    const limit = max(0, valid - tokens + (first + n - 1) / group + 1);
    const count = partsOf(limit, shareOf(limit, splits, fixed));
    const parts = partial + <usize>(u * splits) * partialBytes;
    const yBase = y + <usize>(b * tokens * heads + h * group) * outBytes;
    const lseBase = lse ? lse + ((<usize>((b * heads + h * group) * tokens)) << 2) : 0;
    const bytes = (<usize>most) << 2;
    for (let p = 0; p < (n + 7) >> 3; p++) {
      const at = (<usize>p) << 5;
      let m0 = v128.load(parts + at);
      let m1 = v128.load(parts + at, 16);
      for (let s = 1; s < count; s++) {
        const part = parts + <usize>s * partialBytes + at;
        m0 = f32x4.pmax(m0, v128.load(part));
        m1 = f32x4.pmax(m1, v128.load(part, 16));
      }
      zero(outPanels, valueWidth << 1);
      let l0 = f32x4.splat(0);
      let l1 = f32x4.splat(0);
      for (let s = 0; s < count; s++) {
        const part = parts + <usize>s * partialBytes;
        const f0 = exp2Negative4(f32x4.sub(v128.load(part + at), m0));
        const f1 = exp2Negative4(f32x4.sub(v128.load(part + at, 16), m1));
        l0 = madd(f0, v128.load(part + bytes + at), l0);
        l1 = madd(f1, v128.load(part + bytes + at, 16), l1);
        let from = part + 2 * bytes + <usize>p * outPanelBytes;
        let to = outPanels;
        for (let c = 0; c < valueWidth; c++) {
          v128.store(to, madd(f0, v128.load(from), v128.load(to)));
          v128.store(to, madd(f1, v128.load(from, 16), v128.load(to, 16)), 16);
          from += 32;
          to += 32;
        }
      }
      v128.store(maxima, m0);
      v128.store(maxima, m1, 16);
      v128.store(sums, l0);
      v128.store(sums, l1, 16);
      const row = first + (p << 3);
      writeRows(
        outPanels,
        maxima,
        sums,
        factors,
        row,
        rows,
        group,
        heads,
        valueWidth,
        yBase,
        lseBase,
        tokens,
      );
    }
  }
}

/**
 * Divides a panel's outputs by their sums, into up to eight rows of y from `row` on, and writes their lse.
 */
function writeRows(
  panel: usize,
  maxima: usize,
  sums: usize,
  factors: usize,
  row: i32,
  rows: i32,
  group: i32,
  heads: i32,
  valueWidth: i32,
  y: usize,
  lse: usize,
  tokens: i32,
): void {
  const n = min(8, rows - row);
  for (let i = 0; i < n; i++) {
    const lane = (<usize>i) << 2;
    const sum = load<f32>(sums + lane);
    // A row that sees no key is 0.
    store<f32>(factors + lane, sum == 0 ? 0 : 1 / sum);
    if (lse) {
      const at = ((row + i) % group) * tokens + (row + i) / group;
      const value = <f64>load<f32>(maxima + lane) * 0.6931471805599453 + logd(<f64>sum);
      store<f32>(lse + ((<usize>at) << 2), <f32>value);
    }
  }
  const bytes = (<usize>valueWidth) << 2;
  for (let i = 0; i < n; i += 4) {
    const y0 = rowAt(y, row + i, group, heads, bytes);
    const y1 = rowAt(y, row + i + 1, group, heads, bytes);
    const y2 = rowAt(y, row + i + 2, group, heads, bytes);
    const y3 = rowAt(y, row + i + 3, group, heads, bytes);
    const lanes = (<usize>i) << 2;
    unpackLanes(panel + lanes, valueWidth, n - i, y0, y1, y2, y3, factors + lanes, 0);
  }
}

/** Address of row (query, head of the group) where `base` is that of row 0. */
// @ts-ignore: decorator
@inline
export function rowAt(base: usize, row: i32, group: i32, heads: i32, bytes: usize): usize {
  return base + (<usize>(row / group) * <usize>heads + <usize>(row % group)) * bytes;
}

/** Eight rows from `row` on as a panel [width][8], times `factor`; lanes past the last row repeat it. */
export function packRows(
  base: usize,
  row: i32,
  rows: i32,
  group: i32,
  heads: i32,
  width: i32,
  panel: usize,
  factor: f32,
): void {
  const bytes = (<usize>width) << 2;
  const last = rows - 1;
  for (let i = 0; i < 8; i += 4) {
    const x0 = rowAt(base, min(last, row + i), group, heads, bytes);
    const x1 = rowAt(base, min(last, row + i + 1), group, heads, bytes);
    const x2 = rowAt(base, min(last, row + i + 2), group, heads, bytes);
    const x3 = rowAt(base, min(last, row + i + 3), group, heads, bytes);
    packLanes(x0, x1, x2, x3, width, panel + ((<usize>i) << 2), factor);
  }
}

/**
 * Scores [count][8] of keys that a row does not see become LOWEST: key j is seen while j <= past + row /
 * group.
 */
function maskScores(scores: usize, count: i32, row: i32, past: i32, group: i32): void {
  for (let i = 0; i < 8; i++) {
    for (let j = max(0, past + (row + i) / group + 1); j < count; j++) {
      store<f32>(scores + ((<usize>j) << 5) + ((<usize>i) << 2), LOWEST);
    }
  }
}

/**
 * Scores become weights; the running maxima and sums move on and `factors` gets what rescales older results.
 */
function softmax(scores: usize, count: i32, maxima: usize, sums: usize, factors: usize, masked: bool): void {
  const old0 = v128.load(maxima);
  const old1 = v128.load(maxima, 16);
  let m0 = old0;
  let m1 = old1;
  let at = scores;
  for (let j = 0; j < count; j++) {
    m0 = f32x4.pmax(m0, v128.load(at));
    m1 = f32x4.pmax(m1, v128.load(at, 16));
    at += 32;
  }
  const f0 = exp2Negative4(f32x4.sub(old0, m0));
  const f1 = exp2Negative4(f32x4.sub(old1, m1));
  let l0 = f32x4.mul(f0, v128.load(sums));
  let l1 = f32x4.mul(f1, v128.load(sums, 16));
  at = scores;
  if (masked) {
    const lowest = f32x4.splat(LOWEST);
    for (let j = 0; j < count; j++) {
      const s0 = v128.load(at);
      const s1 = v128.load(at, 16);
      const p0 = v128.andnot(exp2Negative4(f32x4.sub(s0, m0)), f32x4.eq(s0, lowest));
      const p1 = v128.andnot(exp2Negative4(f32x4.sub(s1, m1)), f32x4.eq(s1, lowest));
      v128.store(at, p0);
      v128.store(at, p1, 16);
      l0 = f32x4.add(l0, p0);
      l1 = f32x4.add(l1, p1);
      at += 32;
    }
  } else {
    for (let j = 0; j < count; j++) {
      const p0 = exp2Negative4(f32x4.sub(v128.load(at), m0));
      const p1 = exp2Negative4(f32x4.sub(v128.load(at, 16), m1));
      v128.store(at, p0);
      v128.store(at, p1, 16);
      l0 = f32x4.add(l0, p0);
      l1 = f32x4.add(l1, p1);
      at += 32;
    }
  }
  v128.store(maxima, m0);
  v128.store(maxima, m1, 16);
  v128.store(sums, l0);
  v128.store(sums, l1, 16);
  v128.store(factors, f0);
  v128.store(factors, f1, 16);
}
