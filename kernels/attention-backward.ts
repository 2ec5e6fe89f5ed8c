/**
 * Causal attention, backward: scores are computed again block by block from the saved log-sum-exp
 * (FlashAttention-2, algorithm 2), five block products in one pass.
 *
 * A unit is a key head, or every `splits`-th block of its keys. Keys are the lanes: their blocks are packed
 * once as panels, the rows (query, head of the group) pass in order. The gradient of k and v stays in a
 * block's panels until its rows are through; that of q is added up row by row, per split, and the splits are
 * added in order.
 */
import {
  accumulate,
  copyRow,
  exp2Negative4,
  packLanes,
  products,
  rowAt,
  tile6x8,
  unpackLanes,
  zero,
} from "./attention-tiles";
import { hsum, madd } from "./math";
import { barrier, nextUnit, scratch } from "./runtime";

/** Rows that pass at a time, a multiple of six. */
const ROWS: i32 = 48;
/** Keys of a block. */
const KEYS: i32 = 64;
const LOG2E: f32 = 1.4426950408889634;

/**
 * Arguments: q, k, v, y, lse, dy, delta, partial?, dq?, dk?, dv?; batch, tokens, keys, heads, kvHeads,
 * width, valueWidth, splits, addQ, addK, addV; scale. `delta` [B, H, T] is memory for the row sums of dy y;
 * `partial` [splits, B, T, H, D] for the parts of dq if there are several.
 */
