/**
 * Panels of sixteen query rows for the forward pass of attention: rows are lanes, keys and channels come as splats.
 *
 * A panel [n][16] is one operand of `tile6x16`; engines that do not join vectors take it as two halves of eight, and
 * so does everyone if only eight rows are there. Each sum runs in the same order in all three, so the bits are
 * the same. Keys and values in f16 or bf16 are widened to f32 block by block before they meet the panels.
 */
import { tile6x8 } from "./attention-tiles";
import { madd } from "./math";
import { wideVectors } from "./runtime";
import { tile6x16 } from "./tiles";

/** Bytes of a panel's row. */
export const PITCH: usize = 64;
/** Below every score, and finite: differences stay numbers. */
export const LOWEST: f32 = -1e30;
export const LOG2E: f32 = 1.4426950408889634;
/** Bytes that `writeConstants` fills: one float each, read as splats. */
export const CONSTANT_BYTES: usize = 128;
/** Channels of the keys that are summed in registers at a time: so much of a panel stays in the nearest cache. */
const DEPTH: i32 = 288;

/** Numbers that loops need in every lane; from memory they are one load, written out three or four instructions. */
export function writeConstants(at: usize): void {
  for (let i: usize = 0; i < 8; i++) store<f32>(at + (i << 2), 1);
  store<f32>(at, 12582912.0, 32);
  store<f32>(at, -125.0, 36);
  store<f32>(at, 0.0013276471979406395, 40);
  store<f32>(at, 0.009675541334208455, 44);
  store<f32>(at, 0.055507132735427844, 48);
  store<f32>(at, 0.24022119723848676, 52);
  store<f32>(at, 0.6931469670647331, 56);
  store<f32>(at, 1.0, 60);
  store<i32>(at, 0x8fffe000, 64);
  // 2^112, what lies between the exponents of f16 and f32.
  store<f32>(at, 5.192296858534828e33, 68);
}

/**
 * 2^x for x <= 0 to about 1e-7 relative; below 2^-125 it comes out as 2^-125. As exp2Negative4 of
 * attention-tiles.ts, with its numbers from memory.
 */
// @ts-ignore: decorator
@inline
export function exp2(x: v128, at: usize): v128 {
  const magic = v128.load32_splat(at, 32);
  const v = f32x4.pmax(x, v128.load32_splat(at, 36));
  const shifted = f32x4.add(v, magic);
  const r = f32x4.sub(v, f32x4.sub(shifted, magic));
  let p = madd(r, v128.load32_splat(at, 40), v128.load32_splat(at, 44));
  p = madd(p, r, v128.load32_splat(at, 48));
  p = madd(p, r, v128.load32_splat(at, 52));
  p = madd(p, r, v128.load32_splat(at, 56));
  p = madd(p, r, v128.load32_splat(at, 60));
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** Four f16 as f32, exactly, subnormals too; infinities and NaN are not told apart from numbers. */
// @ts-ignore: decorator
@inline
function half4(x: usize, mask: v128, power: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(x), 13), mask), power);
}

/** y[0..n) = x[0..n) as f32; `dtype` 0 is f32, 1 bf16, 2 f16. */
export function widen(x: usize, dtype: i32, y: usize, n: i32, constants: usize): void {
  if (dtype == 0) {
    for (; n >= 8; n -= 8) {
      const a = v128.load(x);
      const b = v128.load(x, 16);
      v128.store(y, a);
      v128.store(y, b, 16);
      x += 32;
      y += 32;
    }
    for (; n > 0; n--) {
      store<f32>(y, load<f32>(x));
      x += 4;
      y += 4;
    }
    return;
  }
  if (dtype == 1) {
    for (; n >= 8; n -= 8) {
      const a = i32x4.shl(v128.load16x4_u(x), 16);
      const b = i32x4.shl(v128.load16x4_u(x, 8), 16);
      v128.store(y, a);
      v128.store(y, b, 16);
      x += 16;
      y += 32;
    }
    for (; n > 0; n--) {
      store<u32>(y, (<u32>load<u16>(x)) << 16);
      x += 2;
      y += 4;
    }
    return;
  }
  const mask = v128.load32_splat(constants, 64);
  const power = v128.load32_splat(constants, 68);
  for (; n >= 8; n -= 8) {
    const a = half4(x, mask, power);
    const b = half4(x + 8, mask, power);
    v128.store(y, a);
    v128.store(y, b, 16);
    x += 16;
    y += 32;
  }
  for (; n > 0; n--) {
    store<f32>(y, reinterpret<f32>(((<i32>load<i16>(x)) << 13) & 0x8fffe000) * 5.192296858534828e33);
    x += 2;
    y += 4;
  }
}

