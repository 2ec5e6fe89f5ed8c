/**
 * Layer norm of rows, forward and backward, with a residual added on the way. A row stays in the first-level cache for
 * its three passes: mean, variance around the mean, result.
 */
import { sumBlocks } from "./column-sums";
import { hsum, madd, nmadd } from "./math";
import { barrier, nextUnit, scratch } from "./runtime";

const UNIT: i32 = 16384;

/** sum[n] = x + r; nothing if there is no r. */
// @ts-ignore: decorator
@inline
function addResidual(x: usize, r: usize, sum: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const p = f32x4.add(v128.load(x + at), v128.load(r + at));
    const q = f32x4.add(v128.load(x + at, 16), v128.load(r + at, 16));
    v128.store(sum + at, p);
    v128.store(sum + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    store<f32>(sum + at, load<f32>(x + at) + load<f32>(r + at));
  }
}

/** The sum of eight vectors that lie at `at`. */
// @ts-ignore: decorator
@inline
function sumOf8(at: usize): f32 {
  const a = f32x4.add(v128.load(at), v128.load(at, 16));
  const b = f32x4.add(v128.load(at, 32), v128.load(at, 48));
  const c = f32x4.add(v128.load(at, 64), v128.load(at, 80));
  const d = f32x4.add(v128.load(at, 96), v128.load(at, 112));
  return hsum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
}

// Sums leave through memory, pair beside pair: engines that join vectors start from neighboring stores.

/** Sum of x - shift in 32 running sums, or of its squares. */
// @ts-ignore: decorator
@inline
function rowSum(x: usize, n: i32, shift: f32, squares: bool): f32 {
  const wide = f32x4.splat(shift);
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  let i = 0;
  for (; i + 32 <= n; i += 32) {
    const at = x + ((<usize>i) << 2);
    if (squares) {
      const a = f32x4.sub(v128.load(at), wide);
      const b = f32x4.sub(v128.load(at, 16), wide);
      const c = f32x4.sub(v128.load(at, 32), wide);
      const d = f32x4.sub(v128.load(at, 48), wide);
      const e = f32x4.sub(v128.load(at, 64), wide);
      const f = f32x4.sub(v128.load(at, 80), wide);
      const g = f32x4.sub(v128.load(at, 96), wide);
      const h = f32x4.sub(v128.load(at, 112), wide);
      s0 = madd(a, a, s0);
      s1 = madd(b, b, s1);
      s2 = madd(c, c, s2);
      s3 = madd(d, d, s3);
      s4 = madd(e, e, s4);
      s5 = madd(f, f, s5);
      s6 = madd(g, g, s6);
      s7 = madd(h, h, s7);
    } else {
      s0 = f32x4.add(s0, v128.load(at));
      s1 = f32x4.add(s1, v128.load(at, 16));
      s2 = f32x4.add(s2, v128.load(at, 32));
      s3 = f32x4.add(s3, v128.load(at, 48));
      s4 = f32x4.add(s4, v128.load(at, 64));
      s5 = f32x4.add(s5, v128.load(at, 80));
      s6 = f32x4.add(s6, v128.load(at, 96));
      s7 = f32x4.add(s7, v128.load(at, 112));
    }
  }
  const sums = scratch();
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
  v128.store(sums, s4, 64);
  v128.store(sums, s5, 80);
  v128.store(sums, s6, 96);
  v128.store(sums, s7, 112);
  let sum = sumOf8(sums);
  for (; i < n; i++) {
    const v = load<f32>(x + ((<usize>i) << 2)) - shift;
    sum += squares ? v * v : v;
  }
  return sum;
}

/** y = (x - mean) inverse w + b. */
// @ts-ignore: decorator
@inline
function applyRow(x: usize, w: usize, b: usize, y: usize, n: i32, mean: f32, inverse: f32): void {
  const wideMean = f32x4.splat(mean);
  const wide = f32x4.splat(inverse);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const p = f32x4.mul(f32x4.sub(v128.load(x + at), wideMean), wide);
    const q = f32x4.mul(f32x4.sub(v128.load(x + at, 16), wideMean), wide);
    const s = madd(p, v128.load(w + at), v128.load(b + at));
    const t = madd(q, v128.load(w + at, 16), v128.load(b + at, 16));
    v128.store(y + at, s);
    v128.store(y + at, t, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const p = f32x4.mul(f32x4.sub(v128.load32_zero(x + at), wideMean), wide);
    v128.store32_lane(y + at, madd(p, v128.load32_zero(w + at), v128.load32_zero(b + at)), 0);
  }
}

