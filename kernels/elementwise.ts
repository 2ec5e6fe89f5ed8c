/** Filling, copying and arithmetic element by element, in units of 16K elements. */
import { expf, expf4, madd } from "./math";
import { nextUnit } from "./runtime";
import { unitsOf } from "./units";

const UNIT: i32 = 16384;

/** y = value. Arguments: y; n; value. */
export function fill(a: usize): void {
  const y = load<usize>(a);
  const n = load<i32>(a, 4);
  const value = load<f32>(a, 8);
  const wide = f32x4.splat(value);
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) v128.store(y + ((<usize>i) << 2), wide);
    for (; i < end; i++) store<f32>(y + ((<usize>i) << 2), value);
  }
}

/** y[r][0..n) = x[r][0..n). Arguments: x, y; rows, n, xStride, yStride. */
export function copy_rows(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const rows = load<i32>(a, 8);
  const n = load<i32>(a, 12);
  const xStride = (<usize>load<i32>(a, 16)) << 2;
  const yStride = (<usize>load<i32>(a, 20)) << 2;
  if (rows == 1) {
    const count = unitsOf(n, UNIT);
    for (let u = nextUnit(); u < count; u = nextUnit()) {
      const begin = u * UNIT;
      const bytes = (<usize>(min(n, begin + UNIT) - begin)) << 2;
      memory.copy(y + ((<usize>begin) << 2), x + ((<usize>begin) << 2), bytes);
    }
    return;
  }
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = unitsOf(rows, rowsPerUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let r = u * rowsPerUnit; r < end; r++) {
      const from = x + <usize>r * xStride;
      const to = y + <usize>r * yStride;
      let i = 0;
      for (; i + 4 <= n; i += 4) v128.store(to + ((<usize>i) << 2), v128.load(from + ((<usize>i) << 2)));
      for (; i < n; i++) store<f32>(to + ((<usize>i) << 2), load<f32>(from + ((<usize>i) << 2)));
    }
  }
}

/** y = alpha p + beta q. Arguments: p, q, y; n; alpha, beta. */
export function add_scaled(a: usize): void {
  const p = load<usize>(a);
  const q = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const n = load<i32>(a, 12);
  const alpha = load<f32>(a, 16);
  const beta = load<f32>(a, 20);
  const wideAlpha = f32x4.splat(alpha);
  const wideBeta = f32x4.splat(beta);
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) {
      const at = (<usize>i) << 2;
      const left = f32x4.mul(wideAlpha, v128.load(p + at));
      v128.store(y + at, f32x4.add(left, f32x4.mul(wideBeta, v128.load(q + at))));
    }
    for (; i < end; i++) {
      const at = (<usize>i) << 2;
      store<f32>(y + at, alpha * load<f32>(p + at) + beta * load<f32>(q + at));
    }
  }
}

/** y = alpha x. Arguments: x, y; n; alpha. */
export function scale(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const alpha = load<f32>(a, 12);
  const wide = f32x4.splat(alpha);
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) {
      const at = (<usize>i) << 2;
      v128.store(y + at, f32x4.mul(wide, v128.load(x + at)));
    }
    for (; i < end; i++) store<f32>(y + ((<usize>i) << 2), alpha * load<f32>(x + ((<usize>i) << 2)));
  }
}

/** y = e^x. Arguments: x, y; n. */
export function exp_elements(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(n, (u + 1) * UNIT);
    let i = u * UNIT;
    for (; i + 4 <= end; i += 4) {
      const at = (<usize>i) << 2;
      v128.store(y + at, expf4(v128.load(x + at)));
    }
    for (; i < end; i++) store<f32>(y + ((<usize>i) << 2), expf(load<f32>(x + ((<usize>i) << 2))));
  }
}

/** y (+)= p q, q repeated every `period` elements (n for operands of one size). Arguments: p, q, y; n, period, accumulate. */
export function multiply_elements(a: usize): void {
  const p = load<usize>(a);
  const q = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const n = load<i32>(a, 12);
  const period = load<i32>(a, 16);
  const mask = i32x4.splat(-load<i32>(a, 20));
  const single = f32x4.splat(load<f32>(q));
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    let begin = u * UNIT;
    const end = min(n, begin + UNIT);
    // Pieces of one repetition each; with a single factor the unit is one piece.
    while (begin < end) {
      const column = period == 1 ? 0 : begin % period;
      const width = period == 1 ? end - begin : min(period - column, end - begin);
      const from = p + ((<usize>begin) << 2);
      const factor = q + ((<usize>column) << 2);
      const to = y + ((<usize>begin) << 2);
      let i = 0;
      for (; i + 4 <= width; i += 4) {
        const at = (<usize>i) << 2;
        const right = period == 1 ? single : v128.load(factor + at);
        v128.store(to + at, madd(v128.load(from + at), right, v128.and(v128.load(to + at), mask)));
      }
      for (; i < width; i++) {
        const at = (<usize>i) << 2;
        const right = period == 1 ? single : v128.load32_zero(factor + at);
        const old = v128.and(v128.load32_zero(to + at), mask);
        v128.store32_lane(to + at, madd(v128.load32_zero(from + at), right, old), 0);
      }
      begin += width;
    }
  }
}
