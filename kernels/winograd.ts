/**
 * What Winograd's F(4 x 4, 3 x 3) adds around products (Lavin and Gray 2015, arXiv 1509.09308, section 4.3): sixteen results of
 * a 3 x 3 convolution from 36 products instead of 144. Images are cut into tiles of 4 x 4 results, each from 6 x 6 pixels;
 * tiles and weights are transformed, multiplied place by place of the 36, and transformed back. Channels last; four channels at
 * a time.
 */
import { loadBf16x4, loadF16x4, madd, nmadd } from "./math";
import { nextUnit, scratch } from "./runtime";

/** Results along each side of a tile, and pixels that they come from. */
const SIDE: i32 = 4;
const SEEN: i32 = 6;
/** Tiles and rows of weights of a unit. */
const TILES: i32 = 4;
const ROWS: i32 = 8;

/** Where a thread keeps half-transformed tiles, and tiles at the edge with the zeros around them. */
const HALF: usize = 0;
const EDGE: usize = 1024;

// @ts-ignore: decorator
@inline
function load4(at: usize, dtype: i32): v128 {
  if (dtype == 0) return v128.load(at);
  return dtype == 1 ? loadBf16x4(at) : loadF16x4(at);
}

/** Six places of three weights, `step` bytes apart at `to`. */
// @ts-ignore: decorator
@inline
function spreadWeights(g0: v128, g1: v128, g2: v128, to: usize, step: usize): void {
  const sixth = f32x4.splat(1.0 / 6.0);
  const twelfth = f32x4.splat(1.0 / 12.0);
  const outer = f32x4.add(g0, g2);
  const far = f32x4.mul(madd(g2, f32x4.splat(4), g0), f32x4.splat(1.0 / 24.0));
  const near = f32x4.mul(g1, twelfth);
  v128.store(to, f32x4.mul(g0, f32x4.splat(0.25)));
  v128.store(to + step, f32x4.neg(f32x4.mul(f32x4.add(outer, g1), sixth)));
  v128.store(to + step * 2, f32x4.neg(f32x4.mul(f32x4.sub(outer, g1), sixth)));
  v128.store(to + step * 3, f32x4.add(far, near));
  v128.store(to + step * 4, f32x4.sub(far, near));
  v128.store(to + step * 5, g2);
}

/**
 * u (36 times [outputs, channels]) of w [outputs, 3, 3, channels]. Arguments: w, u; outputs, channels (a multiple of four), dtype of w,
 * turned (whether weights are turned by half a turn, as gradients of inputs need them), step (elements from one place to the next).
 */
export function winograd_weights(a: usize): void {
  const w = load<usize>(a);
  const u = load<usize>(a, 4);
  const outputs = load<i32>(a, 8);
  const channels = load<i32>(a, 12);
  const dtype = load<i32>(a, 16);
  const turned = load<i32>(a, 20) != 0;
  const shift: usize = dtype == 0 ? 2 : 1;
  const tap = (<isize>channels) << (<isize>shift);
  const place = (<usize>load<i32>(a, 24)) << 2;
  const half = scratch() + HALF;
  for (let unit = nextUnit(); unit * ROWS < outputs; unit = nextUnit()) {
    for (let row = unit * ROWS; row < min(outputs, (unit + 1) * ROWS); row++) {
      for (let c = 0; c < channels; c += 4) {
        let from = <isize>(w + ((<usize>row * 9 * <usize>channels + <usize>c) << shift));
        let step = tap;
        if (turned) {
          from += 8 * tap;
          step = -tap;
        }
        // Along columns: [6][3].
        for (let x: isize = 0; x < 3; x++) {
          const at = from + x * step;
          const g0 = load4(<usize>at, dtype);
          const g1 = load4(<usize>(at + 3 * step), dtype);
          const g2 = load4(<usize>(at + 6 * step), dtype);
          spreadWeights(g0, g1, g2, half + ((<usize>x) << 4), 48);
        }
        const to = u + ((<usize>row * <usize>channels + <usize>c) << 2);
        for (let i: usize = 0; i < 6; i++) {
          const at = half + i * 48;
          spreadWeights(v128.load(at), v128.load(at, 16), v128.load(at, 32), to + i * 6 * place, place);
        }
      }
    }
  }
}