export function attention_backward(a: usize): void {
  const q = load<usize>(a);
  const k = load<usize>(a, 4);
  const v = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const lse = load<usize>(a, 16);
  const dy = load<usize>(a, 20);
  const delta = load<usize>(a, 24);
  const partial = load<usize>(a, 28);
  const dq = load<usize>(a, 32);
  const dk = load<usize>(a, 36);
  const dv = load<usize>(a, 40);
  const batch = load<i32>(a, 44);
  const tokens = load<i32>(a, 48);
  const keys = load<i32>(a, 52);
  const heads = load<i32>(a, 56);
  const kvHeads = load<i32>(a, 60);
  const width = load<i32>(a, 64);
  const valueWidth = load<i32>(a, 68);
  const splits = load<i32>(a, 72);
  const addQ = load<i32>(a, 76);
  const addK = load<i32>(a, 80);
  const addV = load<i32>(a, 84);
  const scale = load<f32>(a, 88);

  const group = heads / kvHeads;
  const rows = tokens * group;
  const past = keys - tokens;
  const rowBytes = (<usize>width) << 2;
  const outBytes = (<usize>valueWidth) << 2;

  const bt = batch * tokens;
  for (let u = nextUnit(); u < bt; u = nextUnit()) {
    const b = u / tokens;
    const t = u % tokens;
    for (let h = 0; h < heads; h++) {
      const row = <usize>(u * heads + h) * outBytes;
      store<f32>(delta + ((<usize>((b * heads + h) * tokens + t)) << 2), dot(y + row, dy + row, valueWidth));
    }
  }
  barrier();

  const panelBytes = (<usize>width) << 5;
  const outPanelBytes = (<usize>valueWidth) << 5;
  // Rows of k padded to whole tiles of eight channels.
  const padded = (width + 7) & ~7;
  const kPitch = (<usize>padded) << 2;
  const pitch = (<usize>KEYS) << 2;
  const nPanels = <usize>(KEYS >> 3);
  const kPanels = scratch();
  const vPanels = kPanels + nPanels * panelBytes;
  const dkPanels = vPanels + nPanels * outPanelBytes;
  const dvPanels = dkPanels + nPanels * (panelBytes + 128);
  const kRows = dvPanels + nPanels * (outPanelBytes + 128);
  const qRows = kRows + <usize>KEYS * kPitch;
  const dyRows = qRows + <usize>(ROWS + 6) * rowBytes;
  const weights = dyRows + <usize>(ROWS + 6) * outBytes;
  const slopes = weights + <usize>(ROWS + 6) * pitch;
  const lseRows = slopes + <usize>(ROWS + 6) * pitch;
  const deltaRows = lseRows + ((<usize>ROWS) << 2);
  const tile = deltaRows + ((<usize>ROWS) << 2);
  const ones = tile + 192;
  v128.store(ones, f32x4.splat(1));
  v128.store(ones, f32x4.splat(1), 16);
  const blocks = (keys + KEYS - 1) / KEYS;
  const size = <usize>bt * <usize>heads * rowBytes;

  const units = batch * kvHeads * splits;
  for (let u = nextUnit(1); u < units; u = nextUnit(1)) {
    const split = u % splits;
    const b = u / splits / kvHeads;
    const h = (u / splits) % kvHeads;
    const qHead = <usize>(b * tokens * heads + h * group);
    const kHead = <usize>(b * keys * kvHeads + h);
    const kBase = k + kHead * rowBytes;
    const vBase = v + kHead * outBytes;
    const lseBase = (b * heads + h * group) * tokens;
    const dqTo = splits > 1 ? partial + <usize>split * size : dq;
    if (dq && (splits > 1 || !addQ)) {
      for (let r = 0; r < rows; r++) {
        memory.fill(rowAt(dqTo + qHead * rowBytes, r, group, heads, rowBytes), 0, rowBytes);
      }
    }
    for (let block = split; block < blocks; block += splits) {
      const key = block * KEYS;
      const count = min(KEYS, keys - key);
      const panels = (count + 7) >> 3;
      zero(kRows, <i32>((<usize>KEYS * kPitch) >> 4));
      for (let j = 0; j < count; j++) {
        copyRow(kBase + <usize>((key + j) * kvHeads) * rowBytes, kRows + <usize>j * kPitch, width);
      }
      packKeys(kBase, key, keys, kvHeads, width, kPanels, panels);
      packKeys(vBase, key, keys, kvHeads, valueWidth, vPanels, panels);
      zero(dkPanels, <i32>((nPanels * (panelBytes + outPanelBytes + 256)) >> 4));

      // The first row that sees the first key of the block.
      const start = max(0, key - past) * group;
      for (let first = start; first < rows; first += ROWS) {
        const n = min(ROWS, rows - first);
        for (let j = 0; j < n; j++) {
          const row = first + j;
          const at = lseBase + (row % group) * tokens + row / group;
          store<f32>(lseRows + ((<usize>j) << 2), -LOG2E * load<f32>(lse + ((<usize>at) << 2)));
          store<f32>(deltaRows + ((<usize>j) << 2), load<f32>(delta + ((<usize>at) << 2)));
          copyRow(
            rowAt(q + qHead * rowBytes, row, group, heads, rowBytes),
            qRows + <usize>j * rowBytes,
            width,
          );
          copyRow(
            rowAt(dy + qHead * outBytes, row, group, heads, outBytes),
            dyRows + <usize>j * outBytes,
            valueWidth,
          );
        }
        // Keys that the last row of the block sees; the rest of the panels is not touched.
        const seen = min(count, past + (first + n - 1) / group + 1 - key);
        for (let p = 0; p < (seen + 7) >> 3; p++) {
          const lane = key + (p << 3);
          const from = max(0, max(0, lane - past) * group - first);
          const skip = <usize>from;
          const at = (<usize>p) << 5;
          const w = weights + at + skip * pitch;
          const s = slopes + at + skip * pitch;
          const qFrom = qRows + skip * rowBytes;
          const dyFrom = dyRows + skip * outBytes;
          const m = n - from;
          products(qFrom, rowBytes, m, width, kPanels + <usize>p * panelBytes, w, pitch);
          products(dyFrom, outBytes, m, valueWidth, vPanels + <usize>p * outPanelBytes, s, pitch);
          for (let j: usize = 0; j < skip; j++) zero(slopes + at + j * pitch, 2);
          slope(w, s, m, pitch, lseRows + (skip << 2), deltaRows + (skip << 2), scale);
          // Rows whose query lies before the panel's last key do not see all of it; lanes past the last key
          // are later than every query.
          const clear = (lane + 7 - past) * group - first;
          if (from < clear)
            maskRows(weights, slopes, pitch, from, min(n, clear), first, past - key, group, p);
          accumulate(
            w,
            pitch,
            dyFrom,
            outBytes,
            m,
            dvPanels + <usize>p * (outPanelBytes + 128),
            valueWidth,
            ones,
          );
          accumulate(s, pitch, qFrom, rowBytes, m, dkPanels + <usize>p * (panelBytes + 128), width, ones);
        }
        if (dq) {
          const to = dqTo + qHead * rowBytes;
          addRows(slopes, pitch, n, (seen + 7) & ~7, kRows, kPitch, width, to, first, group, heads, tile);
        }
      }
      for (let j = 0; j < count; j += 4) {
        const p = <usize>(j >> 3);
        const lanes = (<usize>(j & 4)) << 2;
        const row = kHead + <usize>((key + j) * kvHeads);
        const n = count - j;
        if (dk) {
          const to = dk + row * rowBytes;
          const step = <usize>kvHeads * rowBytes;
          const from = dkPanels + p * (panelBytes + 128) + lanes;
          unpackLanes(from, width, n, to, to + step, to + 2 * step, to + 3 * step, ones, addK);
        }
        if (dv) {
          const to = dv + row * outBytes;
          const step = <usize>kvHeads * outBytes;
          const from = dvPanels + p * (outPanelBytes + 128) + lanes;
          unpackLanes(from, valueWidth, n, to, to + step, to + 2 * step, to + 3 * step, ones, addV);
        }
      }
    }
  }
  if (splits == 1 || !dq) return;

  barrier();
  const n = bt * heads;
  const chunk = 16;
  const chunks = (n + chunk - 1) / chunk;
  for (let u = nextUnit(2); u < chunks; u = nextUnit(2)) {
    const begin = u * chunk * width;
    const end = min(n, (u + 1) * chunk) * width;
    for (let i = begin; i < end; i++) {
      const at = (<usize>i) << 2;
      let sum: f32 = addQ ? load<f32>(dq + at) : 0;
      for (let s = 0; s < splits; s++) sum += load<f32>(partial + <usize>s * size + at);
      store<f32>(dq + at, sum);
    }
  }
}

