/**
 * Bidirectional attention, backward: scores are computed again block by block from the saved log-sum-exp (FlashAttention-2,
 * algorithm 2), with queries as lanes as in the forward pass.
 *
 * A unit is a head of an image with some of its windows, in order. The gradient of q stays in panels until a run of
 * queries has met all keys; those of k and v are added to memory that only this unit writes. What units have in common
 * (relative positions, the padding) they sum apart, and a second phase adds these sums in order.
 */
import { dot } from "./attention-backward";
import {
  addValues,
  CONSTANT_BYTES,
  exp2,
  LOG2E,
  PITCH,
  scoresOf,
  tile,
  unpackFour,
  writeConstants,
} from "./attention-lanes";
import {
  addRelative,
  addSlopes,
  prepareRelative,
  relativePanel,
  spreadSlopes,
  tableRows,
} from "./attention-relative";
import {
  copyKeys,
  keyToken,
  openWindow,
  outputRow,
  packChannels,
  packQueries,
  prepareWindows,
  projectionRow,
  queryCount,
  tokenOf,
  windowCount,
} from "./attention-window";
import { barrier, nextUnit, scratch, wideVectors } from "./runtime";

/** Queries that meet a block of keys at a time: what keys get from them is added to memory once. */
const ROWS: i32 = 128;
/** The same for wide heads, which exceed the scratch memory. */
const WIDE_ROWS: i32 = 64;
/** Widest heads of which `ROWS` rows have room. */
const NARROW: i32 = 256;
/** Keys of a block, a multiple of six. */
const KEYS: i32 = 48;

/**
 * Arguments: qkv [B, T, 3, H, D], padding? [3, H, D], rowTable?, columnTable?, y, lse [B, H, T], dy, partial? [B, H, groups,
 * rows of both tables + 2, D], dqkv, dpadding?, drowTable?, dcolumnTable?; batch, gridHeight, gridWidth, windowHeight,
 * windowWidth, heads, width, groups (of an image's windows); scale. Gradients are overwritten.
 */
