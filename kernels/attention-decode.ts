/**
 * Query rows of a step, one token or two, against a run of keys: dot products along the channels, keys and values read once
 * and in order. What a panel of eight lanes would waste on so few rows costs more than the sums across lanes here.
 *
 * Memory sets the pace, and gives all it can to one instruction that walks it from end to end: processors fetch ahead by
 * instruction. Loops over four keys at a time, or over one head's keys (pieces of half a KiB, each on a page of its own), read at
 * half of that. So all heads of a unit take their part of a key before the next key's turn, by the same loop.
 */
import { expNegative4, hmax, hsum, loadBf16, loadBf16x4, madd } from "./math";

/** Keys of a block, a multiple of four: as many as a page of a cache has, so that blocks do not depend on where pages lie. */
const KEYS: i32 = 96;
const LOWEST: f32 = -1e30;
/** Rows of a unit at most. */
export const DECODE_ROWS: i32 = 64;

/** Bytes of `room` before the sums of four keys, before the scores; and between the scores of two rows. */
const SUMS: usize = 64;
const SCORES: usize = SUMS + ((<usize>DECODE_ROWS) << 7);
const SCORE_ROW: usize = (<usize>KEYS) << 2;

// Exact for all f16 but infinities and NaN: bits in the places of f32, then the difference of the exponents' biases.
// @ts-ignore: decorator
@inline
function load4(x: usize, dtype: i32, mask: v128, power: v128): v128 {
  if (dtype == 0) return v128.load(x);
  if (dtype == 1) return loadBf16x4(x);
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(x), 13), mask), power);
}

// @ts-ignore: decorator
@inline
function load1(x: usize, dtype: i32): f32 {
  if (dtype == 0) return load<f32>(x);
  if (dtype == 1) return loadBf16(x);
  return reinterpret<f32>(((<i32>load<i16>(x)) << 13) & 0x8fffe000) * 5.192296858534828e33;
}

// @ts-ignore: decorator
@inline
function sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const t0 = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const t1 = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i32>(t0, t1, 0, 1, 4, 5), v128.shuffle<i32>(t0, t1, 2, 3, 6, 7));
}

/**
 * q . k of one key in sums of eight lanes, for `heads` heads of the keys with `group` queries each, one after another; what is
 * left of the width is not in them. `room` has two numbers to widen f16 with.
 */
// @ts-ignore: decorator
@inline
function dotsOf(
  q: usize,
  k: usize,
  width: i32,
  heads: i32,
  group: i32,
  sums: usize,
  room: usize,
  dtype: i32,
): void {
  const shift: usize = dtype == 0 ? 2 : 1;
  const mask = v128.load32_splat(room);
  const power = v128.load32_splat(room, 4);
  const bytes = (<usize>width) << shift;
  const row = (<usize>width) << 2;
  for (; heads > 0; heads--) {
    for (let g = 0; g < group; g++) {
      let x = q;
      let y = k;
      let s0 = f32x4.splat(0);
      let s1 = f32x4.splat(0);
      for (let c = width; c >= 8; c -= 8) {
        const x0 = v128.load(x);
        const x1 = v128.load(x, 16);
        s0 = madd(x0, load4(y, dtype, mask, power), s0);
        s1 = madd(x1, load4(y + (4 << shift), dtype, mask, power), s1);
        x += 32;
        y += 8 << shift;
      }
      v128.store(sums, s0);
      v128.store(sums, s1, 16);
      q += row;
      sums += 32;
    }
    k += bytes;
  }
}

/** out += weight times value of one key, for all heads as above; their weights are a row of scores apart. */
// @ts-ignore: decorator
@inline
function valuesOf(
  p: usize,
  v: usize,
  width: i32,
  heads: i32,
  group: i32,
  out: usize,
  room: usize,
  dtype: i32,
): void {
  const shift: usize = dtype == 0 ? 2 : 1;
  const mask = v128.load32_splat(room);
  const power = v128.load32_splat(room, 4);
  const bytes = (<usize>width) << shift;
  for (; heads > 0; heads--) {
    for (let g = 0; g < group; g++) {
      const wide = v128.load32_splat(p);
      let x = v;
      let c = width;
      for (; c >= 8; c -= 8) {
        const y0 = madd(wide, load4(x, dtype, mask, power), v128.load(out));
        const y1 = madd(wide, load4(x + (4 << shift), dtype, mask, power), v128.load(out, 16));
        v128.store(out, y0);
        v128.store(out, y1, 16);
        x += 8 << shift;
        out += 32;
      }
      for (; c > 0; c--) {
        store<f32>(out, load<f32>(out) + load<f32>(p) * load1(x, dtype));
        x += 1 << shift;
        out += 4;
      }
      p += SCORE_ROW;
    }
    v += bytes;
  }
}

