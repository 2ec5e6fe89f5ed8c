/**
 * The inner loops of products with q8 weights: as quantized-q4.ts, with activations of 16 bits and weights that
 * widen to 16 bits as they are loaded, two columns of eight rows at a time.
 */
import { addRow, clear, scaled, scales } from "./quantized-lanes";
import { scratch } from "./runtime";

/** One row of activations against one group of q8 weights: 8 results at `to`. */
export function row8(x: usize, w: usize, blocks: i32, to: usize): void {
  const c = scratch();
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  let s0 = f32x4.splat(0);
  let s1 = s0;
  for (; blocks > 0; blocks--) {
    let t = v128.load32_splat(x, 4);
    let a0 = i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), t);
    let a1 = i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), t);
    t = v128.load32_splat(x, 8);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 32), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 40), t));
    t = v128.load32_splat(x, 12);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 48), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 56), t));
    t = v128.load32_splat(x, 16);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 64), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 72), t));
    t = v128.load32_splat(x, 20);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 80), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 88), t));
    t = v128.load32_splat(x, 24);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 96), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 104), t));
    t = v128.load32_splat(x, 28);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 112), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 120), t));
    t = v128.load32_splat(x, 32);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 128), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 136), t));
    t = v128.load32_splat(x, 36);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 144), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 152), t));
    t = v128.load32_splat(x, 40);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 160), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 168), t));
    t = v128.load32_splat(x, 44);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 176), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 184), t));
    t = v128.load32_splat(x, 48);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 192), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 200), t));
    t = v128.load32_splat(x, 52);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 208), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 216), t));
    t = v128.load32_splat(x, 56);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 224), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 232), t));
    t = v128.load32_splat(x, 60);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 240), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 248), t));
    t = v128.load32_splat(x, 64);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(w, 256), t));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(w, 264), t));
    const f = v128.load32_splat(x);
    s0 = scaled(a0, f, scales(w, mask0, factor0), s0);
    s1 = scaled(a1, f, scales(w + 8, mask1, factor1), s1);
    w += 272;
    x += 68;
  }
  v128.store(to, s0);
  v128.store(to, s1, 16);
}

