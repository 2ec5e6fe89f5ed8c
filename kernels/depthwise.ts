/**
 * Depthwise convolution with an odd kernel and as many zeros around, channels last: each channel of the result comes from
 * that channel alone. Four pixels of a line are computed at a time, so that each weight is loaded once for them.
 */
import { madd } from "./math";
import { barrier, nextUnit } from "./runtime";
import { sumSamples } from "./sample-sums";

/** Channels of a unit. */
const CHANNELS: i32 = 64;
/** Pixels that are computed at a time. */
const PIXELS: i32 = 4;

/** What a line of the result is made of: sizes in elements, addresses in bytes. */
let sizeOfKernel: i32 = 0;
let imageHeight: i32 = 0;
let imageWidth: i32 = 0;
let pixelBytes: usize = 0;
/** Whether the kernel is turned by half a turn, as gradients of inputs need it. */
let turned: bool = false;

/** Address of the weight of a tap. */
// @ts-ignore: decorator
@inline
function tap(w: usize, ky: i32, kx: i32): usize {
  const index = ky * sizeOfKernel + kx;
  const area = sizeOfKernel * sizeOfKernel;
  return w + <usize>(turned ? area - 1 - index : index) * pixelBytes;
}

/** Four channels of one pixel; taps outside the image are left out. */
// @ts-ignore: decorator
@inline
function pixelSum(x: usize, w: usize, oy: i32, ox: i32, start: v128, single: bool): v128 {
  const half = sizeOfKernel >> 1;
  let sum = start;
  for (let ky = max(0, half - oy); ky < min(sizeOfKernel, imageHeight + half - oy); ky++) {
    for (let kx = max(0, half - ox); kx < min(sizeOfKernel, imageWidth + half - ox); kx++) {
      const from = x + <usize>((oy + ky - half) * imageWidth + ox + kx - half) * pixelBytes;
      const weight = tap(w, ky, kx);
      if (single) sum = madd(v128.load32_zero(from), v128.load32_zero(weight), sum);
      else sum = madd(v128.load(from), v128.load(weight), sum);
    }
  }
  return sum;
}

/** Four channels of one pixel into y; from the bias, or from what is there if `accumulate`. */
function pixel4(x: usize, w: usize, bias: usize, y: usize, oy: i32, ox: i32, accumulate: bool): void {
  const start = accumulate ? v128.load(y) : bias != 0 ? v128.load(bias) : f32x4.splat(0);
  v128.store(y, pixelSum(x, w, oy, ox, start, false));
}

/** The same of one channel. */
function pixel1(x: usize, w: usize, bias: usize, y: usize, oy: i32, ox: i32, accumulate: bool): void {
  const start = accumulate ? v128.load32_zero(y) : bias != 0 ? v128.load32_zero(bias) : f32x4.splat(0);
  v128.store32_lane(y, pixelSum(x, w, oy, ox, start, true), 0);
}

/** Four channels of four pixels whose taps lie inside the line. */
function four4(x: usize, w: usize, bias: usize, y: usize, oy: i32, ox: i32, accumulate: bool): void {
  const half = sizeOfKernel >> 1;
  const step = pixelBytes;
  const begin = bias != 0 ? v128.load(bias) : f32x4.splat(0);
  let p = accumulate ? v128.load(y) : begin;
  let q = accumulate ? v128.load(y + step) : begin;
  let r = accumulate ? v128.load(y + 2 * step) : begin;
  let s = accumulate ? v128.load(y + 3 * step) : begin;
  for (let ky = max(0, half - oy); ky < min(sizeOfKernel, imageHeight + half - oy); ky++) {
    let from = x + <usize>((oy + ky - half) * imageWidth + ox - half) * step;
    for (let kx = 0; kx < sizeOfKernel; kx++) {
      const weight = v128.load(tap(w, ky, kx));
      p = madd(v128.load(from), weight, p);
      q = madd(v128.load(from + step), weight, q);
      r = madd(v128.load(from + 2 * step), weight, r);
      s = madd(v128.load(from + 3 * step), weight, s);
      from += step;
    }
  }
  v128.store(y, p);
  v128.store(y + step, q);
  v128.store(y + 2 * step, r);
  v128.store(y + 3 * step, s);
}

/** `width` channels of a line. */
function line(x: usize, w: usize, bias: usize, y: usize, oy: i32, width: i32, accumulate: bool): void {
  const half = sizeOfKernel >> 1;
  for (let ox = 0; ox < imageWidth; ) {
    const inside = ox >= half && ox + PIXELS + half <= imageWidth;
    const pixels = inside ? PIXELS : 1;
    const to = y + <usize>ox * pixelBytes;
    let c = 0;
    for (; c + 4 <= width; c += 4) {
      const at = (<usize>c) << 2;
      const offset = bias != 0 ? bias + at : 0;
      if (inside) four4(x + at, w + at, offset, to + at, oy, ox, accumulate);
      else pixel4(x + at, w + at, offset, to + at, oy, ox, accumulate);
    }
    for (; c < width; c++) {
      const at = (<usize>c) << 2;
      const offset = bias != 0 ? bias + at : 0;
      for (let i = 0; i < pixels; i++) {
        pixel1(x + at, w + at, offset, to + at + <usize>i * pixelBytes, oy, ox + i, accumulate);
      }
    }
    ox += pixels;
  }
}