// Out of line, one for each dtype: what joins vectors works function by function.

function dotsF32(q: usize, k: usize, width: i32, heads: i32, group: i32, sums: usize, room: usize): void {
  dotsOf(q, k, width, heads, group, sums, room, 0);
}

function valuesF32(p: usize, v: usize, width: i32, heads: i32, group: i32, out: usize, room: usize): void {
  valuesOf(p, v, width, heads, group, out, room, 0);
}

function dotsBf16(q: usize, k: usize, width: i32, heads: i32, group: i32, sums: usize, room: usize): void {
  dotsOf(q, k, width, heads, group, sums, room, 1);
}

function valuesBf16(p: usize, v: usize, width: i32, heads: i32, group: i32, out: usize, room: usize): void {
  valuesOf(p, v, width, heads, group, out, room, 1);
}

function dotsF16(q: usize, k: usize, width: i32, heads: i32, group: i32, sums: usize, room: usize): void {
  dotsOf(q, k, width, heads, group, sums, room, 2);
}

function valuesF16(p: usize, v: usize, width: i32, heads: i32, group: i32, out: usize, room: usize): void {
  valuesOf(p, v, width, heads, group, out, room, 2);
}

/** Adds what the channels from `from` to `width` give to the dot products of four keys. */
function addRest(
  sum: v128,
  q: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  from: i32,
  width: i32,
  dtype: i32,
): v128 {
  const shift: usize = dtype == 0 ? 2 : 1;
  for (let c = from; c < width; c++) {
    const at = (<usize>c) << shift;
    let y = f32x4.splat(load1(k0 + at, dtype));
    y = f32x4.replace_lane(y, 1, load1(k1 + at, dtype));
    y = f32x4.replace_lane(y, 2, load1(k2 + at, dtype));
    y = f32x4.replace_lane(y, 3, load1(k3 + at, dtype));
    sum = madd(v128.load32_splat(q + ((<usize>c) << 2)), y, sum);
  }
  return sum;
}

/** Scores of `count` keys, at most four, times `scale`; the last one's fill four lanes. Those of a row are SCORE_ROW from the next's. */
function scoresOf(
  q: usize,
  k: usize,
  kPitch: usize,
  count: i32,
  width: i32,
  heads: i32,
  group: i32,
  to: usize,
  scale: f32,
  dtype: i32,
  room: usize,
): void {
  const step = (<usize>(heads * group)) << 5;
  for (let i = 0; i < count; i++) {
    const key = k + <usize>i * kPitch;
    const sums = room + SUMS + <usize>i * step;
    if (dtype == 0) dotsF32(q, key, width, heads, group, sums, room);
    else if (dtype == 1) dotsBf16(q, key, width, heads, group, sums, room);
    else dotsF16(q, key, width, heads, group, sums, room);
  }
  const bytes = (<usize>width) << (dtype == 0 ? 2 : 1);
  const whole = width & ~7;
  const factor = f32x4.splat(scale);
  const second = <usize>min(1, count - 1);
  const third = <usize>min(2, count - 1);
  const fourth = <usize>min(3, count - 1);
  let a = room + SUMS;
  for (let h = 0; h < heads; h++) {
    for (let g = 0; g < group; g++) {
      const b = a + second * step;
      const c = a + third * step;
      const d = a + fourth * step;
      let sum = sums4(
        f32x4.add(v128.load(a), v128.load(a, 16)),
        f32x4.add(v128.load(b), v128.load(b, 16)),
        f32x4.add(v128.load(c), v128.load(c, 16)),
        f32x4.add(v128.load(d), v128.load(d, 16)),
      );
      if (whole < width) {
        const k1 = k + second * kPitch;
        const k2 = k + third * kPitch;
        sum = addRest(sum, q, k, k1, k2, k + fourth * kPitch, whole, width, dtype);
      }
      v128.store(to, f32x4.mul(sum, factor));
      q += (<usize>width) << 2;
      a += 32;
      to += SCORE_ROW;
    }
    k += bytes;
  }
}

