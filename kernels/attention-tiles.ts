/**
 * The inner products of attention, tiles of 6 by 8 in registers.
 *
 * Everything has one shape: eight lanes (two vectors) of consecutive rows or channels against six splat
 * values per step; twelve sums, two vectors and splats are what sixteen registers hold. `products` contracts
 * over the channels of its rows, `accumulate` over rows into channels by lanes. Tiles are whole: what they
 * write past the end is room that the caller leaves.
 */
import { madd } from "./math";

/**
 * 2^x for x <= 0 to about 1e-7 relative; what is below 2^-125 comes out as 2^-125. NaN stays NaN. Minimax
 * polynomial of degree 5 on [-1/2, 1/2]; softmax in base 2 saves the reduction by ln 2.
 */
// @ts-ignore: decorator
@inline
export function exp2Negative4(x: v128): v128 {
  const magic = f32x4.splat(12582912.0);
  const v = f32x4.pmax(x, f32x4.splat(-125.0));
  const shifted = f32x4.add(v, magic);
  const r = f32x4.sub(v, f32x4.sub(shifted, magic));
  let p = madd(r, f32x4.splat(0.0013276471979406395), f32x4.splat(0.009675541334208455));
  p = madd(p, r, f32x4.splat(0.055507132735427844));
  p = madd(p, r, f32x4.splat(0.24022119723848676));
  p = madd(p, r, f32x4.splat(0.6931469670647331));
  p = madd(p, r, f32x4.splat(1.0));
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/**
 * c[6][8] = a[6][n] b[n][8], plus c times `factors` (eight, one per lane) if it is not 0. Strides in
 * bytes: `rs` and `cs` of a, `pitch` and `ldc` between rows of b and c.
 */
export function tile6x8(
  a: usize,
  rs: usize,
  cs: usize,
  b: usize,
  pitch: usize,
  n: i32,
  c: usize,
  ldc: usize,
  factors: usize,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let c50 = f32x4.splat(0);
  let c51 = f32x4.splat(0);
  const rs2 = rs * 2;
  const rs3 = rs * 3;
  const rs4 = rs * 4;
  const rs5 = rs * 5;
  for (; n > 0; n--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(a);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load32_splat(a + rs);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load32_splat(a + rs2);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load32_splat(a + rs3);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    const a4 = v128.load32_splat(a + rs4);
    c40 = madd(a4, b0, c40);
    c41 = madd(a4, b1, c41);
    const a5 = v128.load32_splat(a + rs5);
    c50 = madd(a5, b0, c50);
    c51 = madd(a5, b1, c51);
    a += cs;
    b += pitch;
  }
  if (factors) {
    const f0 = v128.load(factors);
    const f1 = v128.load(factors, 16);
    let from = c;
    c00 = madd(f0, v128.load(from), c00);
    c01 = madd(f1, v128.load(from, 16), c01);
    from += ldc;
    c10 = madd(f0, v128.load(from), c10);
    c11 = madd(f1, v128.load(from, 16), c11);
    from += ldc;
    c20 = madd(f0, v128.load(from), c20);
    c21 = madd(f1, v128.load(from, 16), c21);
    from += ldc;
    c30 = madd(f0, v128.load(from), c30);
    c31 = madd(f1, v128.load(from, 16), c31);
    from += ldc;
    c40 = madd(f0, v128.load(from), c40);
    c41 = madd(f1, v128.load(from, 16), c41);
    from += ldc;
    c50 = madd(f0, v128.load(from), c50);
    c51 = madd(f1, v128.load(from, 16), c51);
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
  c += ldc;
  v128.store(c, c40);
  v128.store(c, c41, 16);
  c += ldc;
  v128.store(c, c50);
  v128.store(c, c51, 16);
}

/** The same with four rows. */
function tile4x8(
  a: usize,
  rs: usize,
  cs: usize,
  b: usize,
  pitch: usize,
  n: i32,
  c: usize,
  ldc: usize,
  factors: usize,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  const rs2 = rs * 2;
  const rs3 = rs * 3;
  for (; n > 0; n--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(a);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load32_splat(a + rs);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load32_splat(a + rs2);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load32_splat(a + rs3);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    a += cs;
    b += pitch;
  }
  if (factors) {
    const f0 = v128.load(factors);
    const f1 = v128.load(factors, 16);
    let from = c;
    c00 = madd(f0, v128.load(from), c00);
    c01 = madd(f1, v128.load(from, 16), c01);
    from += ldc;
    c10 = madd(f0, v128.load(from), c10);
    c11 = madd(f1, v128.load(from, 16), c11);
    from += ldc;
    c20 = madd(f0, v128.load(from), c20);
    c21 = madd(f1, v128.load(from, 16), c21);
    from += ldc;
    c30 = madd(f0, v128.load(from), c30);
    c31 = madd(f1, v128.load(from, 16), c31);
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
}

/**
 * acc[c][0..8) = factors acc[c][0..8) + sum over j < n of p[j][0..8) x[j][c] for c < width, one factor per
 * lane. Reads up to 3 floats past a row of x and writes up to 3 rows past `width`, none if `width` is a
 * multiple of 4.
 */
export function accumulate(
  p: usize,
  pitch: usize,
  x: usize,
  xPitch: usize,
  n: i32,
  acc: usize,
  width: i32,
  factors: usize,
): void {
  let left = (width + 1) & ~1;
  while (left > 0) {
    // Sixes, with one or two fours at the end so that nothing is computed twice.
    if (left == 6 || left >= 10) {
      tile6x8(x, 4, xPitch, p, pitch, n, acc, 32, factors);
      left -= 6;
      x += 24;
      acc += 192;
    } else {
      tile4x8(x, 4, xPitch, p, pitch, n, acc, 32, factors);
      left -= 4;
      x += 16;
      acc += 128;
    }
  }
}

/**
 * out[j][0..8) = x[j] . panel for j < n rows of `width` floats against a panel [width][8]. Reads and writes
 * up to five rows past n.
 */
export function products(
  x: usize,
  xPitch: usize,
  n: i32,
  width: i32,
  panel: usize,
  out: usize,
  outPitch: usize,
): void {
  for (let j = 0; j < n; j += 6) {
    tile6x8(x, xPitch, 4, panel, 32, width, out, outPitch, 0);
    x += 6 * xPitch;
    out += 6 * outPitch;
  }
}

// @ts-ignore: decorator
@inline
function transpose4(x0: usize, x1: usize, x2: usize, x3: usize, to: usize, pitch: usize, factor: v128): void {
  const a = f32x4.mul(v128.load(x0), factor);
  const b = f32x4.mul(v128.load(x1), factor);
  const c = f32x4.mul(v128.load(x2), factor);
  const d = f32x4.mul(v128.load(x3), factor);
  const t0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const t1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const t2 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const t3 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i32>(t0, t2, 0, 1, 4, 5));
  v128.store(to + pitch, v128.shuffle<i32>(t0, t2, 2, 3, 6, 7));
  v128.store(to + 2 * pitch, v128.shuffle<i32>(t1, t3, 0, 1, 4, 5));
  v128.store(to + 3 * pitch, v128.shuffle<i32>(t1, t3, 2, 3, 6, 7));
}

/** Lanes lane to lane + 3 of a panel from four rows, times `factor`: to[c][0..4) = factor x_i[c]. */
export function packLanes(
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
    transpose4(x0, x1, x2, x3, to, 32, wide);
    x0 += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
    to += 128;
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
    to += 32;
  }
}

// @ts-ignore: decorator
@inline
function put(y: usize, x: v128, factor: f32, add: i32): void {
  const scaled = f32x4.mul(f32x4.splat(factor), x);
  v128.store(y, add ? f32x4.add(v128.load(y), scaled) : scaled);
}

/**
 * The first `n` of four lanes of a panel as rows: y_i[c] = f_i panel[c][i], added to y if `add` is not 0;
 * `factors` has one factor per lane.
 */
export function unpackLanes(
  panel: usize,
  width: i32,
  n: i32,
  y0: usize,
  y1: usize,
  y2: usize,
  y3: usize,
  factors: usize,
  add: i32,
): void {
  const f0 = load<f32>(factors);
  const f1 = load<f32>(factors, 4);
  const f2 = load<f32>(factors, 8);
  const f3 = load<f32>(factors, 12);
  let c = width;
  for (; c >= 4; c -= 4) {
    const r0 = v128.load(panel);
    const r1 = v128.load(panel, 32);
    const r2 = v128.load(panel, 64);
    const r3 = v128.load(panel, 96);
    const t0 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
    const t1 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
    const t2 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
    const t3 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
    put(y0, v128.shuffle<i32>(t0, t2, 0, 1, 4, 5), f0, add);
    if (n > 1) put(y1, v128.shuffle<i32>(t0, t2, 2, 3, 6, 7), f1, add);
    if (n > 2) put(y2, v128.shuffle<i32>(t1, t3, 0, 1, 4, 5), f2, add);
    if (n > 3) put(y3, v128.shuffle<i32>(t1, t3, 2, 3, 6, 7), f3, add);
    panel += 128;
    y0 += 16;
    y1 += 16;
    y2 += 16;
    y3 += 16;
  }
  for (; c > 0; c--) {
    store<f32>(y0, f0 * load<f32>(panel) + (add ? load<f32>(y0) : 0));
    if (n > 1) store<f32>(y1, f1 * load<f32>(panel, 4) + (add ? load<f32>(y1) : 0));
    if (n > 2) store<f32>(y2, f2 * load<f32>(panel, 8) + (add ? load<f32>(y2) : 0));
    if (n > 3) store<f32>(y3, f3 * load<f32>(panel, 12) + (add ? load<f32>(y3) : 0));
    panel += 32;
    y0 += 4;
    y1 += 4;
    y2 += 4;
    y3 += 4;
  }
}

/** Copies n floats. */
export function copyRow(x: usize, y: usize, n: i32): void {
  for (; n >= 4; n -= 4) {
    v128.store(y, v128.load(x));
    x += 16;
    y += 16;
  }
  for (; n > 0; n--) {
    store<f32>(y, load<f32>(x));
    x += 4;
    y += 4;
  }
}

/** Zeroes n vectors of four. */
export function zero(y: usize, n: i32): void {
  const nought = f32x4.splat(0);
  for (; n > 0; n--) {
    v128.store(y, nought);
    y += 16;
  }
}

/** Address of row (query, head of the group) if `base` is that of row 0. */
// @ts-ignore: decorator
@inline
export function rowAt(base: usize, row: i32, group: i32, heads: i32, bytes: usize): usize {
  return base + (<usize>(row / group) * <usize>heads + <usize>(row % group)) * bytes;
}