/**
 * y (+)= x convolved with w, plus the bias, or with the kernel turned. Arguments: x [batch, height, width, n], w [size, size, n],
 * bias, y; batch, height, width, n, size, turn, accumulate.
 */
export function depthwise(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const bias = load<usize>(a, 8);
  const y = load<usize>(a, 12);
  const batch = load<i32>(a, 16);
  imageHeight = load<i32>(a, 20);
  imageWidth = load<i32>(a, 24);
  const n = load<i32>(a, 28);
  sizeOfKernel = load<i32>(a, 32);
  turned = load<i32>(a, 36) != 0;
  const accumulate = load<i32>(a, 40) != 0;
  pixelBytes = (<usize>n) << 2;
  const lineBytes = <usize>imageWidth * pixelBytes;
  const parts = (n + CHANNELS - 1) / CHANNELS;
  for (let u = nextUnit(); u < batch * imageHeight * parts; u = nextUnit()) {
    const c = (u % parts) * CHANNELS;
    const at = (<usize>c) << 2;
    const row = u / parts;
    const image = x + <usize>(row / imageHeight) * <usize>imageHeight * lineBytes + at;
    const to = y + <usize>row * lineBytes + at;
    const offset = bias != 0 ? bias + at : 0;
    line(image, w + at, offset, to, row % imageHeight, min(CHANNELS, n - c), accumulate);
  }
}

/** to[n] += sum over `count` pixels of dy x, both a pixel further each time. */
function addTap(dy: usize, x: usize, count: i32, to: usize, n: i32): void {
  const step = pixelBytes;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    let sum = v128.load(to + at);
    for (let p = 0; p < count; p++) {
      const off = at + <usize>p * step;
      sum = madd(v128.load(dy + off), v128.load(x + off), sum);
    }
    v128.store(to + at, sum);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    let sum = v128.load32_zero(to + at);
    for (let p = 0; p < count; p++) {
      const off = at + <usize>p * step;
      sum = madd(v128.load32_zero(dy + off), v128.load32_zero(x + off), sum);
    }
    v128.store32_lane(to + at, sum, 0);
  }
}

/**
 * dw (+)= the gradient of the weight. Arguments: x, dy [batch, height, width, n], dw [size, size, n],
 * partial [blocks, size, size, n]; batch, height, width, n, size, blocks (of images and lines), accumulate.
 */
export function depthwise_weight_grad(a: usize): void {
  const x = load<usize>(a);
  const dy = load<usize>(a, 4);
  const dw = load<usize>(a, 8);
  const partial = load<usize>(a, 12);
  const batch = load<i32>(a, 16);
  const height = load<i32>(a, 20);
  const width = load<i32>(a, 24);
  const n = load<i32>(a, 28);
  const size = load<i32>(a, 32);
  const blocks = load<i32>(a, 36);
  const accumulate = load<i32>(a, 40);
  pixelBytes = (<usize>n) << 2;
  const half = size >> 1;
  const area = size * size;
  const lines = batch * height;
  const perBlock = (lines + blocks - 1) / blocks;
  const parts = (n + CHANNELS - 1) / CHANNELS;
  for (let u = nextUnit(0); u < blocks * parts; u = nextUnit(0)) {
    const block = u / parts;
    const c = (u % parts) * CHANNELS;
    const at = (<usize>c) << 2;
    const channels = min(CHANNELS, n - c);
    const sums = partial + <usize>block * <usize>area * pixelBytes + at;
    for (let k = 0; k < area; k++) memory.fill(sums + <usize>k * pixelBytes, 0, (<usize>channels) << 2);
    for (let l = block * perBlock; l < min(lines, (block + 1) * perBlock); l++) {
      const oy = l % height;
      const upstream = dy + <usize>l * <usize>width * pixelBytes + at;
      for (let ky = max(0, half - oy); ky < min(size, height + half - oy); ky++) {
        const from = x + <usize>(l + ky - half) * <usize>width * pixelBytes + at;
        for (let kx = 0; kx < size; kx++) {
          // Pixels of the line whose tap lies inside it.
          const first = max(0, half - kx);
          const count = min(width, width + half - kx) - first;
          if (count < 1) continue;
          addTap(
            upstream + <usize>first * pixelBytes,
            from + <usize>(first + kx - half) * pixelBytes,
            count,
            sums + <usize>(ky * size + kx) * pixelBytes,
            channels,
          );
        }
      }
    }
  }
  barrier();
  sumSamples(partial, dw, 1, blocks, area * n, accumulate, 1);
}
