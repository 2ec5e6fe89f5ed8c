/** SwiGLU: the gated activation of the feed-forward layers, forward and backward. */
import { madd, sigmoid4 } from "./math";
import { nextUnit } from "./runtime";

const UNIT: i32 = 8192;

// @ts-ignore: decorator
@inline
function gated(gate: v128, up: v128): v128 {
  return f32x4.mul(f32x4.mul(gate, sigmoid4(gate)), up);
}

/** y = silu(gate) up; a row of x is gate then up, f each. Arguments: x, y; rows, f. */
export function swiglu(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const rows = load<i32>(a, 8);
  const f = load<i32>(a, 12);
  const total = <i64>rows * <i64>f;
  const count = <i32>((total + UNIT - 1) / UNIT);
  const half = (<usize>f) << 2;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    let begin = <i64>u * UNIT;
    const end = min(total, begin + UNIT);
    // A unit may begin and end inside a row.
    while (begin < end) {
      const r = begin / f;
      const column = <i32>(begin - r * f);
      const width = <i32>min(<i64>(f - column), end - begin);
      const gate = x + <usize>r * half * 2 + ((<usize>column) << 2);
      const out = y + <usize>r * half + ((<usize>column) << 2);
      let i = 0;
      for (; i + 4 <= width; i += 4) {
        const at = (<usize>i) << 2;
        v128.store(out + at, gated(v128.load(gate + at), v128.load(gate + at + half)));
      }
      for (; i < width; i++) {
        const at = (<usize>i) << 2;
        const value = gated(v128.load32_zero(gate + at), v128.load32_zero(gate + at + half));
        v128.store32_lane(out + at, value, 0);
      }
      begin += width;
    }
  }
}

/** dx (+)= gradient of swiglu, from its input. Arguments: x, dy, dx; rows, f, accumulate. */
export function swiglu_grad(a: usize): void {
  const x = load<usize>(a);
  const dy = load<usize>(a, 4);
  const dx = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const f = load<i32>(a, 16);
  const mask = i32x4.splat(-load<i32>(a, 20));
  const one = f32x4.splat(1);
  const total = <i64>rows * <i64>f;
  const count = <i32>((total + UNIT - 1) / UNIT);
  const half = (<usize>f) << 2;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    let begin = <i64>u * UNIT;
    const end = min(total, begin + UNIT);
    while (begin < end) {
      const r = begin / f;
      const column = <i32>(begin - r * f);
      const width = <i32>min(<i64>(f - column), end - begin);
      const from = x + <usize>r * half * 2 + ((<usize>column) << 2);
      const to = dx + <usize>r * half * 2 + ((<usize>column) << 2);
      const upstream = dy + <usize>r * half + ((<usize>column) << 2);
      let i = 0;
      for (; i + 4 <= width; i += 4) {
        const at = (<usize>i) << 2;
        const gate = v128.load(from + at);
        const up = v128.load(from + at + half);
        const d = v128.load(upstream + at);
        const s = sigmoid4(gate);
        // d silu = s (1 + gate (1 - s))
        const slope = f32x4.mul(s, madd(gate, f32x4.sub(one, s), one));
        const old = v128.and(v128.load(to + at), mask);
        const oldUp = v128.and(v128.load(to + at + half), mask);
        v128.store(to + at, madd(f32x4.mul(d, up), slope, old));
        v128.store(to + at + half, madd(d, f32x4.mul(gate, s), oldUp));
      }
      for (; i < width; i++) {
        const at = (<usize>i) << 2;
        const gate = v128.load32_zero(from + at);
        const up = v128.load32_zero(from + at + half);
        const d = v128.load32_zero(upstream + at);
        const s = sigmoid4(gate);
        const slope = f32x4.mul(s, madd(gate, f32x4.sub(one, s), one));
        const old = v128.and(v128.load32_zero(to + at), mask);
        const oldUp = v128.and(v128.load32_zero(to + at + half), mask);
        v128.store32_lane(to + at, madd(f32x4.mul(d, up), slope, old), 0);
        v128.store32_lane(to + at + half, madd(d, f32x4.mul(gate, s), oldUp), 0);
      }
      begin += width;
    }
  }
}
