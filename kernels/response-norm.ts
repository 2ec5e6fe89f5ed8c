/** Global response norm (Woo et al. 2023, arXiv 2301.00808, section 3.2), channels last, forward and backward. */
import { madd } from "./math";
import { barrier, nextUnit, scratch } from "./runtime";
import { addProducts, slicesOf, sumOverSamples, sumSamples } from "./sample-sums";

const UNIT: i32 = 32768;

/** sums[n] += x^2 over one row. */
function addSquares(x: usize, sums: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const p = v128.load(x + at);
    const q = v128.load(x + at, 16);
    const s = madd(p, p, v128.load(sums + at));
    const t = madd(q, q, v128.load(sums + at, 16));
    v128.store(sums + at, s);
    v128.store(sums + at, t, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const p = load<f32>(x + at);
    store<f32>(sums + at, load<f32>(sums + at) + p * p);
  }
}

/** Norms of a sample's channels over its rows, and 1 / (their mean + epsilon). */
function normsOf(partial: usize, norms: usize, blocks: i32, n: i32, epsilon: f32): f32 {
  let sum: f64 = 0;
  for (let c = 0; c < n; c++) {
    let squares: f64 = 0;
    for (let k = 0; k < blocks; k++)
      squares += <f64>load<f32>(partial + ((<usize>k * <usize>n + <usize>c) << 2));
    const norm = Math.sqrt(squares);
    store<f32>(norms + ((<usize>c) << 2), <f32>norm);
    sum += norm;
  }
  return <f32>(1.0 / (sum / <f64>n + <f64>epsilon));
}

/** y = x f + b. */
function applyRow(x: usize, f: usize, b: usize, y: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const p = madd(v128.load(x + at), v128.load(f + at), v128.load(b + at));
    const q = madd(v128.load(x + at, 16), v128.load(f + at, 16), v128.load(b + at, 16));
    v128.store(y + at, p);
    v128.store(y + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const p = madd(v128.load32_zero(x + at), v128.load32_zero(f + at), v128.load32_zero(b + at));
    v128.store32_lane(y + at, p, 0);
  }
}

/** dx (+)= dy f + x h. */
function gradientRow(dy: usize, f: usize, x: usize, h: usize, dx: usize, n: i32, accumulate: i32): void {
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load(dx + at), mask);
    const p = madd(v128.load(x + at), v128.load(h + at), old);
    v128.store(dx + at, madd(v128.load(dy + at), v128.load(f + at), p));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load32_zero(dx + at), mask);
    const p = madd(v128.load32_zero(x + at), v128.load32_zero(h + at), old);
    v128.store32_lane(dx + at, madd(v128.load32_zero(dy + at), v128.load32_zero(f + at), p), 0);
  }
}

/** to[n] = w norm scale + 1. */
function factorsOf(w: usize, norms: usize, scale: f32, to: usize, n: i32): void {
  for (let c = 0; c < n; c++) {
    const at = (<usize>c) << 2;
    store<f32>(to + at, load<f32>(w + at) * (load<f32>(norms + at) * scale) + 1);
  }
}

/**
 * y = (w g / (mean(g) + epsilon) + 1) x + b, g a channel's norm over the rows of a sample. Arguments: x [batch, rows, n], w,
 * b, y, norms [batch, n], scales [batch], partial [batch, blocks, n]; batch, rows, n, blockRows; epsilon.
 */
export function response_norm(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const b = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const norms = load<usize>(a, 16);
  const scales = load<usize>(a, 20);
  const partial = load<usize>(a, 24);
  const batch = load<i32>(a, 28);
  const rows = load<i32>(a, 32);
  const n = load<i32>(a, 36);
  const blockRows = load<i32>(a, 40);
  const epsilon = load<f32>(a, 44);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  for (let u = nextUnit(0); u < batch * blocks; u = nextUnit(0)) {
    const begin = (u % blocks) * blockRows;
    const to = partial + <usize>u * step;
    memory.fill(to, 0, step);
    const first = <usize>(u / blocks) * <usize>rows;
    const end = min(rows, begin + blockRows);
    for (let r = begin; r < end; r++) addSquares(x + (first + <usize>r) * step, to, n);
  }
  barrier();
  for (let u = nextUnit(1); u < batch; u = nextUnit(1)) {
    const from = partial + <usize>u * <usize>blocks * step;
    store<f32>(scales + ((<usize>u) << 2), normsOf(from, norms + <usize>u * step, blocks, n, epsilon));
  }
  barrier();
  const perUnit = max(1, UNIT / n);
  const units = (rows + perUnit - 1) / perUnit;
  const factors = scratch();
  for (let u = nextUnit(2); u < batch * units; u = nextUnit(2)) {
    const sample = u / units;
    factorsOf(w, norms + <usize>sample * step, load<f32>(scales + ((<usize>sample) << 2)), factors, n);
    const begin = (u % units) * perUnit;
    const end = min(rows, begin + perUnit);
    for (let r = begin; r < end; r++) {
      const at = (<usize>sample * <usize>rows + <usize>r) * step;
      applyRow(x + at, factors, b, y + at, n);
    }
  }
}

