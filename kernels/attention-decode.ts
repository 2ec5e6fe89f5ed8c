/**
 * A query row, one of a few, against a run of keys: dot products along the channels, keys and values read once
 * and in order. What a panel of eight lanes would waste on so few rows costs more than the sums across lanes
 * here.
 */
import { expNegative4, hmax, hsum, loadBf16, loadBf16x4, madd } from "./math";

/** Keys of a block, a multiple of four: as many as a page of a cache has, so that blocks do not depend on where pages lie. */
const KEYS: i32 = 96;
const LOWEST: f32 = -1e30;

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
 * Scores of four keys, `scale` q . k, in sums of eight lanes; what is left of the width goes by single channels. `room`
 * has two numbers to widen f16 with and place for the sums.
 */
// @ts-ignore: decorator
@inline
function scoresOf(
  q: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  width: i32,
  to: usize,
  scale: f32,
  room: usize,
  dtype: i32,
): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const mask = v128.load32_splat(room);
  const power = v128.load32_splat(room, 4);
  let s0 = f32x4.splat(0);
  let t0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let t1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let t2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let t3 = f32x4.splat(0);
  let c = width;
  for (; c >= 8; c -= 8) {
    const x = v128.load(q);
    const y = v128.load(q, 16);
    s0 = madd(x, load4(k0, dtype, mask, power), s0);
    t0 = madd(y, load4(k0 + 4 * size, dtype, mask, power), t0);
    s1 = madd(x, load4(k1, dtype, mask, power), s1);
    t1 = madd(y, load4(k1 + 4 * size, dtype, mask, power), t1);
    s2 = madd(x, load4(k2, dtype, mask, power), s2);
    t2 = madd(y, load4(k2 + 4 * size, dtype, mask, power), t2);
    s3 = madd(x, load4(k3, dtype, mask, power), s3);
    t3 = madd(y, load4(k3 + 4 * size, dtype, mask, power), t3);
    q += 32;
    k0 += 8 * size;
    k1 += 8 * size;
    k2 += 8 * size;
    k3 += 8 * size;
  }
  // The sums leave through memory, pair beside pair: engines that join vectors start from neighboring stores.
  const sums = room + 64;
  v128.store(sums, s0);
  v128.store(sums, t0, 16);
  v128.store(sums, s1, 32);
  v128.store(sums, t1, 48);
  v128.store(sums, s2, 64);
  v128.store(sums, t2, 80);
  v128.store(sums, s3, 96);
  v128.store(sums, t3, 112);
  let sum = sums4(
    f32x4.add(v128.load(sums), v128.load(sums, 16)),
    f32x4.add(v128.load(sums, 32), v128.load(sums, 48)),
    f32x4.add(v128.load(sums, 64), v128.load(sums, 80)),
    f32x4.add(v128.load(sums, 96), v128.load(sums, 112)),
  );
  for (; c > 0; c--) {
    const x = v128.load32_splat(q);
    let y = f32x4.splat(load1(k0, dtype));
    y = f32x4.replace_lane(y, 1, load1(k1, dtype));
    y = f32x4.replace_lane(y, 2, load1(k2, dtype));
    y = f32x4.replace_lane(y, 3, load1(k3, dtype));
    sum = madd(x, y, sum);
    q += 4;
    k0 += size;
    k1 += size;
    k2 += size;
    k3 += size;
  }
  v128.store(to, f32x4.mul(sum, f32x4.splat(scale)));
}

/** out = factor out + sum of four weights times four values. */
// @ts-ignore: decorator
@inline
function valuesOf(
  p: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  width: i32,
  out: usize,
  factor: f32,
  room: usize,
  dtype: i32,
): void {
  const size: usize = dtype == 0 ? 4 : 2;
  const mask = v128.load32_splat(room);
  const power = v128.load32_splat(room, 4);
  store<f32>(room, factor, 8);
  const p0 = v128.load32_splat(p);
  const p1 = v128.load32_splat(p, 4);
  const p2 = v128.load32_splat(p, 8);
  const p3 = v128.load32_splat(p, 12);
  const wide = v128.load32_splat(room, 8);
  let c = width;
  for (; c >= 8; c -= 8) {
    let a = f32x4.mul(wide, v128.load(out));
    let b = f32x4.mul(wide, v128.load(out, 16));
    a = madd(p0, load4(v0, dtype, mask, power), a);
    b = madd(p0, load4(v0 + 4 * size, dtype, mask, power), b);
    a = madd(p1, load4(v1, dtype, mask, power), a);
    b = madd(p1, load4(v1 + 4 * size, dtype, mask, power), b);
    a = madd(p2, load4(v2, dtype, mask, power), a);
    b = madd(p2, load4(v2 + 4 * size, dtype, mask, power), b);
    a = madd(p3, load4(v3, dtype, mask, power), a);
    b = madd(p3, load4(v3 + 4 * size, dtype, mask, power), b);
    v128.store(out, a);
    v128.store(out, b, 16);
    out += 32;
    v0 += 8 * size;
    v1 += 8 * size;
    v2 += 8 * size;
    v3 += 8 * size;
  }
  for (; c > 0; c--) {
    let o = factor * load<f32>(out);
    o += load<f32>(p) * load1(v0, dtype);
    o += load<f32>(p, 4) * load1(v1, dtype);
    o += load<f32>(p, 8) * load1(v2, dtype);
    o += load<f32>(p, 12) * load1(v3, dtype);
    store<f32>(out, o);
    out += 4;
    v0 += size;
    v1 += size;
    v2 += size;
    v3 += size;
  }
}

