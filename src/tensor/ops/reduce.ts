/** Sums over whole tensors, accumulated in double precision in a fixed order, and weighted sums of losses. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

/** Elements of one partial sum; kernels/reduce.ts has the same number. */
const BLOCK = 16384;

/** Partials are pairs of f32 whose sum is the double. */
function definePartials(name: string, term: (x: number) => number) {
  return defineKernel({
    name,
    operands: { x: "in f32", partial: "inout f32" },
    ints: ["n", "first"],
    work: ({ n }) => n,
    reference: ({ x, partial }, { n, first }) => {
      for (let b = 0; b * BLOCK < n; b++) {
        let sum = 0;
        for (let i = b * BLOCK; i < Math.min(n, (b + 1) * BLOCK); i++) sum += term(x[i]);
        partial[2 * (first + b)] = sum;
        partial[2 * (first + b) + 1] = 0;
      }
    },
  });
}

const sumKernel = definePartials("sum_partials", (x) => x);
const squareKernel = definePartials("square_partials", (x) => x * x);

const sumBlocksKernel = defineKernel({
  name: "sum_blocks",
  operands: { partial: "in f32", y: "out f32" },
  ints: ["blocks"],
  floats: ["alpha"],
  work: () => 0,
  reference: ({ partial, y }, { blocks }, { alpha }) => {
    let sum = 0;
    for (let b = 0; b < 2 * blocks; b++) sum += partial[b];
    y[0] = alpha * sum;
  },
});

const spreadKernel = defineKernel({
  name: "spread",
  operands: { x: "in f32", y: "inout f32" },
  ints: ["n", "accumulate"],
  floats: ["alpha"],
  work: ({ n }) => n / 4,
  reference: ({ x, y }, { n, accumulate }, { alpha }) => {
    for (let i = 0; i < n; i++) y[i] = (accumulate ? y[i] : 0) + alpha * x[0];
  },
});

function total(tensors: readonly Tensor[], kernel: typeof sumKernel, alpha: number, where: string): Tensor {
  if (tensors.length === 0) throw new ShapeError("no tensors to sum", { where, found: 0 });
  const { device } = tensors[0];
  const blocks = tensors.reduce((sum, t) => sum + Math.ceil(t.size / BLOCK), 0);
  const y = device.empty([1]);
  const partial = device.empty([blocks, 2]);
  let first = 0;
  for (const x of tensors) {
    kernel.run(device, { x, partial }, { n: x.size, first });
    first += Math.ceil(x.size / BLOCK);
  }
  sumBlocksKernel.run(device, { partial, y }, { blocks }, { alpha });
  partial.dispose();
  return y;
}

function scaledSum(x: Tensor, alpha: number, where: string): Tensor {
  const y = total([x], sumKernel, alpha, where);
  record([y], [x], ([dy], grads) => {
    const { tensor, accumulate } = grads.target(0);
    spreadKernel.run(x.device, { x: dy!, y: tensor }, { n: x.size, accumulate }, { alpha });
  });
  return y;
}

/** Sum of all elements: f32 [..] -> [1]. */
export function sumAll(x: Tensor): Tensor {
  return scaledSum(x, 1, "sumAll");
}

/** Mean of all elements: f32 [..] -> [1]. @throws ShapeError if there are none */
export function meanAll(x: Tensor): Tensor {
  if (x.size === 0) throw new ShapeError("mean of an empty tensor", { where: "meanAll", found: x.shape });
  return scaledSum(x, 1 / x.size, "meanAll");
}

/** Sum of the squares of all elements of all tensors (f32) -> [1]; no gradient. @throws ShapeError for no tensors */
export function squaredNorm(tensors: readonly Tensor[]): Tensor {
  return total(tensors, squareKernel, 1, "squaredNorm");
}

/** sum of weights[i] scalars[i], each [1] -> [1]: how losses are added. @throws ShapeError */
export function weightedSum(scalars: readonly Tensor[], weights: readonly number[]): Tensor {
  if (scalars.length === 0 || scalars.length !== weights.length) {
    throw new ShapeError("scalars and weights differ in number, or there are none", {
      where: "weightedSum",
      expected: scalars.length,
      found: weights.length,
    });
  }
  for (const scalar of scalars) {
    if (scalar.size !== 1)
      throw new ShapeError("not a scalar", { where: "weightedSum", found: scalar.shape });
  }
  const { device } = scalars[0];
  const y = device.empty([1]);
  scalars.forEach((x, i) => {
    spreadKernel.run(device, { x, y }, { n: 1, accumulate: i === 0 ? 0 : 1 }, { alpha: weights[i] });
  });
  record([y], scalars, ([dy], grads) => {
    scalars.forEach((_, i) => {
      if (!grads.wants(i)) return;
      const { tensor, accumulate } = grads.target(i);
      spreadKernel.run(device, { x: dy!, y: tensor }, { n: 1, accumulate }, { alpha: weights[i] });
    });
  });
  return y;
}
