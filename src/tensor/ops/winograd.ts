/**
 * 3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3) (Lavin and Gray 2015, arXiv 1509.09308): a quarter of the products, for sums that
 * differ from plain ones by a few parts in a million. Images are cut into tiles of 4 x 4 results; some tiles at a time are
 * transformed, multiplied with the transformed weights in 36 products, and transformed back.
 */
import { dtypeCode } from "../dtype.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";
import { matmulInto } from "./matmul.ts";

/** Results along each side of a tile, the pixels that they come from, and their number. */
const SIDE = 4;
const SEEN = 6;
const PLACES = SEEN ** 2;

/** Tiles of an image and channels from which on transforms cost less than products save; fewer rows have another product, of other bits. */
const LEAST_TILES = 16;
const LEAST_CHANNELS = 16;
/** A thread keeps a tile at the edge with all its channels; transformed weights take four times the memory of plain ones. */
const MOST_CHANNELS = 4096;
const MOST_WEIGHTS = 1 << 20;
/** Elements of transformed tiles and results at a time, so that they stay in the last cache; and the fewest tiles worth packing weights for. */
const BLOCK_ELEMENTS = 2 << 20;
const BLOCK_TILES = 192;

/** Rows of the transforms of a tile's pixels, of weights and of results (section 4.3 there). */
const PIXELS = [
  [4, 0, -5, 0, 1, 0],
  [0, -4, -4, 1, 1, 0],
  [0, 4, -4, -1, 1, 0],
  [0, -2, -1, 2, 1, 0],
  [0, 2, -1, -2, 1, 0],
  [0, 4, 0, -5, 0, 1],
];
const WEIGHTS = [
  [1 / 4, 0, 0],
  [-1 / 6, -1 / 6, -1 / 6],
  [-1 / 6, 1 / 6, -1 / 6],
  [1 / 24, 1 / 12, 1 / 6],
  [1 / 24, -1 / 12, 1 / 6],
  [0, 0, 1],
];
const RESULTS = [
  [1, 1, 1, 1, 1, 0],
  [0, 1, -1, 2, -2, 0],
  [0, 1, 1, 4, 4, 0],
  [0, 1, -1, 8, -8, 1],
];

/** The transform of a square along both axes, at row `i` and column `j`. */
function transformed(
  matrix: readonly (readonly number[])[],
  square: (y: number, x: number) => number,
  i: number,
  j: number,
): number {
  let sum = 0;
  matrix[i].forEach((a, y) => {
    matrix[j].forEach((b, x) => {
      if (a !== 0 && b !== 0) sum += a * b * square(y, x);
    });
  });
  return sum;
}

const weightsKernel = defineKernel({
  name: "winograd_weights",
  operands: { w: "in float", u: "out f32" },
  ints: ["outputs", "channels", "dtype", "turned", "step"],
  work: ({ outputs, channels }) => 16 * outputs * channels,
  reference: ({ w, u }, { outputs, channels, turned, step }) => {
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        const tap = (y: number, x: number) => {
          const at = 3 * y + x;
          return w[(9 * o + (turned ? 8 - at : at)) * channels + c];
        };
        for (let place = 0; place < PLACES; place++) {
          const [i, j] = [Math.floor(place / SEEN), place % SEEN];
          u[place * step + o * channels + c] = transformed(WEIGHTS, tap, i, j);
        }
      }
    }
  },
});

/** `step`: elements from one place of tiles to the next. */
const tileNames = ["tilesHigh", "tilesWide", "first", "tiles", "step"] as const;

const inputKernel = defineKernel({
  name: "winograd_input",
  operands: { x: "in f32", v: "out f32" },
  ints: ["height", "width", "channels", "top", "left", ...tileNames],
  work: ({ tiles, channels }) => 24 * tiles * channels,
  reference: ({ x, v }, { height, width, channels, top, left, tilesHigh, tilesWide, first, tiles, step }) => {
    for (let t = 0; t < tiles; t++) {
      const [rest, tx] = [Math.floor((first + t) / tilesWide), (first + t) % tilesWide];
      const [image, ty] = [Math.floor(rest / tilesHigh), rest % tilesHigh];
      for (let c = 0; c < channels; c++) {
        const pixel = (y: number, x_: number) => {
          const [iy, ix] = [SIDE * ty - top + y, SIDE * tx - left + x_];
          if (iy < 0 || iy >= height || ix < 0 || ix >= width) return 0;
          return x[((image * height + iy) * width + ix) * channels + c];
        };
        for (let place = 0; place < PLACES; place++) {
          const [i, j] = [Math.floor(place / SEEN), place % SEEN];
          v[place * step + t * channels + c] = transformed(PIXELS, pixel, i, j);
        }
      }
    }
  },
});