/** Two rows of activations against one group of q8 weights: 8 results at `to`, 8 at `to` + 64. */
export function two8(x0: usize, x1: usize, w: usize, blocks: i32, to: usize): void {
  const c = scratch();
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  let s00 = f32x4.splat(0);
  let s01 = s00;
  let s10 = s00;
  let s11 = s00;
  for (; blocks > 0; blocks--) {
    let a00 = i32x4.splat(0);
    let a01 = i32x4.splat(0);
    let a10 = i32x4.splat(0);
    let a11 = i32x4.splat(0);
    for (let p: usize = 0; p < 16; p += 4) {
      const at = p << 4;
      const from = p << 2;
      const v00 = v128.load8x8_s(w + at, 16);
      const v01 = v128.load8x8_s(w + at, 24);
      const t00 = v128.load32_splat(x0 + from, 4);
      a00 = i32x4.add(a00, i32x4.dot_i16x8_s(t00, v00));
      a01 = i32x4.add(a01, i32x4.dot_i16x8_s(t00, v01));
      const t01 = v128.load32_splat(x1 + from, 4);
      a10 = i32x4.add(a10, i32x4.dot_i16x8_s(t01, v00));
      a11 = i32x4.add(a11, i32x4.dot_i16x8_s(t01, v01));
      const v10 = v128.load8x8_s(w + at, 32);
      const v11 = v128.load8x8_s(w + at, 40);
      const t10 = v128.load32_splat(x0 + from, 8);
      a00 = i32x4.add(a00, i32x4.dot_i16x8_s(t10, v10));
      a01 = i32x4.add(a01, i32x4.dot_i16x8_s(t10, v11));
      const t11 = v128.load32_splat(x1 + from, 8);
      a10 = i32x4.add(a10, i32x4.dot_i16x8_s(t11, v10));
      a11 = i32x4.add(a11, i32x4.dot_i16x8_s(t11, v11));
      const v20 = v128.load8x8_s(w + at, 48);
      const v21 = v128.load8x8_s(w + at, 56);
      const t20 = v128.load32_splat(x0 + from, 12);
      a00 = i32x4.add(a00, i32x4.dot_i16x8_s(t20, v20));
      a01 = i32x4.add(a01, i32x4.dot_i16x8_s(t20, v21));
      const t21 = v128.load32_splat(x1 + from, 12);
      a10 = i32x4.add(a10, i32x4.dot_i16x8_s(t21, v20));
      a11 = i32x4.add(a11, i32x4.dot_i16x8_s(t21, v21));
      const v30 = v128.load8x8_s(w + at, 64);
      const v31 = v128.load8x8_s(w + at, 72);
      const t30 = v128.load32_splat(x0 + from, 16);
      a00 = i32x4.add(a00, i32x4.dot_i16x8_s(t30, v30));
      a01 = i32x4.add(a01, i32x4.dot_i16x8_s(t30, v31));
      const t31 = v128.load32_splat(x1 + from, 16);
      a10 = i32x4.add(a10, i32x4.dot_i16x8_s(t31, v30));
      a11 = i32x4.add(a11, i32x4.dot_i16x8_s(t31, v31));
    }
    const e0 = scales(w, mask0, factor0);
    const e1 = scales(w + 8, mask1, factor1);
    const f0 = v128.load32_splat(x0);
    s00 = scaled(a00, f0, e0, s00);
    s01 = scaled(a01, f0, e1, s01);
    const f1 = v128.load32_splat(x1);
    s10 = scaled(a10, f1, e0, s10);
    s11 = scaled(a11, f1, e1, s11);
    w += 272;
    x0 += 68;
    x1 += 68;
  }
  v128.store(to, s00);
  v128.store(to, s01, 16);
  v128.store(to, s10, 64);
  v128.store(to, s11, 80);
}

