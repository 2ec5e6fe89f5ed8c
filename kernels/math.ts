/**
 * Arithmetic that kernels share, four lanes at a time: fused multiply-add, exp, log, horizontal sums and the
 * narrow float formats. All of it inlines; none of it needs memory. exp follows Cephes expf (range reduction by
 * ln 2 in two parts, polynomial of degree 5); no other transcendental functions are here.
 */

/** a b + c: fused if the build has relaxed SIMD and the processor fuses. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** c - a b. */
// @ts-ignore: decorator
@inline
export function nmadd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_nmadd(a, b, c);
  return f32x4.sub(c, f32x4.mul(a, b));
}

/*
 * Constants of exp and of rounding as globals: V8 builds a vector constant anew, in three or four instructions, wherever a loop uses
 * it, while a global is one load. `pin` keeps the optimizer from folding them back; without it exp is 1.4 to
 * 1.7 times slower.
 */
let LOG2E: v128 = f32x4.splat(1.4426950408889634);
// 1.5 * 2^23 + 127: adding it rounds to an integer and leaves the biased exponent in the low bits.
let MAGIC: v128 = f32x4.splat(12583039.0);
let LN2_HIGH: v128 = f32x4.splat(0.693359375);
let LN2_LOW: v128 = f32x4.splat(-2.1219444e-4);
let EXP_7: v128 = f32x4.splat(1.98756915e-4);
let EXP_6: v128 = f32x4.splat(1.3981999507e-3);
let EXP_5: v128 = f32x4.splat(8.3334519073e-3);
let EXP_4: v128 = f32x4.splat(4.1665795894e-2);
let EXP_3: v128 = f32x4.splat(1.6666665459e-1);
let EXP_2: v128 = f32x4.splat(5.0000001201e-1);
let ONE: v128 = f32x4.splat(1.0);
let LOWEST: v128 = f32x4.splat(-87.33654);
let SUBNORMAL_LOWEST: v128 = f32x4.splat(-104.0);
let HIGHEST: v128 = f32x4.splat(89.0);
let BIT_0: v128 = i32x4.splat(1);
let LOW_15: v128 = i32x4.splat(0x7fff);
let QUIET: v128 = i32x4.splat(0x40);

/** Makes the constants look variable. One kernel calls it, with what is 0 at run time but not for the compiler. */
export function pin(zero: i32): void {
  if (zero == 0) return;
  const x = f32x4.splat(<f32>zero);
  LOG2E = f32x4.add(LOG2E, x);
  MAGIC = f32x4.add(MAGIC, x);
  LN2_HIGH = f32x4.add(LN2_HIGH, x);
  LN2_LOW = f32x4.add(LN2_LOW, x);
  EXP_7 = f32x4.add(EXP_7, x);
  EXP_6 = f32x4.add(EXP_6, x);
  EXP_5 = f32x4.add(EXP_5, x);
  EXP_4 = f32x4.add(EXP_4, x);
  EXP_3 = f32x4.add(EXP_3, x);
  EXP_2 = f32x4.add(EXP_2, x);
  ONE = f32x4.add(ONE, x);
  LOWEST = f32x4.add(LOWEST, x);
  SUBNORMAL_LOWEST = f32x4.add(SUBNORMAL_LOWEST, x);
  HIGHEST = f32x4.add(HIGHEST, x);
  BIT_0 = f32x4.add(BIT_0, x);
  LOW_15 = f32x4.add(LOW_15, x);
  QUIET = f32x4.add(QUIET, x);
}

/** exp(v - n ln 2) by Cephes' polynomial. */
// @ts-ignore: decorator
@inline
function reducedExp(v: v128, n: v128): v128 {
  const r = nmadd(n, LN2_LOW, nmadd(n, LN2_HIGH, v));
  let p = madd(r, EXP_7, EXP_6);
  p = madd(p, r, EXP_5);
  p = madd(p, r, EXP_4);
  p = madd(p, r, EXP_3);
  p = madd(p, r, EXP_2);
  return f32x4.add(madd(p, f32x4.mul(r, r), r), ONE);
}

/**
 * exp(x) to about 1e-7 relative. Below -104 (and at -inf) it is 0, above 88.73 inf, in between subnormals come
 * out as such; NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function expf4(x: v128): v128 {
  // pmin and pmax let a NaN in the first operand through and are one instruction each.
  const v = f32x4.pmax(f32x4.pmin(x, HIGHEST), SUBNORMAL_LOWEST);
  const shifted = madd(v, LOG2E, MAGIC);
  const p = reducedExp(v, f32x4.sub(shifted, MAGIC));
  // 2^n in two factors, so that n from -150 to 128 has a place.
  const power = i32x4.sub(shifted, MAGIC);
  const half = i32x4.shr_s(power, 1);
  const first = i32x4.add(i32x4.shl(half, 23), ONE);
  const second = i32x4.add(i32x4.shl(i32x4.sub(power, half), 23), ONE);
  return f32x4.mul(f32x4.mul(p, first), second);
}

/**
 * exp(x) for x <= 0 (softmax weights): as expf4 but below -87.3, where results would be subnormal, it is 0.
 * Fewer instructions than expf4; right up to x = 88. NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function expNegative4(x: v128): v128 {
  const v = f32x4.pmax(x, LOWEST);
  const shifted = madd(v, LOG2E, MAGIC);
  const p = reducedExp(v, f32x4.sub(shifted, MAGIC));
  return v128.andnot(f32x4.mul(p, i32x4.shl(shifted, 23)), f32x4.lt(x, LOWEST));
}

/** exp(x) of one number, the same bits as a lane of expf4. */
// @ts-ignore: decorator
@inline
export function expf(x: f32): f32 {
  return f32x4.extract_lane(expf4(f32x4.splat(x)), 0);
}

