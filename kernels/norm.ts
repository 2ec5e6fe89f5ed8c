/** Root-mean-square normalization of rows, forward and backward. */
import { sumBlocks } from "./column-sums";
import { hsum, loadBf16, loadBf16x4, loadF16, loadF16x4, madd, nmadd } from "./math";
import { barrier, nextUnit } from "./runtime";

const UNIT: i32 = 16384;

// @ts-ignore: decorator
@inline
function weight4(w: usize, i: i32, dtype: i32): v128 {
  if (dtype == 0) return v128.load(w + ((<usize>i) << 2));
  if (dtype == 1) return loadBf16x4(w + ((<usize>i) << 1));
  return loadF16x4(w + ((<usize>i) << 1));
}

// @ts-ignore: decorator
@inline
function weight1(w: usize, i: i32, dtype: i32): f32 {
  if (dtype == 0) return load<f32>(w + ((<usize>i) << 2));
  if (dtype == 1) return loadBf16(w + ((<usize>i) << 1));
  return loadF16(w + ((<usize>i) << 1));
}

/** Sum of x[i]^2 in sixteen running sums. */
function sumSquares(x: usize, n: i32): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let i = 0;
  for (; i + 16 <= n; i += 16) {
    const at = x + ((<usize>i) << 2);
    const a = v128.load(at);
    const b = v128.load(at, 16);
    const c = v128.load(at, 32);
    const d = v128.load(at, 48);
    s0 = madd(a, a, s0);
    s1 = madd(b, b, s1);
    s2 = madd(c, c, s2);
    s3 = madd(d, d, s3);
  }
  for (; i + 4 <= n; i += 4) {
    const a = v128.load(x + ((<usize>i) << 2));
    s0 = madd(a, a, s0);
  }
  let sum = hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
  for (; i < n; i++) {
    const v = load<f32>(x + ((<usize>i) << 2));
    sum += v * v;
  }
  return sum;
}

// @ts-ignore: decorator
@inline
function applyRow(x: usize, w: usize, y: usize, n: i32, factor: f32, dtype: i32): void {
  const wide = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    v128.store(y + at, f32x4.mul(f32x4.mul(v128.load(x + at), wide), weight4(w, i, dtype)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    store<f32>(y + at, load<f32>(x + at) * factor * weight1(w, i, dtype));
  }
}

/**
 * y = x w / rms(x) per row; inverse (may be absent) gets 1 / rms.
 * Arguments: x, w, y, inverse; rows, n, dtype of w; epsilon.
 */
export function rms_norm(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const inverse = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const dtype = load<i32>(a, 24);
  const epsilon = load<f32>(a, 28);
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = (rows + rowsPerUnit - 1) / rowsPerUnit;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let r = u * rowsPerUnit; r < end; r++) {
      const row = (<usize>r * <usize>n) << 2;
      const factor = <f32>1.0 / sqrt<f32>(sumSquares(x + row, n) / <f32>n + epsilon);
      if (inverse) store<f32>(inverse + ((<usize>r) << 2), factor);
      if (dtype == 0) applyRow(x + row, w, y + row, n, factor, 0);
      else if (dtype == 1) applyRow(x + row, w, y + row, n, factor, 1);
      else applyRow(x + row, w, y + row, n, factor, 2);
    }
  }
}

/** Sum of dy w x over a row. */
// @ts-ignore: decorator
@inline
function rowDot(x: usize, w: usize, dy: usize, n: i32, dtype: i32): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let i = 0;
  for (; i + 16 <= n; i += 16) {
    const at = (<usize>i) << 2;
    s0 = madd(f32x4.mul(v128.load(dy + at), weight4(w, i, dtype)), v128.load(x + at), s0);
    s1 = madd(f32x4.mul(v128.load(dy + at, 16), weight4(w, i + 4, dtype)), v128.load(x + at, 16), s1);
    s2 = madd(f32x4.mul(v128.load(dy + at, 32), weight4(w, i + 8, dtype)), v128.load(x + at, 32), s2);
    s3 = madd(f32x4.mul(v128.load(dy + at, 48), weight4(w, i + 12, dtype)), v128.load(x + at, 48), s3);
  }
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    s0 = madd(f32x4.mul(v128.load(dy + at), weight4(w, i, dtype)), v128.load(x + at), s0);
  }
  let sum = hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    sum += load<f32>(dy + at) * weight1(w, i, dtype) * load<f32>(x + at);
  }
  return sum;
}

