/**
 * The inner loops of quantized-q4.ts for engines that have no single instruction for sums of four products: sums of two stay
 * in 16 bits for a whole block and are widened once. Eight such sums of 4-bit by 8-bit products are at most
 * 8 x 2 x 15 x 127 = 30,480, so that the integers of a block are the same. A third of the instructions is saved.
 */
import { addRow, clear, pairs, scaled, scales, widened } from "./quantized-lanes";
import { scratch } from "./runtime";

/** One row of activations against one group of q4 weights: 8 results at `to`. */
export function row4Pairs(x: usize, w: usize, blocks: i32, to: usize): void {
  const c = scratch();
  const low0 = v128.load(c);
  const low1 = v128.load(c, 16);
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  const ones0 = v128.load(c, 96);
  const ones1 = v128.load(c, 112);
  let s0 = f32x4.splat(0);
  let s1 = s0;
  for (; blocks > 0; blocks--) {
    let a0 = i16x8.splat(0);
    let a1 = a0;
    for (let p: usize = 0; p < 4; p++) {
      const at = p << 5;
      const from = p << 2;
      const v0 = v128.load(w + at, 16);
      const v1 = v128.load(w + at, 32);
      const t = v128.load32_splat(x + from, 8);
      a0 = pairs(t, v128.and(v0, low0), a0);
      a1 = pairs(t, v128.and(v1, low1), a1);
      const u = v128.load32_splat(x + from, 24);
      a0 = pairs(u, v128.and(i32x4.shr_u(v0, 4), low0), a0);
      a1 = pairs(u, v128.and(i32x4.shr_u(v1, 4), low1), a1);
    }
    const offset = v128.load32_splat(x, 4);
    const f = v128.load32_splat(x);
    s0 = scaled(widened(a0, ones0, offset), f, scales(w, mask0, factor0), s0);
    s1 = scaled(widened(a1, ones1, offset), f, scales(w + 8, mask1, factor1), s1);
    w += 144;
    x += 40;
  }
  v128.store(to, s0);
  v128.store(to, s1, 16);
}

/** Two rows of activations against one group of q4 weights: 8 results at `to`, 8 at `to` + 64. */
export function two4Pairs(x0: usize, x1: usize, w: usize, blocks: i32, to: usize): void {
  const c = scratch();
  const low0 = v128.load(c);
  const low1 = v128.load(c, 16);
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  const ones0 = v128.load(c, 96);
  const ones1 = v128.load(c, 112);
  let s00 = f32x4.splat(0);
  let s01 = s00;
  let s10 = s00;
  let s11 = s00;
  for (; blocks > 0; blocks--) {
    let a00 = i16x8.splat(0);
    let a01 = a00;
    let a10 = a00;
    let a11 = a00;
    for (let p: usize = 0; p < 4; p++) {
      const at = p << 5;
      const from = p << 2;
      const v0 = v128.load(w + at, 16);
      const v1 = v128.load(w + at, 32);
      const l0 = v128.and(v0, low0);
      const l1 = v128.and(v1, low1);
      const t0 = v128.load32_splat(x0 + from, 8);
      a00 = pairs(t0, l0, a00);
      a01 = pairs(t0, l1, a01);
      const t1 = v128.load32_splat(x1 + from, 8);
      a10 = pairs(t1, l0, a10);
      a11 = pairs(t1, l1, a11);
      const h0 = v128.and(i32x4.shr_u(v0, 4), low0);
      const h1 = v128.and(i32x4.shr_u(v1, 4), low1);
      const u0 = v128.load32_splat(x0 + from, 24);
      a00 = pairs(u0, h0, a00);
      a01 = pairs(u0, h1, a01);
      const u1 = v128.load32_splat(x1 + from, 24);
      a10 = pairs(u1, h0, a10);
      a11 = pairs(u1, h1, a11);
    }
    const e0 = scales(w, mask0, factor0);
    const e1 = scales(w + 8, mask1, factor1);
    const o0 = v128.load32_splat(x0, 4);
    const f0 = v128.load32_splat(x0);
    s00 = scaled(widened(a00, ones0, o0), f0, e0, s00);
    s01 = scaled(widened(a01, ones1, o0), f0, e1, s01);
    const o1 = v128.load32_splat(x1, 4);
    const f1 = v128.load32_splat(x1);
    s10 = scaled(widened(a10, ones0, o1), f1, e0, s10);
    s11 = scaled(widened(a11, ones1, o1), f1, e1, s11);
    w += 144;
    x0 += 40;
    x1 += 40;
  }
  v128.store(to, s00);
  v128.store(to, s01, 16);
  v128.store(to, s10, 64);
  v128.store(to, s11, 80);
}