// Out of line, one for each dtype: what joins vectors works function by function.

function scoresF32(
  q: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  width: i32,
  to: usize,
  scale: f32,
  room: usize,
): void {
  scoresOf(q, k0, k1, k2, k3, width, to, scale, room, 0);
}

function valuesF32(
  p: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  width: i32,
  out: usize,
  factor: f32,
  room: usize,
): void {
  valuesOf(p, v0, v1, v2, v3, width, out, factor, room, 0);
}

function scoresBf16(
  q: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  width: i32,
  to: usize,
  scale: f32,
  room: usize,
): void {
  scoresOf(q, k0, k1, k2, k3, width, to, scale, room, 1);
}

function valuesBf16(
  p: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  width: i32,
  out: usize,
  factor: f32,
  room: usize,
): void {
  valuesOf(p, v0, v1, v2, v3, width, out, factor, room, 1);
}

function scoresF16(
  q: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  width: i32,
  to: usize,
  scale: f32,
  room: usize,
): void {
  scoresOf(q, k0, k1, k2, k3, width, to, scale, room, 2);
}

function valuesF16(
  p: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  width: i32,
  out: usize,
  factor: f32,
  room: usize,
): void {
  valuesOf(p, v0, v1, v2, v3, width, out, factor, room, 2);
}

/**
 * Attention of the row q over `n` keys: out [valueWidth] without the division by the sum, and at `state` the
 * largest score and the sum, in natural units; with `more` after the keys that both hold already, a multiple of a block's.
 * `room` has 160 floats; `dtype` is that of keys and values.
 */
export function decodeRow(
  q: usize,
  k: usize,
  kPitch: usize,
  v: usize,
  vPitch: usize,
  n: i32,
  width: i32,
  valueWidth: i32,
  dtype: i32,
  scale: f32,
  out: usize,
  state: usize,
  room: usize,
  more: bool,
): void {
  store<i32>(room, 0x8fffe000);
  // 2^112, what lies between the exponents of f16 and f32.
  store<f32>(room, 5.192296858534828e33, 4);
  const block = room + 256;
  let largest = LOWEST;
  let sum: f32 = 0;
  if (more) {
    largest = load<f32>(state);
    sum = load<f32>(state, 4);
  } else memory.fill(out, 0, (<usize>valueWidth) << 2);
  for (let key = 0; key < n; key += KEYS) {
    const count = min(KEYS, n - key);
    const last = count - 1;
    let top = f32x4.splat(largest);
    for (let j = 0; j < count; j += 4) {
      const k0 = k + <usize>(key + j) * kPitch;
      const k1 = k + <usize>(key + min(j + 1, last)) * kPitch;
      const k2 = k + <usize>(key + min(j + 2, last)) * kPitch;
      const k3 = k + <usize>(key + min(j + 3, last)) * kPitch;
      const at = block + ((<usize>j) << 2);
      if (dtype == 0) scoresF32(q, k0, k1, k2, k3, width, at, scale, room);
      else if (dtype == 1) scoresBf16(q, k0, k1, k2, k3, width, at, scale, room);
      else scoresF16(q, k0, k1, k2, k3, width, at, scale, room);
      top = f32x4.pmax(top, v128.load(at));
    }
    const now = hmax(top);
    let factor = f32x4.extract_lane(expNegative4(f32x4.splat(largest - now)), 0);
    largest = now;
    let total = f32x4.splat(0);
    for (let j = 0; j < count; j += 4) {
      const at = block + ((<usize>j) << 2);
      v128.store(at, expNegative4(f32x4.sub(v128.load(at), f32x4.splat(now))));
      // The last keys were repeated to fill four lanes.
      for (let i = count; i < j + 4; i++) store<f32>(block + ((<usize>i) << 2), 0);
      total = f32x4.add(total, v128.load(at));
    }
    sum = sum * factor + hsum(total);
    for (let j = 0; j < count; j += 4) {
      const v0 = v + <usize>(key + j) * vPitch;
      const v1 = v + <usize>(key + min(j + 1, last)) * vPitch;
      const v2 = v + <usize>(key + min(j + 2, last)) * vPitch;
      const v3 = v + <usize>(key + min(j + 3, last)) * vPitch;
      const at = block + ((<usize>j) << 2);
      if (dtype == 0) valuesF32(at, v0, v1, v2, v3, valueWidth, out, factor, room);
      else if (dtype == 1) valuesBf16(at, v0, v1, v2, v3, valueWidth, out, factor, room);
      else valuesF16(at, v0, v1, v2, v3, valueWidth, out, factor, room);
      factor = 1;
    }
  }
  store<f32>(state, largest);
  store<f32>(state, sum, 4);
}
