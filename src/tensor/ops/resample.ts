/**
 * One pass of Pillow's resize of 8-bit RGB images (`ImagingResample`): integer weights of 22 fraction bits, sums in 32 bits,
 * rounded and clamped to bytes. On a device, or on plain bytes where there is none: the same bits. No gradient.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";

/** Fraction bits of the weights. */
export const WEIGHT_BITS = 22;
const HALF = 1 << (WEIGHT_BITS - 1);

/** Which pixels of one axis make an output pixel, and with what weights. */
export interface Taps {
  /** Pixels of the input and of the output along this axis. */
  readonly from: number;
  readonly to: number;
  /** Weights kept for each output pixel. */
  readonly most: number;
  /** `[to, 2]`: first input pixel, and how many. */
  readonly bounds: Int32Array;
  /** `[to, most]`, units of 2^-22; 0 behind the last one. The sum of their sizes stays below 2^23. */
  readonly weights: Int32Array;
}

type Arrays = Record<"x" | "y", Uint8Array> & Record<"bounds" | "weights", Int32Array>;

const clamped = (sum: number) => Math.max(0, Math.min(255, sum >> WEIGHT_BITS));

function alongRows({ x, bounds, weights, y }: Arrays, ints: Record<"rows" | "from" | "to" | "most", number>) {
  const { rows, from, to, most } = ints;
  for (let r = 0, at = 0; r < rows; r++) {
    const row = r * from * 3;
    for (let i = 0; i < to; i++, at += 3) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let pixel = row + bounds[2 * i] * 3;
      const first = i * most;
      const end = first + bounds[2 * i + 1];
      for (let k = first; k < end; k++, pixel += 3) {
        const weight = weights[k];
        red = (red + Math.imul(x[pixel], weight)) | 0;
        green = (green + Math.imul(x[pixel + 1], weight)) | 0;
        blue = (blue + Math.imul(x[pixel + 2], weight)) | 0;
      }
      y[at] = clamped(red);
      y[at + 1] = clamped(green);
      y[at + 2] = clamped(blue);
    }
  }
}

function alongColumns({ x, bounds, weights, y }: Arrays, ints: Record<"length" | "to" | "most", number>) {
  const { length, to, most } = ints;
  const sums = new Int32Array(length);
  for (let i = 0; i < to; i++) {
    sums.fill(HALF);
    for (let j = 0; j < bounds[2 * i + 1]; j++) {
      const weight = weights[i * most + j];
      const row = (bounds[2 * i] + j) * length;
      for (let c = 0; c < length; c++) sums[c] = (sums[c] + Math.imul(x[row + c], weight)) | 0;
    }
    for (let c = 0; c < length; c++) y[i * length + c] = clamped(sums[c]);
  }
}

const rowsKernel = defineKernel({
  name: "resample_rows",
  operands: { x: "in u8", bounds: "in i32", weights: "in i32", y: "out u8" },
  ints: ["rows", "from", "to", "most"],
  work: ({ rows, to, most }) => rows * to * most,
  reference: alongRows,
});

const columnsKernel = defineKernel({
  name: "resample_columns",
  operands: { x: "in u8", bounds: "in i32", weights: "in i32", y: "out u8" },
  ints: ["length", "to", "most"],
  work: ({ length, to, most }) => (length * to * most) / 4,
  reference: alongColumns,
});

/** Pixels of an image: `[height, width, 3]`, u8. */
function sizesOf(shape: readonly number[], axis: "rows" | "columns", { from, to }: Taps): number[] {
  const [height, width, channels] = shape;
  if (shape.length !== 3 || channels !== 3 || (axis === "rows" ? width : height) !== from) {
    throw new ShapeError(`the image's ${axis} do not fit`, {
      where: "resample",
      expected: axis === "rows" ? ["height", from, 3] : [from, "width", 3],
      found: shape,
    });
  }
  return axis === "rows" ? [height, to, 3] : [to, width, 3];
}

/**
 * Resizes every row (or every column) of `taps.from` pixels to `taps.to`.
 * @param image `[height, width, 3]` u8
 * @throws ShapeError
 */
export function resample(image: Tensor, axis: "rows" | "columns", taps: Taps): Tensor {
  const shape = sizesOf(image.shape, axis, taps);
  const { device } = image;
  const { from, to, most } = taps;
  const y = device.empty(shape, "u8", false, image);
  const bounds = device.tensor(taps.bounds, [to, 2], "i32");
  const weights = device.tensor(taps.weights, [to, most], "i32");
  const operands = { x: image, bounds, weights, y };
  if (axis === "rows") rowsKernel.run(device, operands, { rows: shape[0], from, to, most });
  else columnsKernel.run(device, operands, { length: shape[1] * 3, to, most });
  bounds.dispose();
  weights.dispose();
  return y;
}

/** `resample` of plain bytes. @param x bytes of an image of `height` x `width` @throws ShapeError */
resample.bytes = (
  x: Uint8Array,
  [height, width]: readonly [number, number],
  axis: "rows" | "columns",
  taps: Taps,
): Uint8Array => {
  const [rows, columns] = sizesOf([height, width, 3], axis, taps);
  const { from, to, most, bounds, weights } = taps;
  const y = new Uint8Array(rows * columns * 3);
  if (axis === "rows") alongRows({ x, bounds, weights, y }, { rows, from, to, most });
  else alongColumns({ x, bounds, weights, y }, { length: columns * 3, to, most });
  return y;
};