/** Four rows of activations against two groups of q4 weights: four rows of 16 results at `to`. */
export function quad4Pairs(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  w0: usize,
  w1: usize,
  blocks: i32,
  to: usize,
): void {
  const c = scratch();
  const low0 = v128.load(c);
  const low1 = v128.load(c, 16);
  clear(to);
  clear(to + 128);
  for (; blocks > 0; blocks--) {
    let a000 = i16x8.splat(0);
    let a001 = a000;
    let a010 = a000;
    let a011 = a000;
    let a100 = a000;
    let a101 = a000;
    let a110 = a000;
    let a111 = a000;
    let a200 = a000;
    let a201 = a000;
    let a210 = a000;
    let a211 = a000;
    let a300 = a000;
    let a301 = a000;
    let a310 = a000;
    let a311 = a000;
    for (let p: usize = 0; p < 4; p++) {
      const at = p << 5;
      const from = p << 2;
      const v00 = v128.load(w0 + at, 16);
      const v01 = v128.load(w0 + at, 32);
      const v10 = v128.load(w1 + at, 16);
      const v11 = v128.load(w1 + at, 32);
      const l00 = v128.and(v00, low0);
      const l01 = v128.and(v01, low1);
      const l10 = v128.and(v10, low0);
      const l11 = v128.and(v11, low1);
      const t0 = v128.load32_splat(x0 + from, 8);
      a000 = pairs(t0, l00, a000);
      a001 = pairs(t0, l01, a001);
      a010 = pairs(t0, l10, a010);
      a011 = pairs(t0, l11, a011);
      const t1 = v128.load32_splat(x1 + from, 8);
      a100 = pairs(t1, l00, a100);
      a101 = pairs(t1, l01, a101);
      a110 = pairs(t1, l10, a110);
      a111 = pairs(t1, l11, a111);
      const t2 = v128.load32_splat(x2 + from, 8);
      a200 = pairs(t2, l00, a200);
      a201 = pairs(t2, l01, a201);
      a210 = pairs(t2, l10, a210);
      a211 = pairs(t2, l11, a211);
      const t3 = v128.load32_splat(x3 + from, 8);
      a300 = pairs(t3, l00, a300);
      a301 = pairs(t3, l01, a301);
      a310 = pairs(t3, l10, a310);
      a311 = pairs(t3, l11, a311);
      const h00 = v128.and(i32x4.shr_u(v00, 4), low0);
      const h01 = v128.and(i32x4.shr_u(v01, 4), low1);
      const h10 = v128.and(i32x4.shr_u(v10, 4), low0);
      const h11 = v128.and(i32x4.shr_u(v11, 4), low1);
      const u0 = v128.load32_splat(x0 + from, 24);
      a000 = pairs(u0, h00, a000);
      a001 = pairs(u0, h01, a001);
      a010 = pairs(u0, h10, a010);
      a011 = pairs(u0, h11, a011);
      const u1 = v128.load32_splat(x1 + from, 24);
      a100 = pairs(u1, h00, a100);
      a101 = pairs(u1, h01, a101);
      a110 = pairs(u1, h10, a110);
      a111 = pairs(u1, h11, a111);
      const u2 = v128.load32_splat(x2 + from, 24);
      a200 = pairs(u2, h00, a200);
      a201 = pairs(u2, h01, a201);
      a210 = pairs(u2, h10, a210);
      a211 = pairs(u2, h11, a211);
      const u3 = v128.load32_splat(x3 + from, 24);
      a300 = pairs(u3, h00, a300);
      a301 = pairs(u3, h01, a301);
      a310 = pairs(u3, h10, a310);
      a311 = pairs(u3, h11, a311);
    }
    const ones0 = v128.load(c, 96);
    const ones1 = v128.load(c, 112);
    const mask0 = v128.load(c, 32);
    const mask1 = v128.load(c, 48);
    const factor0 = v128.load(c, 64);
    const factor1 = v128.load(c, 80);
    const e00 = scales(w0, mask0, factor0);
    const e01 = scales(w0 + 8, mask1, factor1);
    const e10 = scales(w1, mask0, factor0);
    const e11 = scales(w1 + 8, mask1, factor1);
    const o0 = v128.load32_splat(x0, 4);
    a000 = widened(a000, ones0, o0);
    a001 = widened(a001, ones1, o0);
    a010 = widened(a010, ones0, o0);
    a011 = widened(a011, ones1, o0);
    addRow(to, x0, a000, a001, a010, a011, e00, e01, e10, e11);
    const o1 = v128.load32_splat(x1, 4);
    a100 = widened(a100, ones0, o1);
    a101 = widened(a101, ones1, o1);
    a110 = widened(a110, ones0, o1);
    a111 = widened(a111, ones1, o1);
    addRow(to + 64, x1, a100, a101, a110, a111, e00, e01, e10, e11);
    const o2 = v128.load32_splat(x2, 4);
    a200 = widened(a200, ones0, o2);
    a201 = widened(a201, ones1, o2);
    a210 = widened(a210, ones0, o2);
    a211 = widened(a211, ones1, o2);
    addRow(to + 128, x2, a200, a201, a210, a211, e00, e01, e10, e11);
    const o3 = v128.load32_splat(x3, 4);
    a300 = widened(a300, ones0, o3);
    a301 = widened(a301, ones1, o3);
    a310 = widened(a310, ones0, o3);
    a311 = widened(a311, ones1, o3);
    addRow(to + 192, x3, a300, a301, a310, a311, e00, e01, e10, e11);
    w0 += 144;
    w1 += 144;
    x0 += 40;
    x1 += 40;
    x2 += 40;
    x3 += 40;
  }
}