/** Six places of six pixels, `line` bytes apart at `from`, `step` bytes apart at `to`. */
// @ts-ignore: decorator
@inline
function spreadPixels(from: usize, line: usize, to: usize, step: usize): void {
  const d0 = v128.load(from);
  const d1 = v128.load(from + line);
  const d2 = v128.load(from + line * 2);
  const d3 = v128.load(from + line * 3);
  const d4 = v128.load(from + line * 4);
  const d5 = v128.load(from + line * 5);
  const four = f32x4.splat(4);
  const five = f32x4.splat(5);
  const even = nmadd(d2, four, d4);
  const odd = nmadd(d1, four, d3);
  const outer = f32x4.sub(d4, d2);
  const inner = f32x4.mul(f32x4.sub(d3, d1), f32x4.splat(2));
  v128.store(to, nmadd(d2, five, madd(d0, four, d4)));
  v128.store(to + step, f32x4.add(even, odd));
  v128.store(to + step * 2, f32x4.sub(even, odd));
  v128.store(to + step * 3, f32x4.add(outer, inner));
  v128.store(to + step * 4, f32x4.sub(outer, inner));
  v128.store(to + step * 5, nmadd(d3, five, madd(d1, four, d5)));
}

/** Copies the 6 x 6 pixels of a tile at the image's edge, zeros outside of it. */
function copyEdge(image: usize, height: i32, width: i32, iy: i32, ix: i32, pixel: usize, to: usize): void {
  for (let y = iy; y < iy + SEEN; y++) {
    for (let x = ix; x < ix + SEEN; x++) {
      if (y < 0 || y >= height || x < 0 || x >= width) memory.fill(to, 0, pixel);
      else memory.copy(to, image + <usize>(y * width + x) * pixel, pixel);
      to += pixel;
    }
  }
}

/**
 * v (36 times [tiles, channels]) of tiles `first` to `first + tiles` of x [batch, height, width, channels]. Arguments: x, v; height,
 * width, channels (a multiple of four), top, left (zeros around), tilesHigh, tilesWide, first, tiles, step.
 */
export function winograd_input(a: usize): void {
  const x = load<usize>(a);
  const v = load<usize>(a, 4);
  const height = load<i32>(a, 8);
  const width = load<i32>(a, 12);
  const channels = load<i32>(a, 16);
  const top = load<i32>(a, 20);
  const left = load<i32>(a, 24);
  const tilesHigh = load<i32>(a, 28);
  const tilesWide = load<i32>(a, 32);
  const first = load<i32>(a, 36);
  const tiles = load<i32>(a, 40);
  const pixel = (<usize>channels) << 2;
  const place = (<usize>load<i32>(a, 44)) << 2;
  const half = scratch() + HALF;
  const edge = scratch() + EDGE;
  for (let unit = nextUnit(); unit * TILES < tiles; unit = nextUnit()) {
    for (let t = unit * TILES; t < min(tiles, (unit + 1) * TILES); t++) {
      const index = first + t;
      const ix = (index % tilesWide) * SIDE - left;
      const rest = index / tilesWide;
      const iy = (rest % tilesHigh) * SIDE - top;
      const image = x + <usize>(rest / tilesHigh) * <usize>(height * width) * pixel;
      let from = image + <usize>(iy * width + ix) * pixel;
      let line = <usize>width * pixel;
      if (iy < 0 || ix < 0 || iy + SEEN > height || ix + SEEN > width) {
        copyEdge(image, height, width, iy, ix, pixel, edge);
        from = edge;
        line = <usize>SEEN * pixel;
      }
      let to = v + <usize>t * pixel;
      for (let c = 0; c < channels; c += 4) {
        // Along columns to [6][6], then along rows.
        for (let i: usize = 0; i < 6; i++) spreadPixels(from + i * pixel, line, half + (i << 4), 96);
        for (let i: usize = 0; i < 6; i++) spreadPixels(half + i * 96, 16, to + i * 6 * place, place);
        from += 16;
        to += 16;
      }
    }
  }
}

