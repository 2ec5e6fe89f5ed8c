/** AdamW in one pass over memory, and the factor that clips a gradient norm. */
import { loadBf16, loadBf16x4, madd, nmadd, storeBf16, storeBf16x4 } from "./math";
import { nextUnit } from "./runtime";

const UNIT: i32 = 16384;

// @ts-ignore: decorator
@inline
function moment4(m: usize, i: i32, narrow: bool): v128 {
  return narrow ? loadBf16x4(m + ((<usize>i) << 1)) : v128.load(m + ((<usize>i) << 2));
}

// @ts-ignore: decorator
@inline
function putMoment4(m: usize, i: i32, value: v128, narrow: bool): void {
  if (narrow) storeBf16x4(m + ((<usize>i) << 1), value);
  else v128.store(m + ((<usize>i) << 2), value);
}

// @ts-ignore: decorator
@inline
function moment1(m: usize, i: i32, narrow: bool): v128 {
  return f32x4.splat(narrow ? loadBf16(m + ((<usize>i) << 1)) : load<f32>(m + ((<usize>i) << 2)));
}

// @ts-ignore: decorator
@inline
function putMoment1(m: usize, i: i32, value: v128, narrow: bool): void {
  const one = f32x4.extract_lane(value, 0);
  if (narrow) storeBf16(m + ((<usize>i) << 1), one);
  else store<f32>(m + ((<usize>i) << 2), one);
}

// @ts-ignore: decorator
@inline
function update(a: usize, narrow: bool): void {
  const w = load<usize>(a);
  const g = load<usize>(a, 4);
  const m = load<usize>(a, 8);
  const v = load<usize>(a, 12);
  const scaleAt = load<usize>(a, 16);
  const n = load<i32>(a, 20);
  const decay = f32x4.splat(load<f32>(a, 28));
  const beta1 = f32x4.splat(load<f32>(a, 32));
  const rest1 = f32x4.splat(load<f32>(a, 36));
  const beta2 = f32x4.splat(load<f32>(a, 40));
  const rest2 = f32x4.splat(load<f32>(a, 44));
  const step = f32x4.splat(load<f32>(a, 48));
  const correction = f32x4.splat(load<f32>(a, 52));
  const epsilon = f32x4.splat(load<f32>(a, 56));
  const factor = f32x4.splat(scaleAt ? load<f32>(scaleAt) : <f32>1);
  const count = (n + UNIT - 1) / UNIT;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) {
      const at = (<usize>i) << 2;
      const grad = g ? f32x4.mul(v128.load(g + at), factor) : f32x4.splat(0);
      const first = madd(rest1, grad, f32x4.mul(beta1, moment4(m, i, narrow)));
      const second = madd(f32x4.mul(rest2, grad), grad, f32x4.mul(beta2, moment4(v, i, narrow)));
      putMoment4(m, i, first, narrow);
      putMoment4(v, i, second, narrow);
      const old = v128.load(w + at);
      const decayed = nmadd(decay, old, old);
      const below = madd(f32x4.sqrt(second), correction, epsilon);
      v128.store(w + at, nmadd(step, f32x4.div(first, below), decayed));
    }
    for (; i < end; i++) {
      const at = (<usize>i) << 2;
      const grad = g ? f32x4.mul(v128.load32_splat(g + at), factor) : f32x4.splat(0);
      const first = madd(rest1, grad, f32x4.mul(beta1, moment1(m, i, narrow)));
      const second = madd(f32x4.mul(rest2, grad), grad, f32x4.mul(beta2, moment1(v, i, narrow)));
      putMoment1(m, i, first, narrow);
      putMoment1(v, i, second, narrow);
      const old = v128.load32_splat(w + at);
      const decayed = nmadd(decay, old, old);
      const below = madd(f32x4.sqrt(second), correction, epsilon);
      v128.store32_lane(w + at, nmadd(step, f32x4.div(first, below), decayed), 0);
    }
  }
}

/**
 * One AdamW step in place. g absent: gradient zero; scale (one element) absent: 1.
 * Arguments: w, g, m, v, scale; n, dtype of m and v (0 f32, 1 bf16);
 * decay, beta1, 1 - beta1, beta2, 1 - beta2, step, correction, epsilon.
 */
export function adamw(a: usize): void {
  if (load<i32>(a, 24) == 1) update(a, true);
  else update(a, false);
}

/** y = min(1, limit / (sqrt(x) + 1e-6)) of one element. Arguments: x, y; (none); limit. */
export function clip_scale(a: usize): void {
  if (nextUnit() != 0) return;
  const norm = Math.sqrt(<f64>load<f32>(load<usize>(a)));
  store<f32>(load<usize>(a, 4), <f32>min<f64>(1.0, <f64>load<f32>(a, 8) / (norm + 1e-6)));
}
