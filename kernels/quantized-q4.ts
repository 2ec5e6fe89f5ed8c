/**
 * The inner loops of products with q4 weights (layout: src/tensor/quantized.ts): one, two or four rows of quantized
 * activations (quantized-activations.ts) against one or two groups of 8 weight rows, each weight row in a lane.
 *
 * Shaped for engines that join two adjacent vectors into one of eight lanes: all is in pairs, results leave through
 * neighboring stores, and constants come from memory, since engines build a constant anew at every use. The dot
 * instruction has a long latency, so that four to eight chains of sums run side by side. With two groups the f32 sums
 * live in memory, so that all else fits 16 registers. Written out in full: the language has no arrays of registers. The
 * loops over a block's columns stay loops if sums fill the registers: straight code would be reordered, all loads
 * first, and spill (a third of the speed).
 */
import { addRow, clear, dot, scaled, scales } from "./quantized-lanes";
import { scratch } from "./runtime";

/** One row of activations against one group of q4 weights: 8 results at `to`. */
export function row4(x: usize, w: usize, blocks: i32, to: usize): void {
  const c = scratch();
  const low0 = v128.load(c);
  const low1 = v128.load(c, 16);
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  let s0 = f32x4.splat(0);
  let s1 = s0;
  for (; blocks > 0; blocks--) {
    // Two chains of sums per vector: the instruction has a long latency.
    let a0 = v128.load32_splat(x, 4);
    let a1 = v128.load32_splat(x, 4);
    let b0 = i32x4.splat(0);
    let b1 = b0;
    let v0 = v128.load(w, 16);
    let v1 = v128.load(w, 32);
    let t = v128.load32_splat(x, 8);
    let u = v128.load32_splat(x, 24);
    a0 = dot(t, v128.and(v0, low0), a0);
    a1 = dot(t, v128.and(v1, low1), a1);
    b0 = dot(u, v128.and(i32x4.shr_u(v0, 4), low0), b0);
    b1 = dot(u, v128.and(i32x4.shr_u(v1, 4), low1), b1);
    v0 = v128.load(w, 48);
    v1 = v128.load(w, 64);
    t = v128.load32_splat(x, 12);
    u = v128.load32_splat(x, 28);
    a0 = dot(t, v128.and(v0, low0), a0);
    a1 = dot(t, v128.and(v1, low1), a1);
    b0 = dot(u, v128.and(i32x4.shr_u(v0, 4), low0), b0);
    b1 = dot(u, v128.and(i32x4.shr_u(v1, 4), low1), b1);
    v0 = v128.load(w, 80);
    v1 = v128.load(w, 96);
    t = v128.load32_splat(x, 16);
    u = v128.load32_splat(x, 32);
    a0 = dot(t, v128.and(v0, low0), a0);
    a1 = dot(t, v128.and(v1, low1), a1);
    b0 = dot(u, v128.and(i32x4.shr_u(v0, 4), low0), b0);
    b1 = dot(u, v128.and(i32x4.shr_u(v1, 4), low1), b1);
    v0 = v128.load(w, 112);
    v1 = v128.load(w, 128);
    t = v128.load32_splat(x, 20);
    u = v128.load32_splat(x, 36);
    a0 = dot(t, v128.and(v0, low0), a0);
    a1 = dot(t, v128.and(v1, low1), a1);
    b0 = dot(u, v128.and(i32x4.shr_u(v0, 4), low0), b0);
    b1 = dot(u, v128.and(i32x4.shr_u(v1, 4), low1), b1);
    const f = v128.load32_splat(x);
    s0 = scaled(i32x4.add(a0, b0), f, scales(w, mask0, factor0), s0);
    s1 = scaled(i32x4.add(a1, b1), f, scales(w + 8, mask1, factor1), s1);
    w += 144;
    x += 40;
  }
  v128.store(to, s0);
  v128.store(to, s1, 16);
}

