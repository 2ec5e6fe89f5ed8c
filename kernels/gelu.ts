/**
 * GELU (Hendrycks and Gimpel 2016), x P(X <= x) for normal X, exactly and in its tanh form, forward and backward.
 *
 * The exact form is max(x, 0) - t Q(t) with t = |x|, where Q(t) = exp(-t^2 / 2) R(t) is the tail of the normal
 * distribution. No subtraction cancels, so small results of negative x are as accurate as large ones. R is fitted by a
 * polynomial of degree 8 in 1 / (1 + 0.3 t) to 1.3e-7 relative, 2^f on [-1/2, 1/2] by one of degree 5 to 0.9e-7 (least
 * squares, reweighted to equal ripple). The tanh form is x times the logistic function of twice tanh's argument.
 */
import { madd, nmadd } from "./math";
import { nextUnit } from "./runtime";
import { unitsOf } from "./units";

const UNIT: i32 = 16384;

/** Activations by number, as `src/tensor/ops/gelu.ts` has them. */
export const NO_ACTIVATION: i32 = 0;
export const GELU: i32 = 1;
export const GELU_TANH: i32 = 2;

/*
 * Constants in memory: from there each is one load that goes to all lanes, in the code several instructions. Engines that
 * join vectors also join such loads.
 */
// biome-ignore format: a table
const CONSTANTS = memory.data<f32>([
  // 0: where both forms have reached their limits, and nothing is subnormal yet, which would be slow; zero; one; the density
  // of the normal distribution at 0.
  12.5, 0, 1, 0.3989422804014327,
  // 4: adding it rounds to an integer and leaves that in the low bits; bounds of exponents.
  12582912, -126, 126,
  // 7: 2^f.
  0.0013264725336268569, 0.009671512769826446, 0.055507337494451525, 0.24022242082537473, 0.6931469775948441,
  // 12: -log2(e) / 2; R.
  -0.7213475204444817, 0.3,
  0.03593203218548634, -0.15827713179632605, 0.208208379526437, -0.05539532462764094, 0.12946990507378214,
  0.09963730133873425, 0.12079838596375361, 0.11962638810991191,
  // 22: sqrt(8 / pi) (x + 0.044715 x^3) is twice tanh's argument; -log2(e) times that, and its slope.
  -0.1029432395800235, -2.302208198144325, 0.21406445181780073, 1.5957691216057308,
]);

// @ts-ignore: decorator
@inline
function constant(index: usize): v128 {
  return v128.load32_splat(CONSTANTS + (index << 2));
}

// @ts-ignore: decorator
@inline
function one(): v128 {
  return constant(2);
}

/** 2^v for v from -126 to 126. */
// @ts-ignore: decorator
@inline
function powerOfTwo(v: v128): v128 {
  const shifted = f32x4.add(v, constant(4));
  const f = f32x4.sub(v, f32x4.sub(shifted, constant(4)));
  let p = madd(f, constant(7), constant(8));
  p = madd(p, f, constant(9));
  p = madd(p, f, constant(10));
  p = madd(p, f, constant(11));
  p = madd(p, f, one());
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** exp(-t^2 / 2) for t from 0 to 12.5. */
// @ts-ignore: decorator
@inline
function bell(t: v128): v128 {
  return powerOfTwo(f32x4.mul(f32x4.mul(t, t), constant(12)));
}

/** P(X > t) for t >= 0, given bell(t). */
// @ts-ignore: decorator
@inline
function tail(t: v128, e: v128): v128 {
  const u = f32x4.div(one(), madd(t, constant(13), one()));
  let p = madd(u, constant(14), constant(15));
  p = madd(p, u, constant(16));
  p = madd(p, u, constant(17));
  p = madd(p, u, constant(18));
  p = madd(p, u, constant(19));
  p = madd(p, u, constant(20));
  p = madd(p, u, constant(21));
  return f32x4.mul(f32x4.mul(p, u), e);
}

/** Four values of the exact form. */
// @ts-ignore: decorator
@inline
export function gelu4(x: v128): v128 {
  const t = f32x4.pmin(f32x4.abs(x), constant(0));
  return nmadd(t, tail(t, bell(t)), f32x4.pmax(x, constant(1)));
}

/** One more than exp(-2 a), a being tanh's argument. */
// @ts-ignore: decorator
@inline
function onePlusExp(x: v128): v128 {
  const v = f32x4.mul(x, madd(f32x4.mul(x, x), constant(22), constant(23)));
  return f32x4.add(powerOfTwo(f32x4.pmin(f32x4.pmax(v, constant(5)), constant(6))), one());
}

/** Four values of the tanh form. */
// @ts-ignore: decorator
@inline
export function geluTanh4(x: v128): v128 {
  const v = f32x4.pmax(x, f32x4.neg(constant(0)));
  return f32x4.div(v, onePlusExp(v));
}

/** x, but at most 12.5 far from zero. */
// @ts-ignore: decorator
@inline
function near(x: v128): v128 {
  return f32x4.pmin(f32x4.pmax(x, f32x4.neg(constant(0))), constant(0));
}

/** Slope of the exact form: P(X <= x) + x times the density. */
// @ts-ignore: decorator
@inline
function slope4(x: v128): v128 {
  const v = near(x);
  const t = f32x4.abs(v);
  const e = bell(t);
  const q = tail(t, e);
  const below = v128.bitselect(q, f32x4.sub(one(), q), f32x4.lt(v, constant(1)));
  return madd(f32x4.mul(v, e), constant(3), below);
}

/** Slope of the tanh form. */
// @ts-ignore: decorator
@inline
function tanhSlope4(x: v128): v128 {
  const v = near(x);
  const s = f32x4.div(one(), onePlusExp(v));
  const inner = f32x4.mul(v, madd(f32x4.mul(v, v), constant(24), constant(25)));
  return madd(f32x4.mul(s, f32x4.sub(one(), s)), inner, s);
}

// @ts-ignore: decorator
@inline
function forward(x: usize, y: usize, n: i32, exact: bool): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const a = v128.load(x + at);
    const b = v128.load(x + at, 16);
    const p = exact ? gelu4(a) : geluTanh4(a);
    const q = exact ? gelu4(b) : geluTanh4(b);
    v128.store(y + at, p);
    v128.store(y + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const a = v128.load32_zero(x + at);
    v128.store32_lane(y + at, exact ? gelu4(a) : geluTanh4(a), 0);
  }
}