/** Scores of `count` keys of a row become weights; its largest score and its sum move on. Returns what rescales older results. */
function softmaxRow(scores: usize, count: i32, largest: usize, total: usize): f32 {
  const old = load<f32>(largest);
  let top = f32x4.splat(old);
  for (let j = 0; j < count; j += 4) top = f32x4.pmax(top, v128.load(scores + ((<usize>j) << 2)));
  const now = hmax(top);
  const factor = f32x4.extract_lane(expNegative4(f32x4.splat(old - now)), 0);
  let sum = f32x4.splat(0);
  for (let j = 0; j < count; j += 4) {
    const at = scores + ((<usize>j) << 2);
    v128.store(at, expNegative4(f32x4.sub(v128.load(at), f32x4.splat(now))));
    // The last key was repeated to fill four lanes.
    for (let i = count; i < j + 4; i++) store<f32>(scores + ((<usize>i) << 2), 0);
    sum = f32x4.add(sum, v128.load(at));
  }
  store<f32>(largest, now);
  store<f32>(total, load<f32>(total) * factor + hsum(sum));
  return factor;
}

/** x *= factor. */
function rescaleRow(x: usize, width: i32, factor: f32): void {
  const wide = f32x4.splat(factor);
  for (; width >= 4; width -= 4) {
    v128.store(x, f32x4.mul(wide, v128.load(x)));
    x += 16;
  }
  for (; width > 0; width--) {
    store<f32>(x, factor * load<f32>(x));
    x += 4;
  }
}

/** Keys of the block from `key` on that query t sees. */
// @ts-ignore: decorator
@inline
function countOf(n: i32, past: i32, t: i32, key: i32): i32 {
  return min(KEYS, min(n, past + t + 1) - key);
}

/**
 * Attention of `tokens` queries over `n` keys, of `keyHeads` heads of the keys with `group` heads of a query each: out [tokens, heads,
 * valueWidth] without the division by the sums, and at `largest` and `total` [tokens, heads] the largest scores and the sums, in
 * natural units; with `more` after the keys that all hold already, a multiple of a block's. Query t is at q + t qStep, its heads
 * one after another, and sees key j while j <= past + t. `dtype` is that of keys and values; `room` is private memory for
 * DECODE_ROWS rows, 576 bytes each.
 */
export function decodeRows(
  q: usize,
  qStep: usize,
  tokens: i32,
  keyHeads: i32,
  group: i32,
  k: usize,
  kPitch: usize,
  v: usize,
  vPitch: usize,
  n: i32,
  past: i32,
  width: i32,
  valueWidth: i32,
  dtype: i32,
  scale: f32,
  out: usize,
  largest: usize,
  total: usize,
  room: usize,
  more: bool,
): void {
  store<i32>(room, 0x8fffe000);
  // 2^112, what lies between the exponents of f16 and f32.
  store<f32>(room, 5.192296858534828e33, 4);
  const heads = keyHeads * group;
  const rows = tokens * heads;
  const outRow = (<usize>valueWidth) << 2;
  if (!more) {
    memory.fill(out, 0, <usize>rows * outRow);
    memory.fill(total, 0, (<usize>rows) << 2);
    for (let r = 0; r < rows; r++) store<f32>(largest + ((<usize>r) << 2), LOWEST);
  }
  for (let key = 0; key < n; key += KEYS) {
    const keys = min(KEYS, n - key);
    for (let j = 0; j < keys; j += 4) {
      const from = k + <usize>(key + j) * kPitch;
      for (let t = 0; t < tokens; t++) {
        const count = min(4, countOf(n, past, t, key) - j);
        if (count <= 0) continue;
        const to = room + SCORES + <usize>(t * heads) * SCORE_ROW + ((<usize>j) << 2);
        scoresOf(q + <usize>t * qStep, from, kPitch, count, width, keyHeads, group, to, scale, dtype, room);
      }
    }
    for (let r = 0; r < rows; r++) {
      const count = countOf(n, past, r / heads, key);
      if (count <= 0) continue;
      const at = (<usize>r) << 2;
      const factor = softmaxRow(room + SCORES + <usize>r * SCORE_ROW, count, largest + at, total + at);
      rescaleRow(out + <usize>r * outRow, valueWidth, factor);
    }
    for (let j = 0; j < keys; j++) {
      const from = v + <usize>(key + j) * vPitch;
      for (let t = 0; t < tokens; t++) {
        if (j >= countOf(n, past, t, key)) continue;
        const p = room + SCORES + <usize>(t * heads) * SCORE_ROW + ((<usize>j) << 2);
        const y = out + <usize>(t * heads) * outRow;
        if (dtype == 0) valuesF32(p, from, valueWidth, keyHeads, group, y, room);
        else if (dtype == 1) valuesBf16(p, from, valueWidth, keyHeads, group, y, room);
        else valuesF16(p, from, valueWidth, keyHeads, group, y, room);
      }
    }
  }
}
