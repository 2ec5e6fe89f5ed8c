/**
 * Making quantized weights from floats, with a search for the scale. A unit is a row group. Rows beyond the matrix
 * are zero bytes, columns beyond it zeros.
 */
import { hmax, hsum, loadF16 } from "./math";
import { groupSize } from "./quantized-lanes";
import { nextUnit, scratch } from "./runtime";

/** f16 bits of a finite x, rounded to nearest even; beyond 65504 they are 65504's. */
function halfBits(x: f32): u16 {
  const bits = reinterpret<u32>(x);
  const sign = (bits >> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size >= 0x477fe000) return <u16>(sign | 0x7bff);
  if (size < 0x38800000) {
    // Adding 1/2 leaves the multiples of 2^-24 in the low bits, rounded.
    return <u16>(sign | (reinterpret<u32>(reinterpret<f32>(size) + 0.5) - 0x3f000000));
  }
  return <u16>(sign | ((size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13));
}

// Constants in memory, since engines build a constant anew at every use; pairs, so that engines join them.
const SUMS: usize = 448;
const LOW: usize = 512;
const HIGH: usize = 544;
const MAGIC: usize = 576;

/** Writes the constants of a format: the range of its integers, and what rounds to integers when added. */
function prepare(format: i32): void {
  const low: f32 = format == 0 ? -8 : -127;
  const high: f32 = format == 0 ? 7 : 127;
  const c = scratch();
  for (let i: usize = 0; i < 32; i += 16) {
    v128.store(c + LOW + i, f32x4.splat(low));
    v128.store(c + HIGH + i, f32x4.splat(high));
    v128.store(c + MAGIC + i, f32x4.splat(12582912));
  }
}

/** The integers of a vector: rounded to nearest even, in range. */
// @ts-ignore: decorator
@inline
function integers(x: v128, inverse: v128, low: v128, high: v128, magic: v128): v128 {
  return f32x4.sub(f32x4.add(f32x4.pmax(low, f32x4.pmin(high, f32x4.mul(x, inverse))), magic), magic);
}

/** The sum of the eight numbers at `at`. */
// @ts-ignore: decorator
@inline
function sum8(at: usize): f32 {
  return hsum(f32x4.add(v128.load(at), v128.load(at, 16)));
}

/** Sums x q and q q over a block rounded with 1 / scale `inverse`: returns the best scale for these integers. */
let gain: f32 = 0;
function fit(x: usize, inverse: f32): f32 {
  const c = scratch();
  const low0 = v128.load(c + LOW);
  const low1 = v128.load(c + LOW, 16);
  const high0 = v128.load(c + HIGH);
  const high1 = v128.load(c + HIGH, 16);
  const magic0 = v128.load(c + MAGIC);
  const magic1 = v128.load(c + MAGIC, 16);
  const factor = f32x4.splat(inverse);
  let xq0 = f32x4.splat(0);
  let xq1 = xq0;
  let qq0 = xq0;
  let qq1 = xq0;
  for (let i: usize = 0; i < 128; i += 32) {
    const v0 = v128.load(x + i);
    const v1 = v128.load(x + i, 16);
    const q0 = integers(v0, factor, low0, high0, magic0);
    const q1 = integers(v1, factor, low1, high1, magic1);
    xq0 = f32x4.add(xq0, f32x4.mul(v0, q0));
    xq1 = f32x4.add(xq1, f32x4.mul(v1, q1));
    qq0 = f32x4.add(qq0, f32x4.mul(q0, q0));
    qq1 = f32x4.add(qq1, f32x4.mul(q1, q1));
  }
  const at = c + SUMS;
  v128.store(at, xq0);
  v128.store(at, xq1, 16);
  v128.store(at, qq0, 32);
  v128.store(at, qq1, 48);
  const product = sum8(at);
  const square = sum8(at + 32);
  if (square == 0) {
    gain = 0;
    return 0;
  }
  // What this choice takes off the sum of squares of x.
  const scale = product / square;
  gain = product * scale;
  return scale;
}

/** Squared error of a block with scale `d`. */
function errorOf(x: usize, d: f32): f32 {
  const c = scratch();
  const low = v128.load(c + LOW);
  const high = v128.load(c + HIGH);
  const magic = v128.load(c + MAGIC);
  const factor = f32x4.splat(1 / d);
  const scale = f32x4.splat(d);
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) {
    const v = v128.load(x + i);
    const e = f32x4.sub(v, f32x4.mul(scale, integers(v, factor, low, high, magic)));
    sum = f32x4.add(sum, f32x4.mul(e, e));
  }
  return hsum(sum);
}

/** The largest magnitude of a block, 0 if it is not finite. */
function topOf(x: usize): f32 {
  let most = f32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + i)));
  const top = hmax(most);
  return top <= 3.4028234663852886e38 ? top : 0;
}