/** One row; its statistics go to `means` and `inverses` unless these are 0. Called from two places, so that it stays a function. */
function normalizeRow(
  x: usize,
  w: usize,
  b: usize,
  y: usize,
  n: i32,
  epsilon: f32,
  means: usize,
  inverses: usize,
): void {
  const mean = rowSum(x, n, 0, false) / <f32>n;
  const inverse = <f32>1.0 / sqrt<f32>(rowSum(x, n, mean, true) / <f32>n + epsilon);
  if (means != 0) {
    store<f32>(means, mean);
    store<f32>(inverses, inverse);
  }
  applyRow(x, w, b, y, n, mean, inverse);
}

/**
 * y = (s - mean(s)) / sqrt(variance(s) + epsilon) w + b per row, where s is x, or x + r which is then written to `sum`.
 * Arguments: x, r, w, b, sum, y, mean, inverse (r and sum absent together; mean and inverse too); rows, n; epsilon.
 */
export function layer_norm(a: usize): void {
  const x = load<usize>(a);
  const r = load<usize>(a, 4);
  const w = load<usize>(a, 8);
  const b = load<usize>(a, 12);
  const sum = load<usize>(a, 16);
  const y = load<usize>(a, 20);
  const means = load<usize>(a, 24);
  const inverses = load<usize>(a, 28);
  const rows = load<i32>(a, 32);
  const n = load<i32>(a, 36);
  const epsilon = load<f32>(a, 40);
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = (rows + rowsPerUnit - 1) / rowsPerUnit;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let i = u * rowsPerUnit; i < end; i++) {
      const row = (<usize>i * <usize>n) << 2;
      const at = (<usize>i) << 2;
      const mean = means != 0 ? means + at : 0;
      const inverse = inverses != 0 ? inverses + at : 0;
      if (r != 0) {
        addResidual(x + row, r + row, sum + row, n);
        normalizeRow(sum + row, w, b, y + row, n, epsilon, mean, inverse);
      } else normalizeRow(x + row, w, b, y + row, n, epsilon, mean, inverse);
    }
  }
}

/** dw += dy xhat and db += dy over one row, xhat = (x - mean) inverse. */
// @ts-ignore: decorator
@inline
function addAffine(x: usize, dy: usize, dw: usize, db: usize, n: i32, mean: f32, inverse: f32): void {
  const wideMean = f32x4.splat(mean);
  const wide = f32x4.splat(inverse);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const d = v128.load(dy + at);
    const hat = f32x4.mul(f32x4.sub(v128.load(x + at), wideMean), wide);
    v128.store(dw + at, madd(d, hat, v128.load(dw + at)));
    v128.store(db + at, f32x4.add(v128.load(db + at), d));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const d = load<f32>(dy + at);
    store<f32>(dw + at, load<f32>(dw + at) + d * ((load<f32>(x + at) - mean) * inverse));
    store<f32>(db + at, load<f32>(db + at) + d);
  }
}

/** Where `sums` leaves its two results. */
let sumDirect: f32 = 0;
let sumHat: f32 = 0;

/** Sums of g = dy w and of g xhat over a row. */
function sums(x: usize, w: usize, dy: usize, n: i32, mean: f32, inverse: f32): void {
  const wideMean = f32x4.splat(mean);
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let t0 = s0;
  let t1 = s0;
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const g = f32x4.mul(v128.load(dy + at), v128.load(w + at));
    const h = f32x4.mul(v128.load(dy + at, 16), v128.load(w + at, 16));
    s0 = f32x4.add(s0, g);
    s1 = f32x4.add(s1, h);
    t0 = madd(g, f32x4.sub(v128.load(x + at), wideMean), t0);
    t1 = madd(h, f32x4.sub(v128.load(x + at, 16), wideMean), t1);
  }
  let direct = hsum(f32x4.add(s0, s1));
  let hat = hsum(f32x4.add(t0, t1));
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const g = load<f32>(dy + at) * load<f32>(w + at);
    direct += g;
    hat += g * (load<f32>(x + at) - mean);
  }
  sumDirect = direct;
  sumHat = hat * inverse;
}

