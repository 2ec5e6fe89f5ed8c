/**
 * Depthwise convolution of images with channels last: a kernel of its own for each channel, as in ConvNeXt blocks. Odd
 * kernels with as many zeros around that the size stays; other paddings and strides are left out.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { columnSums } from "./column-sums.ts";
import { checkOperand } from "./image-shape.ts";

const shapeNames = ["batch", "height", "width", "n", "size"] as const;

type DepthwiseShape = Record<(typeof shapeNames)[number], number>;

/** Lines of all images that one thread sums for the gradient of the weight; as many sums meet at the end. */
const MOST_BLOCKS = 16;

const workOf = ({ batch, height, width, n, size }: DepthwiseShape) =>
  (batch * height * width * n * size ** 2) / 4;

/** Calls `visit` for each product, by the indices of its pixel, weight and output. */
function eachProduct(s: DepthwiseShape, visit: (x: number, w: number, y: number) => void): void {
  const half = (s.size - 1) / 2;
  for (let b = 0; b < s.batch; b++) {
    for (let oy = 0; oy < s.height; oy++) {
      for (let ox = 0; ox < s.width; ox++) {
        for (let ky = 0; ky < s.size; ky++) {
          for (let kx = 0; kx < s.size; kx++) {
            const [iy, ix] = [oy + ky - half, ox + kx - half];
            if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
            for (let c = 0; c < s.n; c++) {
              const pixel = ((b * s.height + iy) * s.width + ix) * s.n + c;
              const output = ((b * s.height + oy) * s.width + ox) * s.n + c;
              visit(pixel, (ky * s.size + kx) * s.n + c, output);
            }
          }
        }
      }
    }
  }
}

const depthwiseKernel = defineKernel({
  name: "depthwise",
  operands: { x: "in f32", w: "in f32", bias: "in f32?", y: "inout f32" },
  ints: [...shapeNames, "turn", "accumulate"],
  work: workOf,
  reference: ({ x, w, bias, y }, s) => {
    const count = s.batch * s.height * s.width * s.n;
    for (let i = 0; i < count; i++) y[i] = (s.accumulate ? y[i] : 0) + (bias ? bias[i % s.n] : 0);
    const taps = s.size ** 2;
    eachProduct(s, (pixel, tap, output) => {
      const weight = s.turn ? (taps - 1 - Math.floor(tap / s.n)) * s.n + (tap % s.n) : tap;
      y[output] += x[pixel] * w[weight];
    });
  },
});

const weightGradKernel = defineKernel({
  name: "depthwise_weight_grad",
  operands: { x: "in f32", dy: "in f32", dw: "inout f32", partial: "out f32" },
  ints: [...shapeNames, "blocks", "accumulate"],
  work: workOf,
  reference: ({ x, dy, dw }, s) => {
    if (!s.accumulate) dw.fill(0, 0, s.size ** 2 * s.n);
    eachProduct(s, (pixel, tap, output) => {
      dw[tap] += dy[output] * x[pixel];
    });
  },
});

/**
 * Cross-correlation of each channel with its own kernel, zeros around: x f32 [batch, height, width, n], weight f32
 * [size, size, n] with an odd size, bias f32 [n] or none -> [batch, height, width, n]. @throws ShapeError
 */
export function depthwiseConv2d(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  const where = "depthwiseConv2d";
  const [batch, height, width, n] = x.shape;
  const [size] = weight.shape;
  if (x.shape.length !== 4 || x.dtype !== "f32" || n < 1) {
    throw new ShapeError("not images with channels last", {
      where,
      expected: "f32 [batch, height, width, channels]",
      found: `${x.dtype} [${x.shape}]`,
    });
  }
  if (!(size % 2 === 1)) {
    throw new ShapeError("the kernel has no middle", { where, expected: "an odd size", found: weight.shape });
  }
  checkOperand(where, "weight", weight, [size, size, n]);
  if (bias) checkOperand(where, "bias", bias, [n]);
  const { device } = x;
  const shape = { batch, height, width, n, size };
  const y = device.empty(x.shape);
  if (y.size > 0)
    depthwiseKernel.run(device, { x, w: weight, bias, y }, { ...shape, turn: 0, accumulate: 0 });
  record([y], bias ? [x, weight, bias] : [x, weight], ([dy], grads) => {
    if (grads.wants(0)) {
      const { tensor, accumulate } = grads.target(0);
      // A pixel gives to as many outputs, by the taps in reverse order.
      const operands = { x: dy!, w: weight, bias: null, y: tensor };
      if (y.size > 0) depthwiseKernel.run(device, operands, { ...shape, turn: 1, accumulate });
    }
    if (grads.wants(1)) {
      const { tensor: dw, accumulate } = grads.target(1);
      const blocks = Math.max(1, Math.min(MOST_BLOCKS, batch * height));
      const partial = device.empty([blocks, size, size, n]);
      weightGradKernel.run(device, { x, dy: dy!, dw, partial }, { ...shape, blocks, accumulate });
    }
    if (bias && grads.wants(2)) {
      const { tensor, accumulate } = grads.target(2);
      columnSums(dy!, tensor, accumulate);
    }
  });
  return y;
}
