/**
 * Patches of pixels to channels and back, channels last: torch's unfold with as large a stride as its kernel, and its
 * pixel_shuffle. Each is the other's gradient.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

// biome-ignore format: one line
const ints = ["batch", "height", "width", "channels", "size", "rows", "columns"] as const;

type PatchShape = Record<(typeof ints)[number], number>;

/** Calls `visit` for each channel of each pixel of each patch: its place in the image, or -1 outside, and in the patches. */
function eachPixel(s: PatchShape, visit: (pixel: number, channel: number) => void): void {
  const area = s.size ** 2;
  for (let p = 0; p < s.batch * s.rows * s.columns; p++) {
    const ix = (p % s.columns) * s.size;
    const iy = (Math.floor(p / s.columns) % s.rows) * s.size;
    const image = Math.floor(p / s.columns / s.rows);
    for (let k = 0; k < area; k++) {
      const y = iy + Math.floor(k / s.size);
      const x = ix + (k % s.size);
      const inside = y < s.height && x < s.width;
      for (let c = 0; c < s.channels; c++) {
        const pixel = ((image * s.height + y) * s.width + x) * s.channels + c;
        visit(inside ? pixel : -1, (p * s.channels + c) * area + k);
      }
    }
  }
}

const work = (s: PatchShape) => s.batch * s.rows * s.columns * s.channels * s.size ** 2;

const toChannelsKernel = defineKernel({
  name: "pixels_to_channels",
  operands: { x: "in f32", y: "out f32" },
  ints,
  work,
  reference: ({ x, y }, s) =>
    eachPixel(s, (pixel, channel) => {
      y[channel] = pixel < 0 ? 0 : x[pixel];
    }),
});

const toPixelsKernel = defineKernel({
  name: "channels_to_pixels",
  operands: { x: "in f32", y: "out f32" },
  ints,
  work,
  reference: ({ x, y }, s) =>
    eachPixel(s, (pixel, channel) => {
      if (pixel >= 0) y[pixel] = x[channel];
    }),
});

function checkSize(where: string, x: Tensor, size: number): void {
  if (x.shape.length === 4 && Number.isSafeInteger(size) && size > 0) return;
  throw new ShapeError("not images, or not a size of patches", {
    where,
    expected: "[batch, height, width, channels] and a whole number from 1 up",
    found: `[${x.shape}] and ${size}`,
  });
}

/**
 * Patches of `size` x `size` pixels side by side: [batch, height, width, channels] f32 -> [batch, ceil(height / size),
 * ceil(width / size), channels size^2], with zeros below and to the right of the image. Channel c of the pixel (ky, kx) of
 * a patch becomes channel c size^2 + ky size + kx. @throws ShapeError
 */
export function unfold(x: Tensor, size: number): Tensor {
  checkSize("unfold", x, size);
  const [batch, height, width, channels] = x.shape;
  const [rows, columns] = [Math.ceil(height / size), Math.ceil(width / size)];
  const shape: PatchShape = { batch, height, width, channels, size, rows, columns };
  const { device } = x;
  const y = device.empty([batch, rows, columns, channels * size * size]);
  if (y.size > 0) toChannelsKernel.run(device, { x, y }, shape);
  record([y], [x], ([dy], grads) => {
    const dx = device.empty(x.shape);
    if (dx.size > 0) toPixelsKernel.run(device, { x: dy!, y: dx }, shape);
    grads.add(0, dx);
  });
  return y;
}

/**
 * The reverse of `unfold`: [batch, rows, columns, channels factor^2] f32 -> [batch, rows factor, columns factor, channels].
 * @throws ShapeError
 */
export function pixelShuffle(x: Tensor, factor: number): Tensor {
  checkSize("pixelShuffle", x, factor);
  const [batch, rows, columns, deep] = x.shape;
  const channels = deep / factor ** 2;
  if (!Number.isSafeInteger(channels)) {
    throw new ShapeError("channels are no multiple of the square of the factor", {
      where: "pixelShuffle",
      expected: `a multiple of ${factor ** 2}`,
      found: deep,
    });
  }
  const [height, width] = [rows * factor, columns * factor];
  const shape: PatchShape = { batch, height, width, channels, size: factor, rows, columns };
  const { device } = x;
  const y = device.empty([batch, height, width, channels]);
  if (y.size > 0) toPixelsKernel.run(device, { x, y }, shape);
  record([y], [x], ([dy], grads) => {
    const dx = device.empty(x.shape);
    if (dx.size > 0) toChannelsKernel.run(device, { x: dy!, y: dx }, shape);
    grads.add(0, dx);
  });
  return y;
}