/** dx = base + inverse (g - mean(g) - xhat mean(g xhat)). */
// @ts-ignore: decorator
@inline
function rowGradient(
  x: usize,
  w: usize,
  dy: usize,
  base: usize,
  dx: usize,
  n: i32,
  mean: f32,
  inverse: f32,
): void {
  sums(x, w, dy, n, mean, inverse);
  const wideMean = f32x4.splat(mean);
  const wide = f32x4.splat(inverse);
  const direct = f32x4.splat(sumDirect / <f32>n);
  const hat = f32x4.splat((sumHat / <f32>n) * inverse);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const g = f32x4.sub(f32x4.mul(v128.load(dy + at), v128.load(w + at)), direct);
    const h = f32x4.sub(f32x4.mul(v128.load(dy + at, 16), v128.load(w + at, 16)), direct);
    let p = f32x4.mul(nmadd(f32x4.sub(v128.load(x + at), wideMean), hat, g), wide);
    let q = f32x4.mul(nmadd(f32x4.sub(v128.load(x + at, 16), wideMean), hat, h), wide);
    if (base != 0) {
      p = f32x4.add(v128.load(base + at), p);
      q = f32x4.add(v128.load(base + at, 16), q);
    }
    v128.store(dx + at, p);
    v128.store(dx + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const g = f32x4.sub(f32x4.mul(v128.load32_zero(dy + at), v128.load32_zero(w + at)), direct);
    let p = f32x4.mul(nmadd(f32x4.sub(v128.load32_zero(x + at), wideMean), hat, g), wide);
    if (base != 0) p = f32x4.add(v128.load32_zero(base + at), p);
    v128.store32_lane(dx + at, p, 0);
  }
}

/**
 * Gradients of layer_norm. base (a gradient that dx adds to; it may be dx itself), dx, dw and db may be absent, dw and db
 * with their temporary memory partial [2, blocks, n] only together.
 * Arguments: x, w, mean, inverse, dy, base, dx, dw, db, partial; rows, n, blockRows, accumulateW, accumulateB.
 */
export function layer_norm_grad(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const means = load<usize>(a, 8);
  const inverses = load<usize>(a, 12);
  const dy = load<usize>(a, 16);
  const base = load<usize>(a, 20);
  const dx = load<usize>(a, 24);
  const dw = load<usize>(a, 28);
  const db = load<usize>(a, 32);
  const partial = load<usize>(a, 36);
  const rows = load<i32>(a, 40);
  const n = load<i32>(a, 44);
  const blockRows = load<i32>(a, 48);
  const accumulateW = load<i32>(a, 52);
  const accumulateB = load<i32>(a, 56);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  const biases = partial + <usize>blocks * step;
  for (let u = nextUnit(0); u < blocks; u = nextUnit(0)) {
    const end = min(rows, (u + 1) * blockRows);
    const sumW = partial + <usize>u * step;
    const sumB = biases + <usize>u * step;
    if (partial != 0) {
      memory.fill(sumW, 0, step);
      memory.fill(sumB, 0, step);
    }
    for (let i = u * blockRows; i < end; i++) {
      const row = <usize>i * step;
      const mean = load<f32>(means + ((<usize>i) << 2));
      const inverse = load<f32>(inverses + ((<usize>i) << 2));
      if (partial != 0) addAffine(x + row, dy + row, sumW, sumB, n, mean, inverse);
      if (dx == 0) continue;
      if (base != 0) rowGradient(x + row, w, dy + row, base + row, dx + row, n, mean, inverse);
      else rowGradient(x + row, w, dy + row, 0, dx + row, n, mean, inverse);
    }
  }
  if (partial == 0) return;
  barrier();
  if (dw != 0) sumBlocks(partial, dw, blocks, n, accumulateW, 1);
  if (db != 0) sumBlocks(biases, db, blocks, n, accumulateB, 2);
}