export function attention_bidirectional_backward(a: usize): void {
  const qkv = load<usize>(a);
  const padding = load<usize>(a, 4);
  const rowTable = load<usize>(a, 8);
  const columnTable = load<usize>(a, 12);
  const y = load<usize>(a, 16);
  const lse = load<usize>(a, 20);
  const dy = load<usize>(a, 24);
  const partial = load<usize>(a, 28);
  const dqkv = load<usize>(a, 32);
  const dpadding = load<usize>(a, 36);
  const dRowTable = load<usize>(a, 40);
  const dColumnTable = load<usize>(a, 44);
  const batch = load<i32>(a, 48);
  const gridHeight = load<i32>(a, 52);
  const gridWidth = load<i32>(a, 56);
  const windowHeight = load<i32>(a, 60);
  const windowWidth = load<i32>(a, 64);
  const heads = load<i32>(a, 68);
  const width = load<i32>(a, 72);
  const groups = load<i32>(a, 76);
  const scale = load<f32>(a, 80);

  prepareWindows(qkv, padding, gridHeight, gridWidth, windowHeight, windowWidth, heads, width);
  const most = width <= NARROW ? ROWS : WIDE_ROWS;
  const tokens = gridHeight * gridWidth;
  const keys = windowHeight * windowWidth;
  const windows = windowCount();
  const relative = rowTable != 0;
  const tableCount = relative ? tableRows(windowHeight, windowWidth) : 0;

  const rowBytes = (<usize>width) << 2;
  const panelBytes = <usize>width * PITCH;
  const outBytes = <usize>(width + 5) * PITCH;
  const relativeStep = <usize>(windowHeight + windowWidth) * PITCH;
  const channelPanels = <usize>((width + 15) >> 4);
  const channelStep = <usize>most * PITCH;
  const keyStep = <usize>(KEYS + 6) * PITCH;
  const tableStep = <usize>(tableCount + 6) * PITCH;
  const room = <usize>(most >> 4);
  // Slopes and weights of all queries at hand, a row for each key.
  const rowPitch = (<usize>most) << 2;
  const blockBytes = <usize>(KEYS + 6) * rowPitch;
  const constants = scratch();
  const qPanels = constants + CONSTANT_BYTES;
  const dyPanels = qPanels + room * panelBytes;
  const dqPanels = dyPanels + room * panelBytes;
  const qChannels = dqPanels + room * outBytes;
  const dyChannels = qChannels + channelPanels * channelStep;
  const dkPanels = dyChannels + channelPanels * channelStep;
  const dvPanels = dkPanels + channelPanels * keyStep;
  const lseLanes = dvPanels + channelPanels * keyStep;
  const deltaLanes = lseLanes + ((<usize>most) << 2);
  const scores = deltaLanes + ((<usize>most) << 2);
  const slopes = scores + keyStep;
  const weightRows = slopes + keyStep;
  const slopeRows = weightRows + blockBytes;
  const kCopy = slopeRows + blockBytes;
  const vCopy = kCopy + <usize>(KEYS + 6) * rowBytes;
  const blank = vCopy + <usize>(KEYS + 6) * rowBytes;
  const paddingSums = blank + <usize>(width + 4) * 4;
  const factors = paddingSums + 2 * rowBytes + 16;
  const relativePanels = factors + 16;
  const relativeSlopes = relativePanels + room * relativeStep;
  const tableSums = relativeSlopes + room * relativeStep;
  writeConstants(constants);
  memory.fill(blank, 0, rowBytes);
  v128.store(factors, f32x4.splat(scale));
  if (relative) {
    const at = tableSums + channelPanels * tableStep;
    prepareRelative(rowTable, columnTable, windowHeight, windowWidth, width, 1 / scale, at);
  }

  const units = batch * heads * groups;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const group = u % groups;
    const head = (u / groups) % heads;
    const image = u / groups / heads;
    memory.fill(paddingSums, 0, 2 * rowBytes);
    if (relative) memory.fill(tableSums, 0, channelPanels * tableStep);
    for (let w = (windows * group) / groups; w < (windows * (group + 1)) / groups; w++) {
      openWindow(image, w);
      const queries = queryCount();
      for (let first = 0; first < queries; first += most) {
        const n = min(most, queries - first);
        const panels = (n + 15) >> 4;
        packQueries(0, head, first, n, qPanels, panelBytes, scale * LOG2E, blank);
        packQueries(dy, head, first, n, dyPanels, panelBytes, 1, blank);
        packChannels(0, head, first, n, most, qChannels);
        packChannels(dy, head, first, n, most, dyChannels);
        memory.fill(dqPanels, 0, <usize>panels * outBytes);
        // Lanes without a query weigh 1, their slopes are 0.
        memory.fill(lseLanes, 0, (<usize>most) << 3);
        for (let i = 0; i < n; i++) {
          const token = tokenOf(first + i);
          const from = (image * heads + head) * tokens + (token - image * tokens);
          const delta = dot(outputRow(y, token, head), outputRow(dy, token, head), width);
          store<f32>(lseLanes + ((<usize>i) << 2), -LOG2E * load<f32>(lse + ((<usize>from) << 2)));
          store<f32>(deltaLanes + ((<usize>i) << 2), delta);
        }
        if (relative) {
          memory.fill(relativeSlopes, 0, <usize>panels * relativeStep);
          for (let p = 0; p < panels; p++) {
            const lanes = min(16, n - (p << 4));
            const panel = qPanels + <usize>p * panelBytes;
            const to = relativePanels + <usize>p * relativeStep;
            relativePanel(panel, first + (p << 4), lanes, to, false, constants);
          }
        }
        for (let key = 0; key < keys; key += KEYS) {
          const count = min(KEYS, keys - key);
          copyKeys(head, key, count, kCopy, vCopy);
          for (let p = 0; p < panels; p++) {
            const at = <usize>p;
            const lanes = at * PITCH;
            scoresOf(kCopy, rowBytes, count, width, qPanels + at * panelBytes, scores, false, constants);
            scoresOf(vCopy, rowBytes, count, width, dyPanels + at * panelBytes, slopes, false, constants);
            if (relative) addRelative(scores, key, count, relativePanels + at * relativeStep);
            for (let half: usize = 0; half < 64; half += 32) {
              const l = lseLanes + lanes + half;
              const d = deltaLanes + lanes + half;
              const w = weightRows + lanes + half;
              slope(
                scores + half,
                slopes + half,
                count,
                l,
                d,
                w,
                slopeRows + lanes + half,
                rowPitch,
                constants,
              );
            }
            if (relative) addSlopes(slopes, key, count, relativeSlopes + at * relativeStep);
            addValues(slopes, kCopy, rowBytes, count, dqPanels + at * outBytes, width, false, constants);
          }
          const rows = panels << 4;
          sumOver(
            slopeRows,
            rowPitch,
            count,
            rows,
            qChannels,
            channelStep,
            dkPanels,
            keyStep,
            width,
            constants,
          );
          sumOver(
            weightRows,
            rowPitch,
            count,
            rows,
            dyChannels,
            channelStep,
            dvPanels,
            keyStep,
            width,
            constants,
          );
          for (let j = 0; j < count; j++) {
            const token = keyToken(key + j);
            const inside = token >= 0;
            const from = (<usize>j) << 6;
            const dk = inside ? projectionRow(dqkv, token, 1, head) : paddingSums;
            const dv = inside ? projectionRow(dqkv, token, 2, head) : paddingSums + rowBytes;
            addRow(dkPanels + from, keyStep, width, scale, dk, inside && first == 0);
            addRow(dvPanels + from, keyStep, width, 1, dv, inside && first == 0);
          }
        }
        for (let p = 0; relative && p < panels; p++) {
          const lanes = min(16, n - (p << 4));
          const at = <usize>p;
          spreadSlopes(
            relativeSlopes + at * relativeStep,
            first + (p << 4),
            lanes,
            dqPanels + at * outBytes,
            qChannels + at * 1024,
            channelStep,
            tableSums,
            constants,
          );
        }
        for (let i = 0; i < n; i += 4) {
          const last = first + n - 1;
          const x0 = projectionRow(dqkv, tokenOf(first + i), 0, head);
          const x1 = projectionRow(dqkv, tokenOf(min(last, first + i + 1)), 0, head);
          const x2 = projectionRow(dqkv, tokenOf(min(last, first + i + 2)), 0, head);
          const x3 = projectionRow(dqkv, tokenOf(min(last, first + i + 3)), 0, head);
          const from = dqPanels + <usize>(i >> 4) * outBytes + ((<usize>(i & 15)) << 2);
          unpackFour(from, width, n - i, x0, x1, x2, x3, factors);
        }
      }
    }
    if (!partial) continue;
    let to = partial + <usize>u * <usize>(tableCount + 2) * rowBytes;
    for (let r = 0; r < tableCount; r++) {
      addRow(tableSums + ((<usize>r) << 6), tableStep, width, 1, to, true);
      to += rowBytes;
    }
    memory.copy(to, paddingSums, 2 * rowBytes);
  }
  if (!partial) return;

  barrier();
  const step = <usize>(tableCount + 2) * rowBytes;
  const split = 2 * windowHeight - 1;
  const totals = tableCount + 2 * heads;
  for (let u = nextUnit(1); u < totals; u = nextUnit(1)) {
    if (u < tableCount) {
      const to = u < split ? dRowTable : dColumnTable;
      const row = <usize>(u < split ? u : u - split) * rowBytes;
      if (to) sumRows(partial + <usize>u * rowBytes, step, units, 1, 0, 1, to + row, width);
      continue;
    }
    if (!dpadding) continue;
    const part = (u - tableCount) / heads;
    const head = (u - tableCount) % heads;
    const from = partial + <usize>(tableCount + part) * rowBytes;
    const to = projectionRow(dpadding, 0, part + 1, head);
    if (part == 0) memory.fill(projectionRow(dpadding, 0, 0, head), 0, rowBytes);
    sumRows(from, step, groups, batch, head, heads, to, width);
  }
}

