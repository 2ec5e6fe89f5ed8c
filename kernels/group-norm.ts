/**
 * Group norm of images with channels last, with SiLU on the way if it is asked for. Sums are in double precision, so that
 * one pass gives mean and variance: an image of a decoder does not fit in any cache.
 */
import { madd } from "./math";
import { barrier, nextUnit, scratch } from "./runtime";
import { slicesOf, sumOverSamples, sumSamples } from "./sample-sums";
import { silu4, siluSlope4 } from "./silu";

/** Elements of a unit of the last phase. */
const UNIT: i32 = 32768;
/** Rows whose channels are summed one after another while they lie in the nearest cache. */
const TILE: i32 = 32;

/** Adds `rows` rows of two channels to their sums and sums of squares, four doubles at `to`. */
function sumTile2(x: usize, step: usize, rows: i32, to: usize): void {
  let s = load<f64>(to);
  let q = load<f64>(to, 8);
  let t = load<f64>(to, 16);
  let p = load<f64>(to, 24);
  for (let r = 0; r < rows; r++) {
    const v = <f64>load<f32>(x);
    const w = <f64>load<f32>(x, 4);
    s += v;
    q += v * v;
    t += w;
    p += w * w;
    x += step;
  }
  store<f64>(to, s);
  store<f64>(to, q, 8);
  store<f64>(to, t, 16);
  store<f64>(to, p, 24);
}

/** The same of one channel. */
function sumTile1(x: usize, step: usize, rows: i32, to: usize): void {
  let s = load<f64>(to);
  let q = load<f64>(to, 8);
  for (let r = 0; r < rows; r++) {
    const v = <f64>load<f32>(x);
    s += v;
    q += v * v;
    x += step;
  }
  store<f64>(to, s);
  store<f64>(to, q, 8);
}

/** Sum and sum of squares of each channel over a block of rows. */
function sumBlock(x: usize, n: i32, rows: i32, to: usize): void {
  const step = (<usize>n) << 2;
  memory.fill(to, 0, (<usize>n) << 4);
  for (let r = 0; r < rows; r += TILE) {
    const here = min(TILE, rows - r);
    const from = x + <usize>r * step;
    let c = 0;
    for (; c + 2 <= n; c += 2) sumTile2(from + ((<usize>c) << 2), step, here, to + ((<usize>c) << 4));
    for (; c < n; c++) sumTile1(from + ((<usize>c) << 2), step, here, to + ((<usize>c) << 4));
  }
}

/** Mean and inverse deviation of a group from the blocks' sums. */
function statistics(
  partial: usize,
  blocks: i32,
  n: i32,
  first: i32,
  width: i32,
  rows: i32,
  epsilon: f32,
  mean: usize,
  inverse: usize,
): void {
  let sum: f64 = 0;
  let squares: f64 = 0;
  for (let k = 0; k < blocks; k++) {
    const block = partial + ((<usize>k * <usize>n) << 4);
    for (let c = first; c < first + width; c++) {
      const at = block + ((<usize>c) << 4);
      sum += load<f64>(at);
      squares += load<f64>(at, 8);
    }
  }
  const count = <f64>rows * <f64>width;
  const center = sum / count;
  const variance = max<f64>(0, squares / count - center * center);
  store<f32>(mean, <f32>center);
  store<f32>(inverse, <f32>(1.0 / Math.sqrt(variance + <f64>epsilon)));
}

/** Writes each channel's mean, and its inverse deviation times w, to `to` and `to + 4 n`. */
function channelFactors(
  means: usize,
  inverses: usize,
  w: usize,
  n: i32,
  groups: i32,
  sample: i32,
  to: usize,
): void {
  const width = n / groups;
  for (let g = 0; g < groups; g++) {
    const at = (<usize>(sample * groups + g)) << 2;
    const mean = load<f32>(means + at);
    const inverse = load<f32>(inverses + at);
    for (let c = g * width; c < (g + 1) * width; c++) {
      store<f32>(to + ((<usize>c) << 2), mean);
      store<f32>(to + ((<usize>(n + c)) << 2), w != 0 ? inverse * load<f32>(w + ((<usize>c) << 2)) : inverse);
    }
  }
}

// @ts-ignore: decorator
@inline
function applyRow(x: usize, y: usize, n: i32, mean: usize, factor: usize, b: usize, swish: bool): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    let p = madd(
      f32x4.sub(v128.load(x + at), v128.load(mean + at)),
      v128.load(factor + at),
      v128.load(b + at),
    );
    let q = madd(
      f32x4.sub(v128.load(x + at, 16), v128.load(mean + at, 16)),
      v128.load(factor + at, 16),
      v128.load(b + at, 16),
    );
    if (swish) {
      p = silu4(p);
      q = silu4(q);
    }
    v128.store(y + at, p);
    v128.store(y + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const centered = f32x4.sub(v128.load32_zero(x + at), v128.load32_zero(mean + at));
    const p = madd(centered, v128.load32_zero(factor + at), v128.load32_zero(b + at));
    v128.store32_lane(y + at, swish ? silu4(p) : p, 0);
  }
}