/** dx (+)= inverse (dy w - x c), with c = inverse^2 dot / n. */
// @ts-ignore: decorator
@inline
function rowGradient(
  x: usize,
  w: usize,
  dy: usize,
  dx: usize,
  n: i32,
  dtype: i32,
  inverse: f32,
  accumulate: i32,
): void {
  const c: f32 = (inverse * inverse * rowDot(x, w, dy, n, dtype)) / <f32>n;
  const wideC = f32x4.splat(c);
  const wideInverse = f32x4.splat(inverse);
  // All ones or all zeros: keeps or drops what is there without a branch in the loop.
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const direct = f32x4.mul(v128.load(dy + at), weight4(w, i, dtype));
    const value = nmadd(v128.load(x + at), wideC, direct);
    v128.store(dx + at, madd(value, wideInverse, v128.and(v128.load(dx + at), mask)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const value = inverse * (load<f32>(dy + at) * weight1(w, i, dtype) - load<f32>(x + at) * c);
    store<f32>(dx + at, accumulate ? load<f32>(dx + at) + value : value);
  }
}

/**
 * Gradients of rms_norm. dx and dw may be absent; partial [blocks, n] is temporary memory for dw, one row per
 * block of blockRows rows, summed in block order.
 * Arguments: x, w, inverse, dy, dx, dw, partial; rows, n, dtype of w, blockRows, accumulate dx, accumulate dw.
 */
export function rms_norm_grad(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const inverse = load<usize>(a, 8);
  const dy = load<usize>(a, 12);
  const dx = load<usize>(a, 16);
  const dw = load<usize>(a, 20);
  const partial = load<usize>(a, 24);
  const rows = load<i32>(a, 28);
  const n = load<i32>(a, 32);
  const dtype = load<i32>(a, 36);
  const blockRows = load<i32>(a, 40);
  const accumulateX = load<i32>(a, 44);
  const accumulateW = load<i32>(a, 48);
  const blocks = (rows + blockRows - 1) / blockRows;
  for (let u = nextUnit(0); u < blocks; u = nextUnit(0)) {
    const begin = u * blockRows;
    const end = min(rows, begin + blockRows);
    const sums = partial + ((<usize>u * <usize>n) << 2);
    if (dw) memory.fill(sums, 0, (<usize>n) << 2);
    for (let r = begin; r < end; r++) {
      const row = (<usize>r * <usize>n) << 2;
      const factor = load<f32>(inverse + ((<usize>r) << 2));
      if (dw) {
        const wide = f32x4.splat(factor);
        let i = 0;
        for (; i + 4 <= n; i += 4) {
          const at = (<usize>i) << 2;
          const product = f32x4.mul(v128.load(dy + row + at), v128.load(x + row + at));
          v128.store(sums + at, madd(product, wide, v128.load(sums + at)));
        }
        for (; i < n; i++) {
          const at = (<usize>i) << 2;
          const product = load<f32>(dy + row + at) * load<f32>(x + row + at) * factor;
          store<f32>(sums + at, load<f32>(sums + at) + product);
        }
      }
      if (dx) {
        if (dtype == 0) rowGradient(x + row, w, dy + row, dx + row, n, 0, factor, accumulateX);
        else if (dtype == 1) rowGradient(x + row, w, dy + row, dx + row, n, 1, factor, accumulateX);
        else rowGradient(x + row, w, dy + row, dx + row, n, 2, factor, accumulateX);
      }
    }
  }
  if (!dw) return;
  barrier();
  sumBlocks(partial, dw, blocks, n, accumulateW, 1);
}