// Called from two places each, so that they stay functions: engines join vectors in simple loops, not in nested ones.

function forwardExact(x: usize, y: usize, n: i32): void {
  forward(x, y, n, true);
}

function forwardTanh(x: usize, y: usize, n: i32): void {
  forward(x, y, n, false);
}

/** y = gelu(x). Arguments: x, y; n, form (1 exact, 2 tanh). */
export function gelu(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const n = load<i32>(a, 8);
  const exact = load<i32>(a, 12) == GELU;
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const begin = u * UNIT;
    const at = (<usize>begin) << 2;
    const whole = begin + UNIT <= n;
    if (exact && whole) forwardExact(x + at, y + at, UNIT);
    else if (exact) forwardExact(x + at, y + at, n - begin);
    else if (whole) forwardTanh(x + at, y + at, UNIT);
    else forwardTanh(x + at, y + at, n - begin);
  }
}

// @ts-ignore: decorator
@inline
function backward(x: usize, dy: usize, dx: usize, n: i32, accumulate: i32, exact: bool): void {
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const a = v128.load(x + at);
    const b = v128.load(x + at, 16);
    const s = exact ? slope4(a) : tanhSlope4(a);
    const t = exact ? slope4(b) : tanhSlope4(b);
    const p = madd(v128.load(dy + at), s, v128.and(v128.load(dx + at), mask));
    const q = madd(v128.load(dy + at, 16), t, v128.and(v128.load(dx + at, 16), mask));
    v128.store(dx + at, p);
    v128.store(dx + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const a = v128.load32_zero(x + at);
    const s = exact ? slope4(a) : tanhSlope4(a);
    const old = v128.and(v128.load32_zero(dx + at), mask);
    v128.store32_lane(dx + at, madd(v128.load32_zero(dy + at), s, old), 0);
  }
}

function backwardExact(x: usize, dy: usize, dx: usize, n: i32, accumulate: i32): void {
  backward(x, dy, dx, n, accumulate, true);
}

function backwardTanh(x: usize, dy: usize, dx: usize, n: i32, accumulate: i32): void {
  backward(x, dy, dx, n, accumulate, false);
}

/** dx (+)= dy gelu'(x). Arguments: x, dy, dx; n, form (1 exact, 2 tanh), accumulate. */
export function gelu_grad(a: usize): void {
  const x = load<usize>(a);
  const dy = load<usize>(a, 4);
  const dx = load<usize>(a, 8);
  const n = load<i32>(a, 12);
  const exact = load<i32>(a, 16) == GELU;
  const accumulate = load<i32>(a, 20);
  const count = unitsOf(n, UNIT);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const begin = u * UNIT;
    const at = (<usize>begin) << 2;
    const whole = begin + UNIT <= n;
    if (exact && whole) backwardExact(x + at, dy + at, dx + at, UNIT, accumulate);
    else if (exact) backwardExact(x + at, dy + at, dx + at, n - begin, accumulate);
    else if (whole) backwardTanh(x + at, dy + at, dx + at, UNIT, accumulate);
    else backwardTanh(x + at, dy + at, dx + at, n - begin, accumulate);
  }
}
