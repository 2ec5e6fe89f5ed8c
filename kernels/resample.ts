/**
 * One pass of Pillow's bicubic resize of 8-bit images: integer weights of 22 fraction bits, sums in 32 bits, rounded to
 * bytes. Which pixels and weights belong together is computed outside (src/vision/image/resample-taps.ts).
 */
import { nextUnit } from "./runtime";

const BITS: i32 = 22;
const HALF: i32 = 1 << (BITS - 1);
/** Rows of a unit. */
const ROWS: i32 = 8;

// @ts-ignore: decorator
@inline
function pixel4(at: usize): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at)));
}

// @ts-ignore: decorator
@inline
function clamped(sum: i32): u8 {
  return <u8>max(0, min(255, sum >> BITS));
}

// @ts-ignore: decorator
@inline
function store3(at: usize, sums: v128): void {
  store<u8>(at, clamped(i32x4.extract_lane(sums, 0)));
  store<u8>(at, clamped(i32x4.extract_lane(sums, 1)), 1);
  store<u8>(at, clamped(i32x4.extract_lane(sums, 2)), 2);
}

/**
 * Rows of `from` RGB pixels to rows of `to`. bounds [to, 2]: first pixel, and how many; weights [to, most].
 * Arguments: x, bounds, weights, y; rows, from, to, most.
 */
export function resample_rows(a: usize): void {
  const x = load<usize>(a);
  const bounds = load<usize>(a, 4);
  const weights = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const from = load<i32>(a, 20);
  const to = load<i32>(a, 24);
  const most = load<i32>(a, 28);
  const stride = <usize>from * 3;
  const outStride = <usize>to * 3;
  const count = (rows + ROWS - 1) / ROWS;
  const half = i32x4.splat(HALF);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * ROWS);
    let r = u * ROWS;
    // Four bytes are read for a pixel of three: not in the last row, whose last pixel ends the memory.
    const safe = min(end, rows - 1);
    for (; r + 2 <= safe; r += 2) {
      const row = x + <usize>r * stride;
      const out = y + <usize>r * outStride;
      for (let i = 0; i < to; i++) {
        let at = row + <usize>load<i32>(bounds + ((<usize>i) << 3)) * 3;
        let w = weights + ((<usize>i * most) << 2);
        const last = w + ((<usize>load<i32>(bounds + ((<usize>i) << 3), 4)) << 2);
        let upper = half;
        let lower = half;
        for (; w < last; w += 4, at += 3) {
          const weight = v128.load32_splat(w);
          upper = i32x4.add(upper, i32x4.mul(pixel4(at), weight));
          lower = i32x4.add(lower, i32x4.mul(pixel4(at + stride), weight));
        }
        store3(out + <usize>i * 3, upper);
        store3(out + <usize>i * 3 + outStride, lower);
      }
    }
    for (; r < end; r++) {
      const row = x + <usize>r * stride;
      const out = y + <usize>r * outStride;
      for (let i = 0; i < to; i++) {
        let at = row + <usize>load<i32>(bounds + ((<usize>i) << 3)) * 3;
        let w = weights + ((<usize>i * most) << 2);
        const last = w + ((<usize>load<i32>(bounds + ((<usize>i) << 3), 4)) << 2);
        let red = HALF;
        let green = HALF;
        let blue = HALF;
        for (; w < last; w += 4, at += 3) {
          const weight = load<i32>(w);
          red += <i32>load<u8>(at) * weight;
          green += <i32>load<u8>(at, 1) * weight;
          blue += <i32>load<u8>(at, 2) * weight;
        }
        store<u8>(out + <usize>i * 3, clamped(red));
        store<u8>(out + <usize>i * 3, clamped(green), 1);
        store<u8>(out + <usize>i * 3, clamped(blue), 2);
      }
    }
  }
}

/**
 * `from` rows of `length` bytes to `to` rows. bounds [to, 2]: first row, and how many; weights [to, most].
 * Arguments: x, bounds, weights, y; length, to, most.
 */
export function resample_columns(a: usize): void {
  const x = load<usize>(a);
  const bounds = load<usize>(a, 4);
  const weights = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const length = load<i32>(a, 16);
  const to = load<i32>(a, 20);
  const most = load<i32>(a, 24);
  const half = i32x4.splat(HALF);
  for (let i = nextUnit(); i < to; i = nextUnit()) {
    const first = x + <usize>load<i32>(bounds + ((<usize>i) << 3)) * length;
    const begin = weights + ((<usize>i * most) << 2);
    const last = begin + ((<usize>load<i32>(bounds + ((<usize>i) << 3), 4)) << 2);
    const out = y + <usize>i * length;
    let c = 0;
    for (; c + 16 <= length; c += 16) {
      let s0 = half;
      let s1 = half;
      let s2 = half;
      let s3 = half;
      let at = first + c;
      for (let w = begin; w < last; w += 4, at += length) {
        const weight = v128.load32_splat(w);
        const bytes = v128.load(at);
        const low = i16x8.extend_low_i8x16_u(bytes);
        const high = i16x8.extend_high_i8x16_u(bytes);
        s0 = i32x4.add(s0, i32x4.mul(i32x4.extend_low_i16x8_u(low), weight));
        s1 = i32x4.add(s1, i32x4.mul(i32x4.extend_high_i16x8_u(low), weight));
        s2 = i32x4.add(s2, i32x4.mul(i32x4.extend_low_i16x8_u(high), weight));
        s3 = i32x4.add(s3, i32x4.mul(i32x4.extend_high_i16x8_u(high), weight));
      }
      const left = i16x8.narrow_i32x4_s(i32x4.shr_s(s0, BITS), i32x4.shr_s(s1, BITS));
      const right = i16x8.narrow_i32x4_s(i32x4.shr_s(s2, BITS), i32x4.shr_s(s3, BITS));
      v128.store(out + c, i8x16.narrow_i16x8_u(left, right));
    }
    for (; c < length; c++) {
      let sum = HALF;
      let at = first + c;
      for (let w = begin; w < last; w += 4, at += length) sum += <i32>load<u8>(at) * load<i32>(w);
      store<u8>(out + c, clamped(sum));
    }
  }
}