/** 1 / (1 + exp(-x)). */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  return f32x4.div(ONE, f32x4.add(ONE, expf4(f32x4.neg(x))));
}

/** Natural logarithm in double precision of a finite or infinite x: -inf at 0, NaN below it. */
export function logd(x: f64): f64 {
  if (!(x > 0))
    return x == 0 ? -f64.reinterpret_i64(0x7ff0000000000000) : f64.reinterpret_i64(0x7ff8000000000000);
  if (x == f64.reinterpret_i64(0x7ff0000000000000)) return x;
  let e: i64 = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984.0;
    e = -54;
  }
  const bits = reinterpret<i64>(x);
  // Mantissa between sqrt(1/2) and sqrt(2), then log m = 2 artanh((m - 1) / (m + 1)).
  e += (bits >> 52) - 1023;
  let m = f64.reinterpret_i64((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e += 1;
  }
  const s = (m - 1.0) / (m + 1.0);
  const z = s * s;
  let p: f64 = 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  p = p * z + 1.0;
  return <f64>e * 0.6931471805599453 + 2.0 * s * p;
}

/** Natural logarithm, rounded from double precision. */
// @ts-ignore: decorator
@inline
export function logf(x: f32): f32 {
  return <f32>logd(<f64>x);
}

/** Sum of the four lanes, as (0 + 2) + (1 + 3). */
// @ts-ignore: decorator
@inline
export function hsum(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** Largest of the four lanes; NaN if a lane is NaN. */
// @ts-ignore: decorator
@inline
export function hmax(x: v128): f32 {
  const pairs = f32x4.max(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}

/** Four bf16 at `at` as f32. */
// @ts-ignore: decorator
@inline
export function loadBf16x4(at: usize): v128 {
  return i32x4.shl(v128.load16x4_u(at), 16);
}

/** One bf16 at `at` as f32. */
// @ts-ignore: decorator
@inline
export function loadBf16(at: usize): f32 {
  return reinterpret<f32>((<u32>load<u16>(at)) << 16);
}

/** bf16 bits of four f32 in the low halves of the lanes, rounded to nearest even; NaN stays a quiet NaN. */
// @ts-ignore: decorator
@inline
function bf16Bits(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), BIT_0);
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, LOW_15), odd), 16);
  const quiet = v128.or(i32x4.shr_u(x, 16), QUIET);
  return v128.bitselect(quiet, rounded, f32x4.ne(x, x));
}

/** Writes four f32 as bf16, rounded to nearest even. */
// @ts-ignore: decorator
@inline
export function storeBf16x4(at: usize, x: v128): void {
  const bits = bf16Bits(x);
  v128.store64_lane(at, i16x8.narrow_i32x4_u(bits, bits), 0);
}

/** Writes one f32 as bf16, rounded to nearest even. */
// @ts-ignore: decorator
@inline
export function storeBf16(at: usize, x: f32): void {
  store<u16>(at, <u16>i32x4.extract_lane(bf16Bits(f32x4.splat(x)), 0));
}

// @ts-ignore: decorator
@inline
function f16Lanes(h: v128): v128 {
  const sign = i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16);
  const low = v128.and(h, i32x4.splat(0x7fff));
  const shifted = i32x4.shl(low, 13);
  const normal = i32x4.add(shifted, i32x4.splat(112 << 23));
  // A subnormal half is its mantissa above 2^-14, minus 2^-14: no subnormal f32 on the way.
  const base = i32x4.splat(113 << 23);
  const small = f32x4.sub(i32x4.add(shifted, base), base);
  let value = v128.bitselect(small, normal, i32x4.lt_u(low, i32x4.splat(0x0400)));
  value = v128.or(value, v128.and(i32x4.gt_u(low, i32x4.splat(0x7bff)), i32x4.splat(0x7f800000)));
  return v128.or(value, sign);
}

/** Four f16 at `at` as f32. */
// @ts-ignore: decorator
@inline
export function loadF16x4(at: usize): v128 {
  return f16Lanes(v128.load16x4_u(at));
}

/** One f16 at `at` as f32. */
// @ts-ignore: decorator
@inline
export function loadF16(at: usize): f32 {
  return f32x4.extract_lane(f16Lanes(i32x4.splat(<i32>load<u16>(at))), 0);
}
