/**
 * What a product does with its results before they leave the cache: add a bias, apply an activation. Products call
 * `applyEpilogue` once per block of results, after the last of the sums that they consist of.
 */
import { GELU, GELU_TANH, gelu4, geluTanh4, NO_ACTIVATION } from "./gelu";

// @ts-ignore: decorator
@inline
function finish4(sum: v128, bias: usize, hasBias: bool, activation: i32): v128 {
  const x = hasBias ? f32x4.add(sum, v128.load(bias)) : sum;
  return activation == NO_ACTIVATION ? x : activation == GELU ? gelu4(x) : geluTanh4(x);
}

/** One row; whether there is a bias and which activation are constants wherever it is inlined. */
// @ts-ignore: decorator
@inline
function finishRow(c: usize, bias: usize, n: i32, hasBias: bool, activation: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const p = finish4(v128.load(c + at), bias + at, hasBias, activation);
    const q = finish4(v128.load(c + at, 16), bias + at + 16, hasBias, activation);
    v128.store(c + at, p);
    v128.store(c + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    let p = v128.load32_zero(c + at);
    if (hasBias) p = f32x4.add(p, v128.load32_zero(bias + at));
    v128.store32_lane(c + at, finish4(p, 0, false, activation), 0);
  }
}

// Functions of their own, called from several places so that the compiler leaves them so: engines join vectors in simple
// loops, not in nested ones.

function biasRow(c: usize, bias: usize, n: i32): void {
  finishRow(c, bias, n, true, NO_ACTIVATION);
}

function geluRow(c: usize, bias: usize, n: i32): void {
  finishRow(c, bias, n, false, GELU);
}

function biasGeluRow(c: usize, bias: usize, n: i32): void {
  finishRow(c, bias, n, true, GELU);
}

function geluTanhRow(c: usize, bias: usize, n: i32): void {
  finishRow(c, bias, n, false, GELU_TANH);
}

function biasGeluTanhRow(c: usize, bias: usize, n: i32): void {
  finishRow(c, bias, n, true, GELU_TANH);
}

// @ts-ignore: decorator
@inline
function anyRow(c: usize, bias: usize, n: i32, activation: i32): void {
  if (bias != 0) {
    if (activation == NO_ACTIVATION) biasRow(c, bias, n);
    else if (activation == GELU) biasGeluRow(c, bias, n);
    else biasGeluTanhRow(c, bias, n);
  } else if (activation == GELU) geluRow(c, 0, n);
  else if (activation == GELU_TANH) geluTanhRow(c, 0, n);
}

/** c[m][n] = activation(c + bias in every row); no bias if it is 0. `ldc` in bytes. */
export function applyEpilogue(c: usize, ldc: usize, m: i32, n: i32, bias: usize, activation: i32): void {
  for (; m >= 2; m -= 2) {
    anyRow(c, bias, n, activation);
    anyRow(c + ldc, bias, n, activation);
    c += ldc * 2;
  }
  if (m > 0) anyRow(c, bias, n, activation);
}