/**
 * Eight lanes of n rows of panels: scores become weights p, written to rows `pitch` bytes apart, and products dy . v slopes
 * p (dy . v - delta), which stay and are written likewise.
 */
function slope(
  scores: usize,
  slopes: usize,
  n: i32,
  lse: usize,
  delta: usize,
  weightRows: usize,
  slopeRows: usize,
  pitch: usize,
  constants: usize,
): void {
  const l0 = v128.load(lse);
  const l1 = v128.load(lse, 16);
  const d0 = v128.load(delta);
  const d1 = v128.load(delta, 16);
  for (let j = 0; j < n; j++) {
    const p0 = exp2(f32x4.add(v128.load(scores), l0), constants);
    const p1 = exp2(f32x4.add(v128.load(scores, 16), l1), constants);
    v128.store(weightRows, p0);
    v128.store(weightRows, p1, 16);
    const s0 = f32x4.mul(p0, f32x4.sub(v128.load(slopes), d0));
    const s1 = f32x4.mul(p1, f32x4.sub(v128.load(slopes, 16), d1));
    v128.store(slopes, s0);
    v128.store(slopes, s1, 16);
    v128.store(slopeRows, s0);
    v128.store(slopeRows, s1, 16);
    scores += PITCH;
    slopes += PITCH;
    weightRows += pitch;
    slopeRows += pitch;
  }
}

