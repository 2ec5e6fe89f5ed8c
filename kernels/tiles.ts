/**
 * The inner loops of matrix products: a tile of 6 rows whose sums stay in registers while k runs.
 *
 * `tile6x8` fits the 16 registers of 128-bit engines: 12 sums, two vectors of b, one of a. `tile6x16` is the same
 * shape for engines that join pairs of adjacent vectors into one of eight lanes; elsewhere its sums would spill.
 * Joining starts from neighboring stores with nothing between them that reads or writes memory, hence the order of
 * loads and stores at the end. Every element sums in the order of k, so both give the same bits. Written out in
 * full: the language has no arrays of registers.
 */
import { madd } from "./math";

/** c[6][8] (+)= a[6][k] b[k][8]; `b` is a packed panel, strides in bytes. */
export function tile6x8(
  a: usize,
  rs: usize,
  cs: usize,
  b: usize,
  k: i32,
  c: usize,
  ldc: usize,
  add: i32,
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
  for (; k > 0; k--) {
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
    b += 32;
  }
  if (add) {
    c00 = f32x4.add(v128.load(c), c00);
    c01 = f32x4.add(v128.load(c, 16), c01);
    v128.store(c, c00);
    v128.store(c, c01, 16);
    c += ldc;
    c10 = f32x4.add(v128.load(c), c10);
    c11 = f32x4.add(v128.load(c, 16), c11);
    v128.store(c, c10);
    v128.store(c, c11, 16);
    c += ldc;
    c20 = f32x4.add(v128.load(c), c20);
    c21 = f32x4.add(v128.load(c, 16), c21);
    v128.store(c, c20);
    v128.store(c, c21, 16);
    c += ldc;
    c30 = f32x4.add(v128.load(c), c30);
    c31 = f32x4.add(v128.load(c, 16), c31);
    v128.store(c, c30);
    v128.store(c, c31, 16);
    c += ldc;
    c40 = f32x4.add(v128.load(c), c40);
    c41 = f32x4.add(v128.load(c, 16), c41);
    v128.store(c, c40);
    v128.store(c, c41, 16);
    c += ldc;
    c50 = f32x4.add(v128.load(c), c50);
    c51 = f32x4.add(v128.load(c, 16), c51);
    v128.store(c, c50);
    v128.store(c, c51, 16);
  } else {
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
}

/** c[6][16] (+)= a[6][k] b[k][16]: the same for engines that join two vectors into one of eight lanes. */
export function tile6x16(
  a: usize,
  rs: usize,
  cs: usize,
  b: usize,
  k: i32,
  c: usize,
  ldc: usize,
  add: i32,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c02 = f32x4.splat(0);
  let c03 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c12 = f32x4.splat(0);
  let c13 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c22 = f32x4.splat(0);
  let c23 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c32 = f32x4.splat(0);
  let c33 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let c42 = f32x4.splat(0);
  let c43 = f32x4.splat(0);
  let c50 = f32x4.splat(0);
  let c51 = f32x4.splat(0);
  let c52 = f32x4.splat(0);
  let c53 = f32x4.splat(0);
  const rs2 = rs * 2;
  const rs3 = rs * 3;
  const rs4 = rs * 4;
  const rs5 = rs * 5;
  for (; k > 0; k--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(b, 32);
    const b3 = v128.load(b, 48);
    const a0 = v128.load32_splat(a);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    c02 = madd(a0, b2, c02);
    c03 = madd(a0, b3, c03);
    const a1 = v128.load32_splat(a + rs);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    c12 = madd(a1, b2, c12);
    c13 = madd(a1, b3, c13);
    const a2 = v128.load32_splat(a + rs2);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    c22 = madd(a2, b2, c22);
    c23 = madd(a2, b3, c23);
    const a3 = v128.load32_splat(a + rs3);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    c32 = madd(a3, b2, c32);
    c33 = madd(a3, b3, c33);
    const a4 = v128.load32_splat(a + rs4);
    c40 = madd(a4, b0, c40);
    c41 = madd(a4, b1, c41);
    c42 = madd(a4, b2, c42);
    c43 = madd(a4, b3, c43);
    const a5 = v128.load32_splat(a + rs5);
    c50 = madd(a5, b0, c50);
    c51 = madd(a5, b1, c51);
    c52 = madd(a5, b2, c52);
    c53 = madd(a5, b3, c53);
    a += cs;
    b += 64;
  }
  if (add) {
    c00 = f32x4.add(v128.load(c), c00);
    c01 = f32x4.add(v128.load(c, 16), c01);
    v128.store(c, c00);
    v128.store(c, c01, 16);
    c02 = f32x4.add(v128.load(c, 32), c02);
    c03 = f32x4.add(v128.load(c, 48), c03);
    v128.store(c, c02, 32);
    v128.store(c, c03, 48);
    c += ldc;
    c10 = f32x4.add(v128.load(c), c10);
    c11 = f32x4.add(v128.load(c, 16), c11);
    v128.store(c, c10);
    v128.store(c, c11, 16);
    c12 = f32x4.add(v128.load(c, 32), c12);
    c13 = f32x4.add(v128.load(c, 48), c13);
    v128.store(c, c12, 32);
    v128.store(c, c13, 48);
    c += ldc;
    c20 = f32x4.add(v128.load(c), c20);
    c21 = f32x4.add(v128.load(c, 16), c21);
    v128.store(c, c20);
    v128.store(c, c21, 16);
    c22 = f32x4.add(v128.load(c, 32), c22);
    c23 = f32x4.add(v128.load(c, 48), c23);
    v128.store(c, c22, 32);
    v128.store(c, c23, 48);
    c += ldc;
    c30 = f32x4.add(v128.load(c), c30);
    c31 = f32x4.add(v128.load(c, 16), c31);
    v128.store(c, c30);
    v128.store(c, c31, 16);
    c32 = f32x4.add(v128.load(c, 32), c32);
    c33 = f32x4.add(v128.load(c, 48), c33);
    v128.store(c, c32, 32);
    v128.store(c, c33, 48);
    c += ldc;
    c40 = f32x4.add(v128.load(c), c40);
    c41 = f32x4.add(v128.load(c, 16), c41);
    v128.store(c, c40);
    v128.store(c, c41, 16);
    c42 = f32x4.add(v128.load(c, 32), c42);
    c43 = f32x4.add(v128.load(c, 48), c43);
    v128.store(c, c42, 32);
    v128.store(c, c43, 48);
    c += ldc;
    c50 = f32x4.add(v128.load(c), c50);
    c51 = f32x4.add(v128.load(c, 16), c51);
    v128.store(c, c50);
    v128.store(c, c51, 16);
    c52 = f32x4.add(v128.load(c, 32), c52);
    c53 = f32x4.add(v128.load(c, 48), c53);
    v128.store(c, c52, 32);
    v128.store(c, c53, 48);
  } else {
    v128.store(c, c00);
    v128.store(c, c01, 16);
    v128.store(c, c02, 32);
    v128.store(c, c03, 48);
    c += ldc;
    v128.store(c, c10);
    v128.store(c, c11, 16);
    v128.store(c, c12, 32);
    v128.store(c, c13, 48);
    c += ldc;
    v128.store(c, c20);
    v128.store(c, c21, 16);
    v128.store(c, c22, 32);
    v128.store(c, c23, 48);
    c += ldc;
    v128.store(c, c30);
    v128.store(c, c31, 16);
    v128.store(c, c32, 32);
    v128.store(c, c33, 48);
    c += ldc;
    v128.store(c, c40);
    v128.store(c, c41, 16);
    v128.store(c, c42, 32);
    v128.store(c, c43, 48);
    c += ldc;
    v128.store(c, c50);
    v128.store(c, c51, 16);
    v128.store(c, c52, 32);
    v128.store(c, c53, 48);
  }
}