/**
 * f16 bits of the scale of a q4 block: the best by squared error of Q4_0's (the value of largest magnitude at -8)
 * and the least-squares scale of the best of 18 roundings around it, in both directions.
 */
function scale4(x: usize): u16 {
  const top = topOf(x);
  if (top < 1e-30) return 0;
  let negative = false;
  for (let i: usize = 0; i < 128; i += 4) {
    const v = load<f32>(x + i);
    if (abs(v) == top) {
      negative = v < 0;
      break;
    }
  }
  const signed = negative ? -top : top;
  let bestGain: f32 = 0;
  let best: f32 = 0;
  for (let t = 0; t < 18; t++) {
    const reach: f32 = t < 9 ? -(<f32>6.8 + <f32>0.3 * <f32>t) : <f32>6.2 + <f32>0.3 * <f32>(t - 9);
    const d = fit(x, reach / signed);
    if (gain > bestGain) {
      bestGain = gain;
      best = d;
    }
  }
  const plain = halfBits(signed / -8);
  const fitted = halfBits(best);
  if ((fitted & 0x7fff) == 0) return (plain & 0x7fff) == 0 ? 0 : plain;
  if ((plain & 0x7fff) == 0) return fitted;
  return errorOf(x, half(fitted)) < errorOf(x, half(plain)) ? fitted : plain;
}

/** The value of f16 bits. */
function half(bits: u16): f32 {
  const at = scratch() + 256;
  store<u16>(at, bits);
  return loadF16(at);
}

// @ts-ignore: decorator
@inline
function truncated(x: usize, factor: v128, low: v128, high: v128, magic: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(integers(v128.load(x), factor, low, high, magic));
}

/** Sixteen integers of a block from `x` as signed bytes. */
// @ts-ignore: decorator
@inline
function bytes16(x: usize, factor: v128): v128 {
  const c = scratch();
  const low = v128.load(c + LOW);
  const high = v128.load(c + HIGH);
  const magic = v128.load(c + MAGIC);
  const first = truncated(x, factor, low, high, magic);
  const second = truncated(x + 16, factor, low, high, magic);
  const third = truncated(x + 32, factor, low, high, magic);
  const fourth = truncated(x + 48, factor, low, high, magic);
  return i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(first, second), i16x8.narrow_i32x4_s(third, fourth));
}

/** Quantizes the block at `x` as row `r` of a tile. */
function quantizeBlock(format: i32, x: usize, tile: usize, r: usize): void {
  const bits = format == 0 ? scale4(x) : halfBits(topOf(x) / 127);
  const d = half(bits);
  store<u16>(tile + (r << 1), bits);
  const factor = f32x4.splat(d == 0 ? 0 : 1 / d);
  if (format == 0) {
    const eight = i8x16.splat(8);
    const first = i8x16.add(bytes16(x, factor), eight);
    const second = i8x16.add(bytes16(x + 64, factor), eight);
    const packed = v128.or(first, i8x16.shl(second, 4));
    const to = tile + (r << 2);
    v128.store32_lane(to, packed, 0, 16);
    v128.store32_lane(to, packed, 1, 48);
    v128.store32_lane(to, packed, 2, 80);
    v128.store32_lane(to, packed, 3, 112);
    return;
  }
  const bytes = scratch() + 128;
  v128.store(bytes, bytes16(x, factor));
  v128.store(bytes, bytes16(x + 64, factor), 16);
  const to = tile + 16 + (r << 1);
  for (let p: usize = 0; p < 16; p++) store<u16>(to + (p << 4), load<u16>(bytes + (p << 1)));
}

/** Arguments: x (f32 [rows, k]), w (tiles from the first row's group on); format, rows, k. */
export function quantize_tiles(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const format = load<i32>(a, 8);
  const rows = load<i32>(a, 12);
  const k = load<i32>(a, 16);
  const groupBytes = groupSize(format, k);
  const tileBytes: usize = format == 0 ? 144 : 272;
  const pad = scratch();
  prepare(format);
  for (let u = nextUnit(); u < (rows + 7) >> 3; u = nextUnit()) {
    const group = w + <usize>u * groupBytes;
    const count = min(8, rows - (u << 3));
    if (count < 8) memory.fill(group, 0, groupBytes);
    for (let r = 0; r < count; r++) {
      const from = x + ((<usize>((u << 3) + r) * <usize>k) << 2);
      let tile = group;
      for (let i = 0; i < k; i += 32) {
        let block = from + ((<usize>i) << 2);
        if (k - i < 32) {
          memory.fill(pad, 0, 128);
          memory.copy(pad, block, (<usize>(k - i)) << 2);
          block = pad;
        }
        quantizeBlock(format, block, tile, <usize>r);
        tile += tileBytes;
      }
    }
  }
}