/** Four rows of activations against two groups of q8 weights: four rows of 16 results at `to`. */
export function quad8(
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
  const mask0 = v128.load(c, 32);
  const mask1 = v128.load(c, 48);
  const factor0 = v128.load(c, 64);
  const factor1 = v128.load(c, 80);
  clear(to);
  clear(to + 128);
  for (; blocks > 0; blocks--) {
    let a000 = i32x4.splat(0);
    let a001 = i32x4.splat(0);
    let a010 = i32x4.splat(0);
    let a011 = i32x4.splat(0);
    let a100 = i32x4.splat(0);
    let a101 = i32x4.splat(0);
    let a110 = i32x4.splat(0);
    let a111 = i32x4.splat(0);
    let a200 = i32x4.splat(0);
    let a201 = i32x4.splat(0);
    let a210 = i32x4.splat(0);
    let a211 = i32x4.splat(0);
    let a300 = i32x4.splat(0);
    let a301 = i32x4.splat(0);
    let a310 = i32x4.splat(0);
    let a311 = i32x4.splat(0);
    for (let p: usize = 0; p < 16; p += 2) {
      const at = p << 4;
      const from = p << 2;
      const v000 = v128.load8x8_s(w0 + at, 16);
      const v001 = v128.load8x8_s(w0 + at, 24);
      const v010 = v128.load8x8_s(w1 + at, 16);
      const v011 = v128.load8x8_s(w1 + at, 24);
      const t00 = v128.load32_splat(x0 + from, 4);
      a000 = i32x4.add(a000, i32x4.dot_i16x8_s(t00, v000));
      a001 = i32x4.add(a001, i32x4.dot_i16x8_s(t00, v001));
      a010 = i32x4.add(a010, i32x4.dot_i16x8_s(t00, v010));
      a011 = i32x4.add(a011, i32x4.dot_i16x8_s(t00, v011));
      const t01 = v128.load32_splat(x1 + from, 4);
      a100 = i32x4.add(a100, i32x4.dot_i16x8_s(t01, v000));
      a101 = i32x4.add(a101, i32x4.dot_i16x8_s(t01, v001));
      a110 = i32x4.add(a110, i32x4.dot_i16x8_s(t01, v010));
      a111 = i32x4.add(a111, i32x4.dot_i16x8_s(t01, v011));
      const t02 = v128.load32_splat(x2 + from, 4);
      a200 = i32x4.add(a200, i32x4.dot_i16x8_s(t02, v000));
      a201 = i32x4.add(a201, i32x4.dot_i16x8_s(t02, v001));
      a210 = i32x4.add(a210, i32x4.dot_i16x8_s(t02, v010));
      a211 = i32x4.add(a211, i32x4.dot_i16x8_s(t02, v011));
      const t03 = v128.load32_splat(x3 + from, 4);
      a300 = i32x4.add(a300, i32x4.dot_i16x8_s(t03, v000));
      a301 = i32x4.add(a301, i32x4.dot_i16x8_s(t03, v001));
      a310 = i32x4.add(a310, i32x4.dot_i16x8_s(t03, v010));
      a311 = i32x4.add(a311, i32x4.dot_i16x8_s(t03, v011));
      const v100 = v128.load8x8_s(w0 + at, 32);
      const v101 = v128.load8x8_s(w0 + at, 40);
      const v110 = v128.load8x8_s(w1 + at, 32);
      const v111 = v128.load8x8_s(w1 + at, 40);
      const t10 = v128.load32_splat(x0 + from, 8);
      a000 = i32x4.add(a000, i32x4.dot_i16x8_s(t10, v100));
      a001 = i32x4.add(a001, i32x4.dot_i16x8_s(t10, v101));
      a010 = i32x4.add(a010, i32x4.dot_i16x8_s(t10, v110));
      a011 = i32x4.add(a011, i32x4.dot_i16x8_s(t10, v111));
      const t11 = v128.load32_splat(x1 + from, 8);
      a100 = i32x4.add(a100, i32x4.dot_i16x8_s(t11, v100));
      a101 = i32x4.add(a101, i32x4.dot_i16x8_s(t11, v101));
      a110 = i32x4.add(a110, i32x4.dot_i16x8_s(t11, v110));
      a111 = i32x4.add(a111, i32x4.dot_i16x8_s(t11, v111));
      const t12 = v128.load32_splat(x2 + from, 8);
      a200 = i32x4.add(a200, i32x4.dot_i16x8_s(t12, v100));
      a201 = i32x4.add(a201, i32x4.dot_i16x8_s(t12, v101));
      a210 = i32x4.add(a210, i32x4.dot_i16x8_s(t12, v110));
      a211 = i32x4.add(a211, i32x4.dot_i16x8_s(t12, v111));
      const t13 = v128.load32_splat(x3 + from, 8);
      a300 = i32x4.add(a300, i32x4.dot_i16x8_s(t13, v100));
      a301 = i32x4.add(a301, i32x4.dot_i16x8_s(t13, v101));
      a310 = i32x4.add(a310, i32x4.dot_i16x8_s(t13, v110));
      a311 = i32x4.add(a311, i32x4.dot_i16x8_s(t13, v111));
    }
    const e00 = scales(w0, mask0, factor0);
    const e01 = scales(w0 + 8, mask1, factor1);
    const e10 = scales(w1, mask0, factor0);
    const e11 = scales(w1 + 8, mask1, factor1);
    addRow(to, x0, a000, a001, a010, a011, e00, e01, e10, e11);
    addRow(to + 64, x1, a100, a101, a110, a111, e00, e01, e10, e11);
    addRow(to + 128, x2, a200, a201, a210, a211, e00, e01, e10, e11);
    addRow(to + 192, x3, a300, a301, a310, a311, e00, e01, e10, e11);
    w0 += 272;
    w1 += 272;
    x0 += 68;
    x1 += 68;
    x2 += 68;
    x3 += 68;
  }
}
