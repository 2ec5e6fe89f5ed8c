/**
 * Patches of size x size pixels to channels and back, channels last. Channel c of the pixel (ky, kx) of a patch is channel
 * c size^2 + ky size + kx of the patch, as torch's unfold and pixel_shuffle have it.
 */
import { storeTransposed } from "./packing";
import { nextUnit } from "./runtime";

/** Elements of a unit, about. */
const UNIT: i32 = 16384;

/** Four channels of a pixel, zeros where it is outside of the image (0). */
// @ts-ignore: decorator
@inline
function fourOf(pixel: usize, at: usize): v128 {
  return pixel != 0 ? v128.load(pixel + at) : f32x4.splat(0);
}

/** The four pixels of a patch of size 2 (0: outside) interleaved at `to`. */
function interleave(p0: usize, p1: usize, p2: usize, p3: usize, channels: i32, to: usize): void {
  let c = 0;
  for (; c + 4 <= channels; c += 4) {
    const at = (<usize>c) << 2;
    storeTransposed(to + (at << 2), 16, fourOf(p0, at), fourOf(p1, at), fourOf(p2, at), fourOf(p3, at));
  }
  for (; c < channels; c++) {
    const at = (<usize>c) << 2;
    const put = to + (at << 2);
    store<f32>(put, p0 != 0 ? load<f32>(p0 + at) : <f32>0);
    store<f32>(put, p1 != 0 ? load<f32>(p1 + at) : <f32>0, 4);
    store<f32>(put, p2 != 0 ? load<f32>(p2 + at) : <f32>0, 8);
    store<f32>(put, p3 != 0 ? load<f32>(p3 + at) : <f32>0, 12);
  }
}

/**
 * y [batch, rows, columns, channels size^2] from x [batch, height, width, channels]; what lies outside of the image is
 * zero. Arguments: x, y; batch, height, width, channels, size, rows, columns.
 */
export function pixels_to_channels(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const batch = load<i32>(a, 8);
  const height = load<i32>(a, 12);
  const width = load<i32>(a, 16);
  const channels = load<i32>(a, 20);
  const size = load<i32>(a, 24);
  const rows = load<i32>(a, 28);
  const columns = load<i32>(a, 32);
  const area = size * size;
  const pixel = (<usize>channels) << 2;
  const each = max(1, UNIT / max(1, channels * area));
  const total = batch * rows * columns;
  const units = (total + each - 1) / each;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const end = min(total, (u + 1) * each);
    for (let p = u * each; p < end; p++) {
      const ox = p % columns;
      const oy = (p / columns) % rows;
      const image = p / columns / rows;
      const to = y + <usize>p * pixel * <usize>area;
      const ix = ox * size;
      const iy = oy * size;
      const from = x + (<usize>(image * height + iy) * <usize>width + <usize>ix) * pixel;
      const line = <usize>width * pixel;
      if (size == 2) {
        const right = ix + 1 < width;
        const below = iy + 1 < height;
        interleave(
          from,
          right ? from + pixel : 0,
          below ? from + line : 0,
          right && below ? from + line + pixel : 0,
          channels,
          to,
        );
        continue;
      }
      for (let k = 0; k < area; k++) {
        const ky = k / size;
        const kx = k - ky * size;
        const inside = iy + ky < height && ix + kx < width;
        const at = from + <usize>ky * line + <usize>kx * pixel;
        for (let c = 0; c < channels; c++) {
          const value: f32 = inside ? load<f32>(at + ((<usize>c) << 2)) : 0;
          store<f32>(to + ((<usize>(c * area + k)) << 2), value);
        }
      }
    }
  }
}

/** Stores four channels of a pixel unless it is outside of the image (0). */
// @ts-ignore: decorator
@inline
function put4(pixel: usize, at: usize, value: v128): void {
  if (pixel != 0) v128.store(pixel + at, value);
}

/** The reverse of `interleave`. */
function separate(from: usize, channels: i32, p0: usize, p1: usize, p2: usize, p3: usize): void {
  let c = 0;
  for (; c + 4 <= channels; c += 4) {
    const at = (<usize>c) << 2;
    const r0 = v128.load(from + (at << 2));
    const r1 = v128.load(from + (at << 2), 16);
    const r2 = v128.load(from + (at << 2), 32);
    const r3 = v128.load(from + (at << 2), 48);
    const t0 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
    const t1 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
    const t2 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
    const t3 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
    put4(p0, at, v128.shuffle<i64>(t0, t2, 0, 2));
    put4(p1, at, v128.shuffle<i64>(t0, t2, 1, 3));
    put4(p2, at, v128.shuffle<i64>(t1, t3, 0, 2));
    put4(p3, at, v128.shuffle<i64>(t1, t3, 1, 3));
  }
  for (; c < channels; c++) {
    const at = (<usize>c) << 2;
    const row = from + (at << 2);
    if (p0 != 0) store<f32>(p0 + at, load<f32>(row));
    if (p1 != 0) store<f32>(p1 + at, load<f32>(row, 4));
    if (p2 != 0) store<f32>(p2 + at, load<f32>(row, 8));
    if (p3 != 0) store<f32>(p3 + at, load<f32>(row, 12));
  }
}

/**
 * The reverse: y [batch, height, width, channels] from x [batch, rows, columns, channels size^2]; what lies outside of the
 * image is dropped. Arguments: x, y; batch, height, width, channels, size, rows, columns.
 */
export function channels_to_pixels(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const batch = load<i32>(a, 8);
  const height = load<i32>(a, 12);
  const width = load<i32>(a, 16);
  const channels = load<i32>(a, 20);
  const size = load<i32>(a, 24);
  const rows = load<i32>(a, 28);
  const columns = load<i32>(a, 32);
  const area = size * size;
  const pixel = (<usize>channels) << 2;
  const each = max(1, UNIT / max(1, channels * area));
  const total = batch * rows * columns;
  const units = (total + each - 1) / each;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const end = min(total, (u + 1) * each);
    for (let p = u * each; p < end; p++) {
      const ox = p % columns;
      const oy = (p / columns) % rows;
      const image = p / columns / rows;
      const from = x + <usize>p * pixel * <usize>area;
      const ix = ox * size;
      const iy = oy * size;
      const to = y + (<usize>(image * height + iy) * <usize>width + <usize>ix) * pixel;
      const line = <usize>width * pixel;
      if (size == 2) {
        const right = ix + 1 < width;
        const below = iy + 1 < height;
        separate(
          from,
          channels,
          to,
          right ? to + pixel : 0,
          below ? to + line : 0,
          right && below ? to + line + pixel : 0,
        );
        continue;
      }
      for (let k = 0; k < area; k++) {
        const ky = k / size;
        const kx = k - ky * size;
        if (iy + ky >= height || ix + kx >= width) continue;
        const at = to + <usize>ky * line + <usize>kx * pixel;
        for (let c = 0; c < channels; c++) {
          store<f32>(at + ((<usize>c) << 2), load<f32>(from + ((<usize>(c * area + k)) << 2)));
        }
      }
    }
  }
}