/** Two rows of activations against one group of q4 weights: 8 results at `to`, 8 at `to` + 64. */
export function two4(x0: usize, x1: usize, w: usize, blocks: i32, to: usize): void {
  const c = scratch();
  const low0 = v128.load(c);
  const low1 = v128.load(c, 16);
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  let s00 = f32x4.splat(0);
  let s01 = s00;
  let s10 = s00;
  let s11 = s00;
  for (; blocks > 0; blocks--) {
    let a00 = v128.load32_splat(x0, 4);
    let a01 = v128.load32_splat(x0, 4);
    let a10 = v128.load32_splat(x1, 4);
    let a11 = v128.load32_splat(x1, 4);
    let b00 = i32x4.splat(0);
    let b01 = i32x4.splat(0);
    let b10 = i32x4.splat(0);
    let b11 = i32x4.splat(0);
    for (let p: usize = 0; p < 4; p++) {
      const at = p << 5;
      const from = p << 2;
      const v0 = v128.load(w + at, 16);
      const v1 = v128.load(w + at, 32);
      const l0 = v128.and(v0, low0);
      const l1 = v128.and(v1, low1);
      const h0 = v128.and(i32x4.shr_u(v0, 4), low0);
      const h1 = v128.and(i32x4.shr_u(v1, 4), low1);
      const t0 = v128.load32_splat(x0 + from, 8);
      a00 = dot(t0, l0, a00);
      a01 = dot(t0, l1, a01);
      const t1 = v128.load32_splat(x1 + from, 8);
      a10 = dot(t1, l0, a10);
      a11 = dot(t1, l1, a11);
      const u0 = v128.load32_splat(x0 + from, 24);
      b00 = dot(u0, h0, b00);
      b01 = dot(u0, h1, b01);
      const u1 = v128.load32_splat(x1 + from, 24);
      b10 = dot(u1, h0, b10);
      b11 = dot(u1, h1, b11);
    }
    const e0 = scales(w, mask0, factor0);
    const e1 = scales(w + 8, mask1, factor1);
    const f0 = v128.load32_splat(x0);
    s00 = scaled(i32x4.add(a00, b00), f0, e0, s00);
    s01 = scaled(i32x4.add(a01, b01), f0, e1, s01);
    const f1 = v128.load32_splat(x1);
    s10 = scaled(i32x4.add(a10, b10), f1, e0, s10);
    s11 = scaled(i32x4.add(a11, b11), f1, e1, s11);
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
export function quad4(
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
    let a000 = v128.load32_splat(x0, 4);
    let a001 = v128.load32_splat(x0, 4);
    let a010 = v128.load32_splat(x0, 4);
    let a011 = v128.load32_splat(x0, 4);
    let a100 = v128.load32_splat(x1, 4);
    let a101 = v128.load32_splat(x1, 4);
    let a110 = v128.load32_splat(x1, 4);
    let a111 = v128.load32_splat(x1, 4);
    let a200 = v128.load32_splat(x2, 4);
    let a201 = v128.load32_splat(x2, 4);
    let a210 = v128.load32_splat(x2, 4);
    let a211 = v128.load32_splat(x2, 4);
    let a300 = v128.load32_splat(x3, 4);
    let a301 = v128.load32_splat(x3, 4);
    let a310 = v128.load32_splat(x3, 4);
    let a311 = v128.load32_splat(x3, 4);
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
      a000 = dot(t0, l00, a000);
      a001 = dot(t0, l01, a001);
      a010 = dot(t0, l10, a010);
      a011 = dot(t0, l11, a011);
      const t1 = v128.load32_splat(x1 + from, 8);
      a100 = dot(t1, l00, a100);
      a101 = dot(t1, l01, a101);
      a110 = dot(t1, l10, a110);
      a111 = dot(t1, l11, a111);
      const t2 = v128.load32_splat(x2 + from, 8);
      a200 = dot(t2, l00, a200);
      a201 = dot(t2, l01, a201);
      a210 = dot(t2, l10, a210);
      a211 = dot(t2, l11, a211);
      const t3 = v128.load32_splat(x3 + from, 8);
      a300 = dot(t3, l00, a300);
      a301 = dot(t3, l01, a301);
      a310 = dot(t3, l10, a310);
      a311 = dot(t3, l11, a311);
      const h00 = v128.and(i32x4.shr_u(v00, 4), low0);
      const h01 = v128.and(i32x4.shr_u(v01, 4), low1);
      const h10 = v128.and(i32x4.shr_u(v10, 4), low0);
      const h11 = v128.and(i32x4.shr_u(v11, 4), low1);
      const u0 = v128.load32_splat(x0 + from, 24);
      a000 = dot(u0, h00, a000);
      a001 = dot(u0, h01, a001);
      a010 = dot(u0, h10, a010);
      a011 = dot(u0, h11, a011);
      const u1 = v128.load32_splat(x1 + from, 24);
      a100 = dot(u1, h00, a100);
      a101 = dot(u1, h01, a101);
      a110 = dot(u1, h10, a110);
      a111 = dot(u1, h11, a111);
      const u2 = v128.load32_splat(x2 + from, 24);
      a200 = dot(u2, h00, a200);
      a201 = dot(u2, h01, a201);
      a210 = dot(u2, h10, a210);
      a211 = dot(u2, h11, a211);
      const u3 = v128.load32_splat(x3 + from, 24);
      a300 = dot(u3, h00, a300);
      a301 = dot(u3, h01, a301);
      a310 = dot(u3, h10, a310);
      a311 = dot(u3, h11, a311);
    }
    const mask0 = v128.load(c, 32);
    const mask1 = v128.load(c, 48);
    const factor0 = v128.load(c, 64);
    const factor1 = v128.load(c, 80);
    const e00 = scales(w0, mask0, factor0);
    const e01 = scales(w0 + 8, mask1, factor1);
    const e10 = scales(w1, mask0, factor0);
    const e11 = scales(w1 + 8, mask1, factor1);
    addRow(to, x0, a000, a001, a010, a011, e00, e01, e10, e11);
    addRow(to + 64, x1, a100, a101, a110, a111, e00, e01, e10, e11);
    addRow(to + 128, x2, a200, a201, a210, a211, e00, e01, e10, e11);
    addRow(to + 192, x3, a300, a301, a310, a311, e00, e01, e10, e11);
    w0 += 144;
    w1 += 144;
    x0 += 40;
    x1 += 40;
    x2 += 40;
    x3 += 40;
  }
}
