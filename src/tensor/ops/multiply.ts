/** The elementwise product, with the second factor repeated over leading axes where it is smaller. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { columnSums } from "./column-sums.ts";

const multiplyKernel = defineKernel({
  name: "multiply_elements",
  operands: { a: "in f32", b: "in f32", y: "inout f32" },
  ints: ["n", "period", "accumulate"],
  work: ({ n }) => n,
  reference: ({ a, b, y }, { n, period, accumulate }) => {
    for (let i = 0; i < n; i++) y[i] = (accumulate ? y[i] : 0) + a[i] * b[i % period];
  },
});

function run(a: Tensor, b: Tensor, y: Tensor, accumulate: 0 | 1): void {
  if (a.size > 0) multiplyKernel.run(a.device, { a, b, y }, { n: a.size, period: b.size, accumulate });
}

/**
 * a b element by element, f32: b has the shape of a, or that of its last axes (repeated over the others), or one element.
 * [.., n] and [n] -> [.., n]. @throws ShapeError
 */
export function multiply(a: Tensor, b: Tensor): Tensor {
  const trailing = a.shape.slice(a.shape.length - b.shape.length);
  if (b.size !== 1 && b.shape.join() !== trailing.join()) {
    throw new ShapeError("the second factor matches neither the first nor its last axes", {
      where: "multiply",
      expected: `[${a.shape}], its last axes, or one element`,
      found: b.shape,
    });
  }
  const { device } = a;
  const y = device.empty(a.shape);
  run(a, b, y, 0);
  record([y], [a, b], ([dy], grads) => {
    if (grads.wants(0)) {
      const { tensor, accumulate } = grads.target(0);
      run(dy!, b, tensor, accumulate);
    }
    if (grads.wants(1)) {
      const { tensor, accumulate } = grads.target(1);
      if (b.size === a.size) run(dy!, a, tensor, accumulate);
      else columnSums(dy!, tensor, accumulate, a);
    }
  });
  return y;
}