// Called from two places each, so that they stay functions: inlined in nested loops, V8 of Node 26 crashes joining vectors.

function plainRow(x: usize, y: usize, n: i32, mean: usize, factor: usize, b: usize): void {
  applyRow(x, y, n, mean, factor, b, false);
}

function swishRow(x: usize, y: usize, n: i32, mean: usize, factor: usize, b: usize): void {
  applyRow(x, y, n, mean, factor, b, true);
}

/**
 * y = act((x - mean) inverse w + b), mean and deviation over the rows and channels of a group. Arguments: x [batch, rows, n],
 * w, b, y, mean, inverse [batch, groups], partial [batch, blocks, n, 4]; batch, rows, n, groups, blockRows, swish; epsilon.
 */
export function group_norm(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const b = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const means = load<usize>(a, 16);
  const inverses = load<usize>(a, 20);
  const partial = load<usize>(a, 24);
  const batch = load<i32>(a, 28);
  const rows = load<i32>(a, 32);
  const n = load<i32>(a, 36);
  const groups = load<i32>(a, 40);
  const blockRows = load<i32>(a, 44);
  const swish = load<i32>(a, 48) != 0;
  const epsilon = load<f32>(a, 52);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  for (let u = nextUnit(0); u < batch * blocks; u = nextUnit(0)) {
    const begin = (u % blocks) * blockRows;
    const row = <usize>(u / blocks) * <usize>rows + <usize>begin;
    sumBlock(x + row * step, n, min(blockRows, rows - begin), partial + <usize>u * step * 4);
  }
  barrier();
  const width = n / groups;
  for (let u = nextUnit(1); u < batch * groups; u = nextUnit(1)) {
    const sample = partial + <usize>(u / groups) * <usize>blocks * step * 4;
    const at = (<usize>u) << 2;
    statistics(sample, blocks, n, (u % groups) * width, width, rows, epsilon, means + at, inverses + at);
  }
  barrier();
  const perUnit = max(1, UNIT / n);
  const units = (rows + perUnit - 1) / perUnit;
  const mean = scratch();
  const factor = mean + step;
  for (let u = nextUnit(2); u < batch * units; u = nextUnit(2)) {
    const sample = u / units;
    channelFactors(means, inverses, w, n, groups, sample, mean);
    const begin = (u % units) * perUnit;
    const end = min(rows, begin + perUnit);
    let at = (<usize>sample * <usize>rows + <usize>begin) * step;
    for (let r = begin; r < end; r += 2) {
      const pair = r + 1 < end;
      if (swish) {
        swishRow(x + at, y + at, n, mean, factor, b);
        if (pair) swishRow(x + at + step, y + at + step, n, mean, factor, b);
      } else {
        plainRow(x + at, y + at, n, mean, factor, b);
        if (pair) plainRow(x + at + step, y + at + step, n, mean, factor, b);
      }
      at += 2 * step;
    }
  }
}

/** The gradient at the norm's result: dy, or dy times SiLU's slope there. */
// @ts-ignore: decorator
@inline
function before(dy: v128, hat: v128, w: v128, b: v128, swish: bool): v128 {
  return swish ? f32x4.mul(dy, siluSlope4(madd(hat, w, b))) : dy;
}

/** first += g and second += g xhat over a row. */
// @ts-ignore: decorator
@inline
function addSums(
  x: usize,
  dy: usize,
  w: usize,
  b: usize,
  n: i32,
  mean: usize,
  inverse: usize,
  first: usize,
  second: usize,
  swish: bool,
): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const hat = f32x4.mul(f32x4.sub(v128.load(x + at), v128.load(mean + at)), v128.load(inverse + at));
    const g = before(v128.load(dy + at), hat, v128.load(w + at), v128.load(b + at), swish);
    v128.store(first + at, f32x4.add(v128.load(first + at), g));
    v128.store(second + at, madd(g, hat, v128.load(second + at)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const centered = f32x4.sub(v128.load32_zero(x + at), v128.load32_zero(mean + at));
    const hat = f32x4.mul(centered, v128.load32_zero(inverse + at));
    const g = before(
      v128.load32_zero(dy + at),
      hat,
      v128.load32_zero(w + at),
      v128.load32_zero(b + at),
      swish,
    );
    v128.store32_lane(first + at, f32x4.add(v128.load32_zero(first + at), g), 0);
    v128.store32_lane(second + at, madd(g, hat, v128.load32_zero(second + at)), 0);
  }
}