/** slopes[n]: the gradient of a sample's norms, divided by them; `products` are sums of dy x. */
function slopesOf(products: usize, w: usize, norms: usize, scale: f32, slopes: usize, n: i32): void {
  let total: f64 = 0;
  for (let c = 0; c < n; c++) {
    const at = (<usize>c) << 2;
    total += <f64>load<f32>(w + at) * <f64>load<f32>(products + at) * <f64>load<f32>(norms + at) * <f64>scale;
  }
  const mean = total / <f64>n;
  for (let c = 0; c < n; c++) {
    const at = (<usize>c) << 2;
    const norm = <f64>load<f32>(norms + at);
    const direct = <f64>load<f32>(w + at) * <f64>load<f32>(products + at);
    store<f32>(slopes + at, norm > 0 ? <f32>(((direct - mean) * <f64>scale) / norm) : 0);
  }
}

/**
 * Gradients of response_norm; dx, dw and db may be absent. Arguments: x, w, norms, scales, dy, dx, dw, db,
 * partial [batch, blocks, 2, n], sums [batch, 2, n], slopes [batch, n]; batch, rows, n, blockRows, accumulateX, accumulateW,
 * accumulateB.
 */
export function response_norm_grad(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const norms = load<usize>(a, 8);
  const scales = load<usize>(a, 12);
  const dy = load<usize>(a, 16);
  const dx = load<usize>(a, 20);
  const dw = load<usize>(a, 24);
  const db = load<usize>(a, 28);
  const partial = load<usize>(a, 32);
  const sums = load<usize>(a, 36);
  const slopes = load<usize>(a, 40);
  const batch = load<i32>(a, 44);
  const rows = load<i32>(a, 48);
  const n = load<i32>(a, 52);
  const blockRows = load<i32>(a, 56);
  const accumulateX = load<i32>(a, 60);
  const accumulateW = load<i32>(a, 64);
  const accumulateB = load<i32>(a, 68);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  for (let u = nextUnit(0); u < batch * blocks; u = nextUnit(0)) {
    const begin = (u % blocks) * blockRows;
    const to = partial + <usize>u * step * 2;
    memory.fill(to, 0, step * 2);
    const first = <usize>(u / blocks) * <usize>rows;
    const end = min(rows, begin + blockRows);
    for (let r = begin; r < end; r++) {
      const at = (first + <usize>r) * step;
      addProducts(dy + at, x + at, to, to + step, n);
    }
  }
  barrier();
  sumSamples(partial, sums, batch, blocks, 2 * n, 0, 1);
  barrier();
  // The slopes of samples, then factors of the weight's gradient in place of their sums: each sample is one unit.
  const factors = scratch();
  for (let u = nextUnit(2); u < batch; u = nextUnit(2)) {
    const scale = load<f32>(scales + ((<usize>u) << 2));
    const products = sums + (2 * <usize>u + 1) * step;
    const norm = norms + <usize>u * step;
    slopesOf(products, w, norm, scale, slopes + <usize>u * step, n);
    for (let c = 0; c < n; c++) {
      const at = (<usize>c) << 2;
      store<f32>(products + at, load<f32>(products + at) * (load<f32>(norm + at) * scale));
    }
  }
  barrier();
  const slices = slicesOf(n);
  const perUnit = max(1, UNIT / n);
  const units = dx != 0 ? (rows + perUnit - 1) / perUnit : 0;
  for (let u = nextUnit(3); u < slices + batch * units; u = nextUnit(3)) {
    if (u < slices) {
      if (db != 0) sumOverSamples(sums, db, batch, 2 * n, n, u, accumulateB);
      if (dw != 0) sumOverSamples(sums + step, dw, batch, 2 * n, n, u, accumulateW);
      continue;
    }
    const unit = u - slices;
    const sample = unit / units;
    factorsOf(w, norms + <usize>sample * step, load<f32>(scales + ((<usize>sample) << 2)), factors, n);
    const begin = (unit % units) * perUnit;
    const end = min(rows, begin + perUnit);
    for (let r = begin; r < end; r++) {
      const at = (<usize>sample * <usize>rows + <usize>r) * step;
      gradientRow(dy + at, factors, x + at, slopes + <usize>sample * step, dx + at, n, accumulateX);
    }
  }
}
