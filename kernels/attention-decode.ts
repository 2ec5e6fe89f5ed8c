/**
 * A query row, one of a few, against a run of keys: dot products along the channels, keys and values read once
 * and in order. What a panel of eight lanes would waste on so few rows costs more than the sums across lanes
 * here.
 */
import { expNegative4, hmax, hsum, madd } from "./math";

/** Keys of a block, a multiple of four. */
const KEYS: i32 = 64;
const LOWEST: f32 = -1e30;

/** Largest number of bytes that `decodeRow` needs. */
export const DECODE_BYTES: usize = (<usize>KEYS) << 2;

// @ts-ignore: decorator
@inline
function sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const t0 = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const t1 = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i32>(t0, t1, 0, 1, 4, 5), v128.shuffle<i32>(t0, t1, 2, 3, 6, 7));
}

/** Scores of four keys, `scale` q . k; widths that are not a multiple of four end in single channels. */
function scores4(
  q: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  width: i32,
  to: usize,
  scale: f32,
): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let c = width;
  for (; c >= 4; c -= 4) {
    const x = v128.load(q);
    a0 = madd(x, v128.load(k0), a0);
    a1 = madd(x, v128.load(k1), a1);
    a2 = madd(x, v128.load(k2), a2);
    a3 = madd(x, v128.load(k3), a3);
    q += 16;
    k0 += 16;
    k1 += 16;
    k2 += 16;
    k3 += 16;
  }
  let sum = sums4(a0, a1, a2, a3);
  for (; c > 0; c--) {
    const x = v128.load32_splat(q);
    let y = v128.load32_zero(k0);
    y = v128.load32_lane(k1, y, 1);
    y = v128.load32_lane(k2, y, 2);
    y = v128.load32_lane(k3, y, 3);
    sum = madd(x, y, sum);
    q += 4;
    k0 += 4;
    k1 += 4;
    k2 += 4;
    k3 += 4;
  }
  v128.store(to, f32x4.mul(sum, f32x4.splat(scale)));
}

/** out = factor out + sum of four weights times four values. */
function values4(
  p: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  width: i32,
  out: usize,
  factor: f32,
): void {
  const p0 = v128.load32_splat(p);
  const p1 = v128.load32_splat(p, 4);
  const p2 = v128.load32_splat(p, 8);
  const p3 = v128.load32_splat(p, 12);
  const wide = f32x4.splat(factor);
  let c = width;
  for (; c >= 4; c -= 4) {
    let o = f32x4.mul(wide, v128.load(out));
    o = madd(p0, v128.load(v0), o);
    o = madd(p1, v128.load(v1), o);
    o = madd(p2, v128.load(v2), o);
    o = madd(p3, v128.load(v3), o);
    v128.store(out, o);
    out += 16;
    v0 += 16;
    v1 += 16;
    v2 += 16;
    v3 += 16;
  }
  for (; c > 0; c--) {
    let o = factor * load<f32>(out);
    o += load<f32>(p) * load<f32>(v0);
    o += load<f32>(p, 4) * load<f32>(v1);
    o += load<f32>(p, 8) * load<f32>(v2);
    o += load<f32>(p, 12) * load<f32>(v3);
    store<f32>(out, o);
    out += 4;
    v0 += 4;
    v1 += 4;
    v2 += 4;
    v3 += 4;
  }
}

/**
 * Attention of the row q over `n` keys: out [valueWidth] without the division by the sum, and at `state` the
 * largest score and the sum, in natural units. `block` is room of DECODE_BYTES.
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
  scale: f32,
  out: usize,
  state: usize,
  block: usize,
): void {
  memory.fill(out, 0, (<usize>valueWidth) << 2);
  let largest = LOWEST;
  let sum: f32 = 0;
  for (let key = 0; key < n; key += KEYS) {
    const count = min(KEYS, n - key);
    const last = count - 1;
    let top = f32x4.splat(largest);
    for (let j = 0; j < count; j += 4) {
      const k0 = k + <usize>(key + j) * kPitch;
      const k1 = k + <usize>(key + min(j + 1, last)) * kPitch;
      const k2 = k + <usize>(key + min(j + 2, last)) * kPitch;
      const k3 = k + <usize>(key + min(j + 3, last)) * kPitch;
      scores4(q, k0, k1, k2, k3, width, block + ((<usize>j) << 2), scale);
      top = f32x4.pmax(top, v128.load(block + ((<usize>j) << 2)));
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
      values4(block + ((<usize>j) << 2), v0, v1, v2, v3, valueWidth, out, factor);
      factor = 1;
    }
  }
  store<f32>(state, largest);
  store<f32>(state, sum, 4);
}