/**
 * out[j][c] = sum over `rows` queries of x[j] times their channels, for n keys: x in rows `pitch` bytes apart, channels and
 * out in panels of sixteen channels, `step` and `outStep` bytes apart. Reads and writes up to five rows past n.
 */
function sumOver(
  x: usize,
  pitch: usize,
  n: i32,
  rows: i32,
  channels: usize,
  step: usize,
  out: usize,
  outStep: usize,
  width: i32,
  constants: usize,
): void {
  const wide = wideVectors();
  for (let c = 0; c < width; c += 16) {
    const half = width - c <= 8;
    for (let j = 0; j < n; j += 6) {
      const to = out + ((<usize>j) << 6);
      tile(x + <usize>j * pitch, pitch, 4, channels, rows, to, 0, half, wide, constants);
    }
    channels += step;
    out += outStep;
  }
}

/** y (+)= factor times a row of panels of sixteen channels, `step` bytes apart; `fresh` overwrites y. */
function addRow(x: usize, step: usize, width: i32, factor: f32, y: usize, fresh: bool): void {
  const wide = f32x4.splat(factor);
  let c = 0;
  for (; c + 4 <= width; c += 4) {
    const value = f32x4.mul(wide, v128.load(x + <usize>(c >> 4) * step + ((<usize>(c & 15)) << 2)));
    v128.store(y, fresh ? value : f32x4.add(v128.load(y), value));
    y += 16;
  }
  for (; c < width; c++) {
    const value = factor * load<f32>(x + <usize>(c >> 4) * step + ((<usize>(c & 15)) << 2));
    store<f32>(y, fresh ? value : load<f32>(y) + value);
    y += 4;
  }
}

/** y = sum of `each` rows, `step` bytes apart, of every `every`-th run of as many, from run `run` on, `runs` times. */
function sumRows(
  x: usize,
  step: usize,
  each: i32,
  runs: i32,
  run: i32,
  every: i32,
  y: usize,
  width: i32,
): void {
  for (let c: usize = 0; c < <usize>width; c++) {
    let sum: f32 = 0;
    for (let i = 0; i < runs; i++) {
      let from = x + <usize>((i * every + run) * each) * step + (c << 2);
      for (let j = 0; j < each; j++) {
        sum += load<f32>(from);
        from += step;
      }
    }
    store<f32>(y + (c << 2), sum);
  }
}