/** dx (+)= inverse (g w - direct - xhat along), the last two per channel. */
// @ts-ignore: decorator
@inline
function rowGradient(
  x: usize,
  dy: usize,
  w: usize,
  b: usize,
  dx: usize,
  n: i32,
  mean: usize,
  inverse: usize,
  direct: usize,
  along: usize,
  accumulate: i32,
  swish: bool,
): void {
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const factor = v128.load(inverse + at);
    const weight = v128.load(w + at);
    const hat = f32x4.mul(f32x4.sub(v128.load(x + at), v128.load(mean + at)), factor);
    const g = before(v128.load(dy + at), hat, weight, v128.load(b + at), swish);
    const rest = madd(hat, v128.load(along + at), v128.load(direct + at));
    const value = f32x4.sub(f32x4.mul(g, weight), rest);
    v128.store(dx + at, madd(value, factor, v128.and(v128.load(dx + at), mask)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const factor = v128.load32_zero(inverse + at);
    const weight = v128.load32_zero(w + at);
    const hat = f32x4.mul(f32x4.sub(v128.load32_zero(x + at), v128.load32_zero(mean + at)), factor);
    const g = before(v128.load32_zero(dy + at), hat, weight, v128.load32_zero(b + at), swish);
    const rest = madd(hat, v128.load32_zero(along + at), v128.load32_zero(direct + at));
    const value = f32x4.sub(f32x4.mul(g, weight), rest);
    v128.store32_lane(dx + at, madd(value, factor, v128.and(v128.load32_zero(dx + at), mask)), 0);
  }
}

/** Of each channel its group's mean of g w, and of g w xhat, to `direct` and `along`. */
function groupMeans(
  sums: usize,
  w: usize,
  n: i32,
  groups: i32,
  rows: i32,
  direct: usize,
  along: usize,
): void {
  const width = n / groups;
  const count = <f64>rows * <f64>width;
  for (let g = 0; g < groups; g++) {
    let first: f64 = 0;
    let second: f64 = 0;
    for (let c = g * width; c < (g + 1) * width; c++) {
      const weight = <f64>load<f32>(w + ((<usize>c) << 2));
      first += weight * <f64>load<f32>(sums + ((<usize>c) << 2));
      second += weight * <f64>load<f32>(sums + ((<usize>(n + c)) << 2));
    }
    for (let c = g * width; c < (g + 1) * width; c++) {
      store<f32>(direct + ((<usize>c) << 2), <f32>(first / count));
      store<f32>(along + ((<usize>c) << 2), <f32>(second / count));
    }
  }
}

/**
 * Gradients of group_norm; dx, dw and db may be absent. Arguments: x, w, b, mean, inverse, dy, dx, dw, db,
 * partial [batch, blocks, 2, n], sums [batch, 2, n]; batch, rows, n, groups, blockRows, swish, accumulateX, accumulateW,
 * accumulateB.
 */
export function group_norm_grad(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const b = load<usize>(a, 8);
  const means = load<usize>(a, 12);
  const inverses = load<usize>(a, 16);
  const dy = load<usize>(a, 20);
  const dx = load<usize>(a, 24);
  const dw = load<usize>(a, 28);
  const db = load<usize>(a, 32);
  const partial = load<usize>(a, 36);
  const sums = load<usize>(a, 40);
  const batch = load<i32>(a, 44);
  const rows = load<i32>(a, 48);
  const n = load<i32>(a, 52);
  const groups = load<i32>(a, 56);
  const blockRows = load<i32>(a, 60);
  const swish = load<i32>(a, 64) != 0;
  const accumulateX = load<i32>(a, 68);
  const accumulateW = load<i32>(a, 72);
  const accumulateB = load<i32>(a, 76);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  const mean = scratch();
  const inverse = mean + step;
  const direct = inverse + step;
  const along = direct + step;
  for (let u = nextUnit(0); u < batch * blocks; u = nextUnit(0)) {
    const sample = u / blocks;
    const begin = (u % blocks) * blockRows;
    const to = partial + <usize>u * step * 2;
    memory.fill(to, 0, step * 2);
    channelFactors(means, inverses, 0, n, groups, sample, mean);
    const end = min(rows, begin + blockRows);
    for (let r = begin; r < end; r++) {
      const at = (<usize>sample * <usize>rows + <usize>r) * step;
      if (swish) addSums(x + at, dy + at, w, b, n, mean, inverse, to, to + step, true);
      else addSums(x + at, dy + at, w, b, n, mean, inverse, to, to + step, false);
    }
  }
  barrier();
  sumSamples(partial, sums, batch, blocks, 2 * n, 0, 1);
  barrier();
  const slices = slicesOf(n);
  for (let u = nextUnit(2); u < slices; u = nextUnit(2)) {
    if (db != 0) sumOverSamples(sums, db, batch, 2 * n, n, u, accumulateB);
    if (dw != 0) sumOverSamples(sums + step, dw, batch, 2 * n, n, u, accumulateW);
  }
  if (dx == 0) return;
  const perUnit = max(1, UNIT / n);
  const units = (rows + perUnit - 1) / perUnit;
  for (let u = nextUnit(3); u < batch * units; u = nextUnit(3)) {
    const sample = u / units;
    channelFactors(means, inverses, 0, n, groups, sample, mean);
    groupMeans(sums + <usize>sample * step * 2, w, n, groups, rows, direct, along);
    const begin = (u % units) * perUnit;
    const end = min(rows, begin + perUnit);
    for (let r = begin; r < end; r++) {
      const at = (<usize>sample * <usize>rows + <usize>r) * step;
      if (swish)
        rowGradient(x + at, dy + at, w, b, dx + at, n, mean, inverse, direct, along, accumulateX, true);
      else rowGradient(x + at, dy + at, w, b, dx + at, n, mean, inverse, direct, along, accumulateX, false);
    }
  }
}