const outputKernel = defineKernel({
  name: "winograd_output",
  operands: { m: "in f32", y: "inout f32", bias: "in f32?" },
  ints: ["outHeight", "outWidth", "outputs", ...tileNames, "accumulate"],
  work: ({ tiles, outputs }) => 16 * tiles * outputs,
  reference: ({ m, y, bias }, s) => {
    for (let t = 0; t < s.tiles; t++) {
      const [rest, tx] = [Math.floor((s.first + t) / s.tilesWide), (s.first + t) % s.tilesWide];
      const [image, ty] = [Math.floor(rest / s.tilesHigh), rest % s.tilesHigh];
      for (let o = 0; o < s.outputs; o++) {
        const place = (i: number, j: number) => m[(SEEN * i + j) * s.step + t * s.outputs + o];
        for (let i = 0; i < Math.min(SIDE, s.outHeight - SIDE * ty); i++) {
          for (let j = 0; j < Math.min(SIDE, s.outWidth - SIDE * tx); j++) {
            const line = image * s.outHeight + SIDE * ty + i;
            const at = (line * s.outWidth + SIDE * tx + j) * s.outputs + o;
            const value = transformed(RESULTS, place, i, j) + (bias ? bias[o] : 0);
            y[at] = s.accumulate ? y[at] + value : value;
          }
        }
      }
    }
  },
});

/** A 3 x 3 convolution with stride 1. */
export interface WinogradShape {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outputs: number;
  /** Zeros above and to the left. */
  readonly top: number;
  readonly left: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

/**
 * Elements from one place to the next: more than needed, since the 36 places of a tile are written together, and at multiples of 4
 * KB they would push each other out of the first-level cache.
 */
const spread = (size: number): number => Math.ceil(size / 1024) * 1024 + 16;

const tilesOf = (size: number): number => Math.ceil(size / SIDE);

/**
 * Whether tiles are the faster way. It depends on a single image, never on how many there are: an image has the same bits alone
 * and among others.
 */
export function suitsTiles({ channels, outputs, outHeight, outWidth }: WinogradShape): boolean {
  const fits = (n: number) => n % 4 === 0 && n >= LEAST_CHANNELS && n <= MOST_CHANNELS;
  if (channels * outputs > MOST_WEIGHTS) return false;
  return fits(channels) && fits(outputs) && tilesOf(outHeight) * tilesOf(outWidth) >= LEAST_TILES;
}

/**
 * y = convolution of x [batch, height, width, channels] with w [outputs, 3, 3, channels] plus the bias, or y += it. With `turned`
 * weights are [channels, 3, 3, outputs], turned by half a turn: the gradient of a convolution for its input. No gradient.
 */
export function tiledConvolution(
  {
    x,
    w,
    y,
    bias,
  }: { readonly x: Tensor; readonly w: Tensor; readonly y: Tensor; readonly bias: Tensor | null },
  { batch, height, width, channels, outputs, top, left, outHeight, outWidth }: WinogradShape,
  { turned = false, accumulate = 0 }: { readonly turned?: boolean; readonly accumulate?: 0 | 1 } = {},
): void {
  const { device } = x;
  const [tilesHigh, tilesWide] = [tilesOf(outHeight), tilesOf(outWidth)];
  const all = batch * tilesHigh * tilesWide;
  const wanted = Math.max(BLOCK_TILES, Math.floor(BLOCK_ELEMENTS / (PLACES * (channels + outputs))));
  const blocks = Math.ceil(all / wanted);
  const most = Math.ceil(all / blocks);
  const [ofWeights, ofPixels, ofResults] = [channels * outputs, most * channels, most * outputs].map(spread);
  const u = device.empty([PLACES, ofWeights]);
  const v = device.empty([PLACES, ofPixels]);
  const m = device.empty([PLACES, ofResults]);
  const [rows, columns] = turned ? [channels, outputs] : [outputs, channels];
  const dtype = dtypeCode(w.dtype);
  weightsKernel.run(
    device,
    { w, u },
    { outputs: rows, channels: columns, dtype, turned: turned ? 1 : 0, step: ofWeights },
  );
  for (let block = 0; block < blocks; block++) {
    // Of sizes that differ by one at most: never so few rows that they would have another product.
    const [first, end] = [block, block + 1].map((at) => Math.floor((at * all) / blocks));
    const tiles = end - first;
    const place = { tilesHigh, tilesWide, first, tiles };
    inputKernel.run(device, { x, v }, { height, width, channels, top, left, ...place, step: ofPixels });
    matmulInto(
      device,
      { m: tiles, n: outputs, k: channels, batch: PLACES },
      { tensor: v, row: channels, batch: ofPixels },
      turned
        ? { tensor: u, row: outputs, batch: ofWeights }
        : { tensor: u, row: 1, column: channels, batch: ofWeights },
      { tensor: m, row: outputs, batch: ofResults },
    );
    outputKernel.run(
      device,
      { m, y, bias },
      { outHeight, outWidth, outputs, ...place, step: ofResults, accumulate },
    );
  }
  for (const each of [u, v, m]) device.release(each);
}
