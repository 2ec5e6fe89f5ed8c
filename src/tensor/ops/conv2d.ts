/**
 * Two-dimensional convolution of images with channels last. Patches are never stored: products gather them block by
 * block (kernels/conv.ts), forward and backward. A 1 x 1 convolution is the linear layer.
 */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { columnSums } from "./column-sums.ts";
import { linear } from "./linear.ts";
import { checkBias, chunksOf } from "./matmul.ts";
import { reshape } from "./reshape.ts";
import { suitsTiles, tiledConvolution, type WinogradShape } from "./winograd.ts";

/** Zeros around an image, in pixels. */
export interface Padding {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

export interface ConvOptions {
  /** Pixels from one patch to the next, along both axes; default 1. */
  readonly stride?: number;
  /** The same on all sides, or for each; default 0. */
  readonly padding?: number | Padding;
}

// biome-ignore format: one line per group
const shapeNames = [
  "batch", "height", "width", "channels", "outputs", "kh", "kw",
  "stride", "top", "left", "outHeight", "outWidth",
] as const;

type ConvShape = Record<(typeof shapeNames)[number], number>;

/** Multiply-adds of a convolution, which its gradients need too, in the unit of kernels' work. */
function workOf(s: ConvShape): number {
  return (s.batch * s.outHeight * s.outWidth * s.outputs * s.kh * s.kw * s.channels) / 16;
}

/** Calls `visit` for each product of a pixel, a weight and an output, by their indices. */
function eachProduct(s: ConvShape, visit: (x: number, w: number, y: number) => void): void {
  for (let b = 0; b < s.batch; b++) {
    for (let oy = 0; oy < s.outHeight; oy++) {
      for (let ox = 0; ox < s.outWidth; ox++) {
        for (let ky = 0; ky < s.kh; ky++) {
          for (let kx = 0; kx < s.kw; kx++) {
            const iy = oy * s.stride - s.top + ky;
            const ix = ox * s.stride - s.left + kx;
            if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
            const pixel = ((b * s.height + iy) * s.width + ix) * s.channels;
            const output = ((b * s.outHeight + oy) * s.outWidth + ox) * s.outputs;
            for (let o = 0; o < s.outputs; o++) {
              const tap = ((o * s.kh + ky) * s.kw + kx) * s.channels;
              for (let c = 0; c < s.channels; c++) visit(pixel + c, tap + c, output + o);
            }
          }
        }
      }
    }
  }
}

const convKernel = defineKernel({
  name: "conv2d",
  operands: { x: "in f32", w: "in float", y: "out f32", bias: "in f32?" },
  ints: [...shapeNames, "dtype"],
  work: workOf,
  reference: ({ x, w, y, bias }, s) => {
    for (let i = 0; i < s.batch * s.outHeight * s.outWidth * s.outputs; i++) {
      y[i] = bias ? bias[i % s.outputs] : 0;
    }
    eachProduct(s, (pixel, tap, output) => {
      y[output] += x[pixel] * w[tap];
    });
  },
});

const inputGradKernel = defineKernel({
  name: "conv2d_input_grad",
  operands: { dy: "in f32", w: "in float", dx: "inout f32" },
  ints: [...shapeNames, "dtype", "accumulate"],
  work: workOf,
  reference: ({ dy, w, dx }, s) => {
    if (!s.accumulate) dx.fill(0, 0, s.batch * s.height * s.width * s.channels);
    eachProduct(s, (pixel, tap, output) => {
      dx[pixel] += dy[output] * w[tap];
    });
  },
});

const weightGradKernel = defineKernel({
  name: "conv2d_weight_grad",
  operands: { x: "in f32", dy: "in f32", dw: "inout f32", partial: "out f32?" },
  ints: [...shapeNames, "accumulate", "chunks"],
  work: workOf,
  reference: ({ x, dy, dw }, s) => {
    if (!s.accumulate) dw.fill(0, 0, s.outputs * s.kh * s.kw * s.channels);
    eachProduct(s, (pixel, tap, output) => {
      dw[tap] += dy[output] * x[pixel];
    });
  },
});

function wholeNumber(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new ShapeError(`invalid ${name}`, {
    where: "conv2d",
    name,
    expected: `a whole number from ${least} up`,
    found: value,
  });
}

/** @throws ShapeError if the operands do not make a convolution */
function shapeOf(x: Tensor, weight: Tensor, { stride = 1, padding = 0 }: ConvOptions): ConvShape {
  const sides =
    typeof padding === "number" ? { top: padding, bottom: padding, left: padding, right: padding } : padding;
  wholeNumber("stride", stride, 1);
  for (const side of ["top", "bottom", "left", "right"] as const) wholeNumber("padding", sides[side], 0);
  const [batch, height, width, channels] = x.shape;
  const [outputs, kh, kw] = weight.shape;
  if (x.shape.length !== 4 || weight.shape.length !== 4 || weight.shape[3] !== channels) {
    throw new ShapeError("image and weight differ in their last axis", {
      where: "conv2d",
      expected: "[batch, height, width, in] and [out, kh, kw, in]",
      found: `[${x.shape}] and [${weight.shape}]`,
    });
  }
  const outHeight = Math.floor((height + sides.top + sides.bottom - kh) / stride) + 1;
  const outWidth = Math.floor((width + sides.left + sides.right - kw) / stride) + 1;
  if (outHeight < 1 || outWidth < 1 || channels < 1 || kh < 1 || kw < 1) {
    throw new ShapeError("the kernel is larger than the padded image", {
      where: "conv2d",
      expected: `at most ${height + sides.top + sides.bottom} x ${width + sides.left + sides.right}`,
      found: `${kh} x ${kw}`,
    });
  }
  const { top, left } = sides;
  return { batch, height, width, channels, outputs, kh, kw, stride, top, left, outHeight, outWidth };
}

/** The convolution of dy that gives dx, with weights turned by half a turn; null where its tiles do not fit. */
function turnedShape(s: ConvShape): WinogradShape | null {
  if (s.kh !== 3 || s.kw !== 3 || s.stride !== 1 || s.top > 2 || s.left > 2) return null;
  return {
    ...{ batch: s.batch, channels: s.outputs, outputs: s.channels, top: 2 - s.top, left: 2 - s.left },
    ...{ height: s.outHeight, width: s.outWidth, outHeight: s.height, outWidth: s.width },
  };
}

/**
 * Cross-correlation as in torch's conv2d, channels last: x [batch, height, width, in] f32, weight [out, kh, kw, in] float,
 * bias [out] f32 or none -> [batch, outHeight, outWidth, out] with outHeight = floor((height + top + bottom - kh) /
 * stride) + 1. The weight gets a gradient only if it is f32. @throws ShapeError
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvOptions = {},
): Tensor {
  const shape = shapeOf(x, weight, options);
  const { batch, outputs, kh, kw, channels, outHeight, outWidth } = shape;
  const unpadded = outHeight === shape.height && outWidth === shape.width;
  if (kh === 1 && kw === 1 && shape.stride === 1 && unpadded) {
    const matrix = reshape(weight, [outputs, channels]);
    const y = linear(x, matrix, bias);
    x.device.release(matrix);
    return y;
  }
  if (bias) checkBias("conv2d", bias, outputs);
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new ShapeError("a trained weight must be f32", {
      where: "conv2d",
      expected: "f32",
      found: weight.dtype,
    });
  }
  const { device } = x;
  const dtype = dtypeCode(weight.dtype);
  const y = device.empty([batch, outHeight, outWidth, outputs]);
  if (shape.kh === 3 && kw === 3 && shape.stride === 1 && suitsTiles(shape)) {
    tiledConvolution({ x, w: weight, y, bias }, shape);
  } else if (y.size > 0) convKernel.run(device, { x, w: weight, y, bias }, { ...shape, dtype });
  record([y], bias ? [x, weight, bias] : [x, weight], ([dy], grads) => {
    if (grads.wants(0)) {
      const { tensor: dx, accumulate } = grads.target(0);
      const back = turnedShape(shape);
      if (back !== null && suitsTiles(back)) {
        tiledConvolution({ x: dy!, w: weight, y: dx, bias: null }, back, { turned: true, accumulate });
      } else inputGradKernel.run(device, { dy: dy!, w: weight, dx }, { ...shape, dtype, accumulate });
    }
    if (grads.wants(1)) {
      const { tensor: dw, accumulate } = grads.target(1);
      const size = kh * kw * channels;
      const chunks = chunksOf(outputs, size, batch * outHeight * outWidth, 1);
      const partial = chunks > 1 ? device.empty([chunks, outputs, size]) : null;
      weightGradKernel.run(device, { x, dy: dy!, dw, partial }, { ...shape, accumulate, chunks });
    }
    if (bias && grads.wants(2)) {
      const { tensor, accumulate } = grads.target(2);
      columnSums(dy!, tensor, accumulate);
    }
  });
  return y;
}