/** c[6][16] (+)= a[6][n] b[n][16] of panels b and c; `rs` and `cs` between rows and columns of a, in bytes. */
// @ts-ignore: decorator
@inline
export function tile(
  a: usize,
  rs: usize,
  cs: usize,
  b: usize,
  n: i32,
  c: usize,
  add: i32,
  half: bool,
  wide: bool,
  constants: usize,
): void {
  if (wide && !half) {
    tile6x16(a, rs, cs, b, n, c, PITCH, add);
    return;
  }
  const ones = add ? constants : 0;
  tile6x8(a, rs, cs, b, PITCH, n, c, PITCH, ones);
  if (!half) tile6x8(a, rs, cs, b + 32, PITCH, n, c + 32, PITCH, ones);
}

/**
 * out[j][0..16) = x[j] . panel for n rows of `width` floats. Reads and writes up to five rows past n. `half`: the
 * panel has eight rows.
 */
export function scoresOf(
  x: usize,
  xPitch: usize,
  n: i32,
  width: i32,
  panel: usize,
  out: usize,
  half: bool,
  constants: usize,
): void {
  const wide = wideVectors();
  const pieces = max(1, (width + DEPTH - 1) / DEPTH);
  const deep = (width + pieces - 1) / pieces;
  for (let d = 0; d < width; d += deep) {
    const count = min(deep, width - d);
    let from = x + ((<usize>d) << 2);
    let to = out;
    for (let j = 0; j < n; j += 6) {
      tile(from, xPitch, 4, panel + <usize>d * PITCH, count, to, i32(d > 0), half, wide, constants);
      from += 6 * xPitch;
      to += 6 * PITCH;
    }
  }
}

/**
 * out[c][0..16) += sum over j < n of weights[j][0..16) x[j][c], c < width. Reads up to five floats past a row of x
 * and writes up to five rows past `width`.
 */
export function addValues(
  weights: usize,
  x: usize,
  xPitch: usize,
  n: i32,
  out: usize,
  width: i32,
  half: bool,
  constants: usize,
): void {
  const wide = wideVectors();
  for (let c = 0; c < width; c += 6) {
    tile(x, 4, xPitch, weights, n, out, 1, half, wide, constants);
    x += 24;
    out += 6 * PITCH;
  }
}

/**
 * Eight lanes of scores [count][16] become weights; the running maxima and sums move on. `factors` gets what rescales
 * older results. With `masked`, scores of LOWEST become 0. Returns whether some factor is not 1.
 */
export function softmaxLanes(
  scores: usize,
  count: i32,
  maxima: usize,
  sums: usize,
  factors: usize,
  masked: bool,
  constants: usize,
): bool {
  const old0 = v128.load(maxima);
  const old1 = v128.load(maxima, 16);
  let m0 = old0;
  let m1 = old1;
  // Four maxima at a time: one would wait for itself. Any order gives the same.
  let a0 = old0;
  let a1 = old1;
  let b0 = old0;
  let b1 = old1;
  let c0 = old0;
  let c1 = old1;
  let at = scores;
  let left = count;
  for (; left >= 4; left -= 4) {
    m0 = f32x4.pmax(m0, v128.load(at));
    m1 = f32x4.pmax(m1, v128.load(at, 16));
    a0 = f32x4.pmax(a0, v128.load(at, PITCH));
    a1 = f32x4.pmax(a1, v128.load(at, PITCH + 16));
    b0 = f32x4.pmax(b0, v128.load(at, 2 * PITCH));
    b1 = f32x4.pmax(b1, v128.load(at, 2 * PITCH + 16));
    c0 = f32x4.pmax(c0, v128.load(at, 3 * PITCH));
    c1 = f32x4.pmax(c1, v128.load(at, 3 * PITCH + 16));
    at += 4 * PITCH;
  }
  for (; left > 0; left--) {
    m0 = f32x4.pmax(m0, v128.load(at));
    m1 = f32x4.pmax(m1, v128.load(at, 16));
    at += PITCH;
  }
  m0 = f32x4.pmax(f32x4.pmax(m0, a0), f32x4.pmax(b0, c0));
  m1 = f32x4.pmax(f32x4.pmax(m1, a1), f32x4.pmax(b1, c1));
  const f0 = exp2(f32x4.sub(old0, m0), constants);
  const f1 = exp2(f32x4.sub(old1, m1), constants);
  v128.store(maxima, m0);
  v128.store(maxima, m1, 16);
  v128.store(factors, f0);
  v128.store(factors, f1, 16);
  let l0 = f32x4.mul(f0, v128.load(sums));
  let l1 = f32x4.mul(f1, v128.load(sums, 16));
  at = scores;
  if (masked) {
    const lowest = f32x4.splat(LOWEST);
    for (let j = 0; j < count; j++) {
      const s0 = v128.load(at);
      const s1 = v128.load(at, 16);
      const p0 = v128.andnot(exp2(f32x4.sub(s0, m0), constants), f32x4.eq(s0, lowest));
      const p1 = v128.andnot(exp2(f32x4.sub(s1, m1), constants), f32x4.eq(s1, lowest));
      v128.store(at, p0);
      v128.store(at, p1, 16);
      l0 = f32x4.add(l0, p0);
      l1 = f32x4.add(l1, p1);
      at += PITCH;
    }
  } else {
    for (let j = 0; j < count; j++) {
      const p0 = exp2(f32x4.sub(v128.load(at), m0), constants);
      const p1 = exp2(f32x4.sub(v128.load(at, 16), m1), constants);
      v128.store(at, p0);
      v128.store(at, p1, 16);
      l0 = f32x4.add(l0, p0);
      l1 = f32x4.add(l1, p1);
      at += PITCH;
    }
  }
  v128.store(sums, l0);
  v128.store(sums, l1, 16);
  const same = v128.and(f32x4.eq(old0, m0), f32x4.eq(old1, m1));
  return !i32x4.all_true(same);
}