export function dot(x: usize, y: usize, n: i32): f32 {
  let sum = f32x4.splat(0);
  for (; n >= 4; n -= 4) {
    sum = madd(v128.load(x), v128.load(y), sum);
    x += 16;
    y += 16;
  }
  let total = hsum(sum);
  for (; n > 0; n--) {
    total += load<f32>(x) * load<f32>(y);
    x += 4;
    y += 4;
  }
  return total;
}

/** Keys from `key` on as panels [width][8]; lanes past the last key repeat it. */
function packKeys(
  base: usize,
  key: i32,
  keys: i32,
  kvHeads: i32,
  width: i32,
  panel: usize,
  panels: i32,
): void {
  const step = (<usize>(kvHeads * width)) << 2;
  const last = keys - 1;
  for (let i = 0; i < panels << 3; i += 4) {
    const x0 = base + <usize>min(last, key + i) * step;
    const x1 = base + <usize>min(last, key + i + 1) * step;
    const x2 = base + <usize>min(last, key + i + 2) * step;
    const x3 = base + <usize>min(last, key + i + 3) * step;
    packLanes(
      x0,
      x1,
      x2,
      x3,
      width,
      panel + <usize>(i >> 3) * ((<usize>width) << 5) + ((<usize>(i & 4)) << 2),
      1,
    );
  }
}

/** Scores become weights p, products dy . v become slopes scale p (dy . v - delta); eight lanes of n rows. */
function slope(w: usize, s: usize, n: i32, pitch: usize, lse: usize, delta: usize, scale: f32): void {
  const log2 = f32x4.splat(scale * LOG2E);
  const wide = f32x4.splat(scale);
  for (let j = 0; j < n; j++) {
    const l = v128.load32_splat(lse);
    const d = v128.load32_splat(delta);
    const p0 = exp2Negative4(madd(v128.load(w), log2, l));
    const p1 = exp2Negative4(madd(v128.load(w, 16), log2, l));
    v128.store(w, p0);
    v128.store(w, p1, 16);
    v128.store(s, f32x4.mul(f32x4.mul(p0, wide), f32x4.sub(v128.load(s), d)));
    v128.store(s, f32x4.mul(f32x4.mul(p1, wide), f32x4.sub(v128.load(s, 16), d)), 16);
    w += pitch;
    s += pitch;
    lse += 4;
    delta += 4;
  }
}

/** Zeroes what rows `from` to `to` of the block do not see of panel p: keys past `past` + query. */
function maskRows(
  weights: usize,
  slopes: usize,
  pitch: usize,
  from: i32,
  to: i32,
  first: i32,
  past: i32,
  group: i32,
  p: i32,
): void {
  for (let j = from; j < to; j++) {
    for (let i = max(p << 3, past + (first + j) / group + 1); i < (p << 3) + 8; i++) {
      const at = <usize>j * pitch + ((<usize>i) << 2);
      store<f32>(weights + at, 0);
      store<f32>(slopes + at, 0);
    }
  }
}

/** Adds slopes [n][count] times kRows [count][width] to rows `first` on of dq. */
function addRows(
  slopes: usize,
  pitch: usize,
  n: i32,
  count: i32,
  kRows: usize,
  kPitch: usize,
  width: i32,
  dq: usize,
  first: i32,
  group: i32,
  heads: i32,
  tile: usize,
): void {
  const bytes = (<usize>width) << 2;
  for (let j = 0; j < n; j += 6) {
    const x = slopes + <usize>j * pitch;
    const m = min(6, n - j);
    for (let c = 0; c < width; c += 8) {
      tile6x8(x, pitch, 4, kRows + ((<usize>c) << 2), kPitch, count, tile, 32, 0);
      const whole = c + 8 <= width;
      for (let i = 0; i < m; i++) {
        const from = tile + ((<usize>i) << 5);
        const to = rowAt(dq, first + j + i, group, heads, bytes) + ((<usize>c) << 2);
        if (whole) {
          v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
          v128.store(to, f32x4.add(v128.load(to, 16), v128.load(from, 16)), 16);
          continue;
        }
        for (let e: usize = 0; e < <usize>(width - c); e++) {
          store<f32>(to + (e << 2), load<f32>(to + (e << 2)) + load<f32>(from + (e << 2)));
        }
      }
    }
  }
}
