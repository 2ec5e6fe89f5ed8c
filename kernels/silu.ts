/** SiLU, x sigmoid(x) (Elfwing, Uchibe and Doya 2018), and the sigmoid alone, forward and backward. */
import { madd, sigmoid4 } from "./math";
import { nextUnit } from "./runtime";
import { unitsOf } from "./units";

const UNIT: i32 = 16384;

// @ts-ignore: decorator
@inline
export function silu4(x: v128): v128 {
  return f32x4.mul(x, sigmoid4(x));
}

/** Slope of silu: s (1 + x (1 - s)). */
// @ts-ignore: decorator
@inline
export function siluSlope4(x: v128): v128 {
  const s = sigmoid4(x);
  const one = f32x4.splat(1);
  return f32x4.mul(s, madd(x, f32x4.sub(one, s), one));
}

// @ts-ignore: decorator
@inline
function slopeOf(x: v128, gated: bool): v128 {
  if (gated) return siluSlope4(x);
  const s = sigmoid4(x);
  return f32x4.mul(s, f32x4.sub(f32x4.splat(1), s));
}

// @ts-ignore: decorator
@inline
function forward(x: usize, y: usize, n: i32, gated: bool): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const a = v128.load(x + at);
    const b = v128.load(x + at, 16);
    const p = gated ? silu4(a) : sigmoid4(a);
    const q = gated ? silu4(b) : sigmoid4(b);
    v128.store(y + at, p);
    v128.store(y + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const a = v128.load32_zero(x + at);
    v128.store32_lane(y + at, gated ? silu4(a) : sigmoid4(a), 0);
  }
}

// @ts-ignore: decorator
@inline
function backward(x: usize, dy: usize, dx: usize, n: i32, accumulate: i32, gated: bool): void {
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const s = slopeOf(v128.load(x + at), gated);
    const t = slopeOf(v128.load(x + at, 16), gated);
    const p = madd(v128.load(dy + at), s, v128.and(v128.load(dx + at), mask));
    const q = madd(v128.load(dy + at, 16), t, v128.and(v128.load(dx + at, 16), mask));
    v128.store(dx + at, p);
    v128.store(dx + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load32_zero(dx + at), mask);
    const s = slopeOf(v128.load32_zero(x + at), gated);
    v128.store32_lane(dx + at, madd(v128.load32_zero(dy + at), s, old), 0);
  }
}

/** y = silu(x) or sigmoid(x). Arguments: x, y; n, gated (1 for silu). */
export function silu(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const gated = load<i32>(a, 12) != 0;
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const at = (<usize>(u * UNIT)) << 2;
    const width = min(UNIT, n - u * UNIT);
    if (gated) forward(x + at, y + at, width, true);
    else forward(x + at, y + at, width, false);
  }
}

/** dx (+)= dy times the slope at x. Arguments: x, dy, dx; n, gated, accumulate. */
export function silu_grad(a: usize): void {
  const x = load<usize>(a);
  const dy = load<usize>(a, 4);
  const dx = load<usize>(a, 8);
  const n = load<i32>(a, 12);
  const gated = load<i32>(a, 16) != 0;
  const accumulate = load<i32>(a, 20);
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const at = (<usize>(u * UNIT)) << 2;
    const width = min(UNIT, n - u * UNIT);
    if (gated) backward(x + at, dy + at, dx + at, width, accumulate, true);
    else backward(x + at, dy + at, dx + at, width, accumulate, false);
  }
}