/** Multiplies eight lanes of `n` rows of a panel by their factors. */
export function rescale(panel: usize, n: i32, factors: usize): void {
  const f0 = v128.load(factors);
  const f1 = v128.load(factors, 16);
  for (; n > 0; n--) {
    const a = f32x4.mul(f0, v128.load(panel));
    const b = f32x4.mul(f1, v128.load(panel, 16));
    v128.store(panel, a);
    v128.store(panel, b, 16);
    panel += PITCH;
  }
}

// @ts-ignore: decorator
@inline
function transpose(x0: usize, x1: usize, x2: usize, x3: usize, to: usize, factor: v128): void {
  const a = f32x4.mul(v128.load(x0), factor);
  const b = f32x4.mul(v128.load(x1), factor);
  const c = f32x4.mul(v128.load(x2), factor);
  const d = f32x4.mul(v128.load(x3), factor);
  const t0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const t1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const t2 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const t3 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i32>(t0, t2, 0, 1, 4, 5));
  v128.store(to + PITCH, v128.shuffle<i32>(t0, t2, 2, 3, 6, 7));
  v128.store(to + 2 * PITCH, v128.shuffle<i32>(t1, t3, 0, 1, 4, 5));
  v128.store(to + 3 * PITCH, v128.shuffle<i32>(t1, t3, 2, 3, 6, 7));
}

/** Four lanes of a panel from four rows, times `factor`: to[c][0..4) = factor x_i[c]. */
export function packFour(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  width: i32,
  to: usize,
  factor: f32,
): void {
  const wide = f32x4.splat(factor);
  let c = width;
  for (; c >= 4; c -= 4) {
    transpose(x0, x1, x2, x3, to, wide);
    x0 += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
    to += 4 * PITCH;
  }
  for (; c > 0; c--) {
    store<f32>(to, factor * load<f32>(x0));
    store<f32>(to, factor * load<f32>(x1), 4);
    store<f32>(to, factor * load<f32>(x2), 8);
    store<f32>(to, factor * load<f32>(x3), 12);
    x0 += 4;
    x1 += 4;
    x2 += 4;
    x3 += 4;
    to += PITCH;
  }
}

// @ts-ignore: decorator
@inline
function put(y: usize, x: v128, factor: f32): void {
  v128.store(y, f32x4.mul(f32x4.splat(factor), x));
}

/** The first `n` of four lanes of a panel as rows: y_i[c] = f_i panel[c][i]; `factors` has one factor per lane. */
export function unpackFour(
  panel: usize,
  width: i32,
  n: i32,
  y0: usize,
  y1: usize,
  y2: usize,
  y3: usize,
  factors: usize,
): void {
  const f0 = load<f32>(factors);
  const f1 = load<f32>(factors, 4);
  const f2 = load<f32>(factors, 8);
  const f3 = load<f32>(factors, 12);
  let c = width;
  for (; c >= 4; c -= 4) {
    const r0 = v128.load(panel);
    const r1 = v128.load(panel + PITCH);
    const r2 = v128.load(panel + 2 * PITCH);
    const r3 = v128.load(panel + 3 * PITCH);
    const t0 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
    const t1 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
    const t2 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
    const t3 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
    put(y0, v128.shuffle<i32>(t0, t2, 0, 1, 4, 5), f0);
    if (n > 1) put(y1, v128.shuffle<i32>(t0, t2, 2, 3, 6, 7), f1);
    if (n > 2) put(y2, v128.shuffle<i32>(t1, t3, 0, 1, 4, 5), f2);
    if (n > 3) put(y3, v128.shuffle<i32>(t1, t3, 2, 3, 6, 7), f3);
    panel += 4 * PITCH;
    y0 += 16;
    y1 += 16;
    y2 += 16;
    y3 += 16;
  }
  for (; c > 0; c--) {
    store<f32>(y0, f0 * load<f32>(panel));
    if (n > 1) store<f32>(y1, f1 * load<f32>(panel, 4));
    if (n > 2) store<f32>(y2, f2 * load<f32>(panel, 8));
    if (n > 3) store<f32>(y3, f3 * load<f32>(panel, 12));
    panel += PITCH;
    y0 += 4;
    y1 += 4;
    y2 += 4;
    y3 += 4;
  }
}
