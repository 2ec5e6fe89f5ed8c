/**
 * Images with channels last at another size: every output is a weighted sum of neighbors in a column of weighted sums of
 * neighbors in a row. The sums along rows wait in scratch memory, as many lines of them as one line of the result needs,
 * so that no image of one new size only is stored. Weights come in tables, so that all filters and their gradients
 * (the same with the tables transposed) are one kernel.
 */
import { madd } from "./math";
import { nextUnit, scratch, scratchBytes } from "./runtime";

/** Elements of a unit, about. */
const UNIT: i32 = 32768;

/** Sums along a line: `n` columns from `first` on, `width` channels from `x` on, `pixel` bytes apart, to `to`. */
function sumAlongLine(
  x: usize,
  pixel: usize,
  table: usize,
  weights: usize,
  most: i32,
  first: i32,
  n: i32,
  width: i32,
  to: usize,
): void {
  for (let j = first; j < first + n; j++) {
    const entry = table + ((<usize>j) << 3);
    const from = x + <usize>load<i32>(entry) * pixel;
    const count = load<i32>(entry, 4);
    const w = weights + ((<usize>j * <usize>most) << 2);
    let i = 0;
    for (; i + 8 <= width; i += 8) {
      let at = from + ((<usize>i) << 2);
      let p = f32x4.splat(0);
      let q = f32x4.splat(0);
      for (let t = 0; t < count; t++) {
        const factor = v128.load32_splat(w + ((<usize>t) << 2));
        p = madd(v128.load(at), factor, p);
        q = madd(v128.load(at, 16), factor, q);
        at += pixel;
      }
      v128.store(to + ((<usize>i) << 2), p);
      v128.store(to + ((<usize>i) << 2), q, 16);
    }
    for (; i < width; i++) {
      let at = from + ((<usize>i) << 2);
      let p = f32x4.splat(0);
      for (let t = 0; t < count; t++) {
        p = madd(v128.load32_zero(at), v128.load32_zero(w + ((<usize>t) << 2)), p);
        at += pixel;
      }
      v128.store32_lane(to + ((<usize>i) << 2), p, 0);
    }
    to += (<usize>width) << 2;
  }
}

/** y[n] (+)= sum of weights[t] times the waiting line of number first + t, for t < count; lines lie in a ring. */
function sumAcrossLines(
  lines: usize,
  pitch: usize,
  ring: i32,
  first: i32,
  count: i32,
  weights: usize,
  n: i32,
  y: usize,
  accumulate: i32,
): void {
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    let p = v128.and(v128.load(y + at), mask);
    let q = v128.and(v128.load(y + at, 16), mask);
    let slot = first % ring;
    for (let t = 0; t < count; t++) {
      const factor = v128.load32_splat(weights + ((<usize>t) << 2));
      const from = lines + <usize>slot * pitch + at;
      p = madd(v128.load(from), factor, p);
      q = madd(v128.load(from, 16), factor, q);
      if (++slot == ring) slot = 0;
    }
    v128.store(y + at, p);
    v128.store(y + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    let p = v128.and(v128.load32_zero(y + at), mask);
    let slot = first % ring;
    for (let t = 0; t < count; t++) {
      const from = lines + <usize>slot * pitch + at;
      p = madd(v128.load32_zero(from), v128.load32_zero(weights + ((<usize>t) << 2)), p);
      if (++slot == ring) slot = 0;
    }
    v128.store32_lane(y + at, p, 0);
  }
}

/**
 * y (+)= x at another size. Arguments: x [batch, height, width, channels], lines (i32 [outHeight, 2]: first line and number
 * of lines of a sum), lineWeights (f32 [outHeight, mostLines]), columns (i32 [outWidth, 2]), columnWeights (f32 [outWidth,
 * mostColumns]), y [batch, outHeight, outWidth, channels]; batch, height, width, channels, outHeight, outWidth, mostLines,
 * mostColumns, accumulate. First lines and columns never go back.
 */
export function resize(a: usize): void {
  const x = load<usize>(a);
  const lines = load<usize>(a, 4);
  const lineWeights = load<usize>(a, 8);
  const columns = load<usize>(a, 12);
  const columnWeights = load<usize>(a, 16);
  const y = load<usize>(a, 20);
  const batch = load<i32>(a, 24);
  const height = load<i32>(a, 28);
  const width = load<i32>(a, 32);
  const channels = load<i32>(a, 36);
  const outHeight = load<i32>(a, 40);
  const outWidth = load<i32>(a, 44);
  const ring = load<i32>(a, 48);
  const mostColumns = load<i32>(a, 52);
  const accumulate = load<i32>(a, 56);
  // The ring's lines are as long as the scratch memory allows: all columns, some, or one with some of its channels.
  const tags = scratch();
  const waiting = tags + ((<usize>((ring + 15) & ~15)) << 2);
  const room = <i32>((scratchBytes() >> 2) - ((ring + 15) & ~15)) / ring;
  const span = max(1, min(channels, room));
  const across = max(1, min(outWidth, room / span));
  const spans = (channels + span - 1) / span;
  const strips = (outWidth + across - 1) / across;
  const rows = max(1, UNIT / max(1, across * span));
  const bands = (outHeight + rows - 1) / rows;
  const pixel = (<usize>channels) << 2;
  const lineBytes = <usize>width * pixel;
  const pitch = (<usize>(across * span)) << 2;
  for (let u = nextUnit(); u < batch * spans * strips * bands; u = nextUnit()) {
    const band = u % bands;
    const strip = (u / bands) % strips;
    const part = (u / bands / strips) % spans;
    const image = u / bands / strips / spans;
    const begin = strip * across;
    const n = min(across, outWidth - begin);
    const channel = part * span;
    const wide = min(span, channels - channel);
    const from = x + <usize>image * <usize>height * lineBytes + ((<usize>channel) << 2);
    const end = min(outHeight, (band + 1) * rows);
    for (let i = 0; i < ring; i++) store<i32>(tags + ((<usize>i) << 2), -1);
    for (let i = band * rows; i < end; i++) {
      const first = load<i32>(lines + ((<usize>i) << 3));
      const count = load<i32>(lines + ((<usize>i) << 3), 4);
      for (let r = first; r < first + count; r++) {
        const tag = tags + ((<usize>(r % ring)) << 2);
        if (load<i32>(tag) == r) continue;
        store<i32>(tag, r);
        const to = waiting + <usize>(r % ring) * pitch;
        const line = from + <usize>r * lineBytes;
        sumAlongLine(line, pixel, columns, columnWeights, mostColumns, begin, n, wide, to);
      }
      const pixels = (<usize>image * <usize>outHeight + <usize>i) * <usize>outWidth + <usize>begin;
      let put = y + pixels * pixel + ((<usize>channel) << 2);
      const w = lineWeights + ((<usize>i * <usize>ring) << 2);
      if (spans == 1) {
        sumAcrossLines(waiting, pitch, ring, first, count, w, n * wide, put, accumulate);
        continue;
      }
      // A strip of some channels is one column wide unless all channels fit.
      let at = waiting;
      for (let j = 0; j < n; j++) {
        sumAcrossLines(at, pitch, ring, first, count, w, wide, put, accumulate);
        at += (<usize>wide) << 2;
        put += pixel;
      }
    }
  }
}