/** Four results of six places, `line` bytes apart at `from`, `step` bytes apart at `to`. */
// @ts-ignore: decorator
@inline
function gatherPlaces(from: usize, line: usize, to: usize, step: usize): void {
  const m1 = v128.load(from + line);
  const m2 = v128.load(from + line * 2);
  const m3 = v128.load(from + line * 3);
  const m4 = v128.load(from + line * 4);
  const s1 = f32x4.add(m1, m2);
  const d1 = f32x4.sub(m1, m2);
  const s2 = f32x4.add(m3, m4);
  const d2 = f32x4.sub(m3, m4);
  v128.store(to, f32x4.add(f32x4.add(v128.load(from), s1), s2));
  v128.store(to + step, madd(d2, f32x4.splat(2), d1));
  v128.store(to + step * 2, madd(s2, f32x4.splat(4), s1));
  v128.store(to + step * 3, madd(d2, f32x4.splat(8), f32x4.add(d1, v128.load(from + line * 5))));
}

/**
 * y (+)= results of m (36 times [tiles, outputs]), plus the bias, for tiles `first` to `first + tiles`. Arguments: m, y [batch,
 * outHeight, outWidth, outputs], bias (f32 [outputs] or absent); outHeight, outWidth, outputs (a multiple of four), tilesHigh,
 * tilesWide, first, tiles, step, accumulate.
 */
export function winograd_output(a: usize): void {
  const m = load<usize>(a);
  const y = load<usize>(a, 4);
  const bias = load<usize>(a, 8);
  const outHeight = load<i32>(a, 12);
  const outWidth = load<i32>(a, 16);
  const outputs = load<i32>(a, 20);
  const tilesHigh = load<i32>(a, 24);
  const tilesWide = load<i32>(a, 28);
  const first = load<i32>(a, 32);
  const tiles = load<i32>(a, 36);
  const place = (<usize>load<i32>(a, 40)) << 2;
  const mask = i32x4.splat(-load<i32>(a, 44));
  const pixel = (<usize>outputs) << 2;
  const half = scratch() + HALF;
  const done = half + 384;
  for (let unit = nextUnit(); unit * TILES < tiles; unit = nextUnit()) {
    for (let t = unit * TILES; t < min(tiles, (unit + 1) * TILES); t++) {
      const index = first + t;
      const ox = (index % tilesWide) * SIDE;
      const rest = index / tilesWide;
      const oy = (rest % tilesHigh) * SIDE;
      const high = min(SIDE, outHeight - oy);
      const wide = min(SIDE, outWidth - ox);
      let to = y + <usize>((rest / tilesHigh) * outHeight + oy) * <usize>outWidth * pixel + <usize>ox * pixel;
      let from = m + <usize>t * pixel;
      for (let c = 0; c < outputs; c += 4) {
        // Along columns to [4][6], then along rows.
        for (let i: usize = 0; i < 6; i++) gatherPlaces(from + i * place, place * 6, half + (i << 4), 96);
        const shift = bias != 0 ? v128.load(bias + ((<usize>c) << 2)) : f32x4.splat(0);
        for (let i = 0; i < high; i++) {
          gatherPlaces(half + <usize>i * 96, 16, done, 16);
          const line = to + <usize>i * <usize>outWidth * pixel;
          for (let j = 0; j < wide; j++) {
            const result = line + <usize>j * pixel;
            const value = f32x4.add(v128.load(done + ((<usize>j) << 4)), shift);
            v128.store(result, f32x4.add(value, v128.and(v128.load(result), mask)));
          }
        }
        from += 16;
        to += 16;
      }
    }
  }
}
