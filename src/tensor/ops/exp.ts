/** The exponential function of every element. */
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { multiply } from "./multiply.ts";

const expKernel = defineKernel({
  name: "exp_elements",
  operands: { x: "in f32", y: "out f32" },
  ints: ["n"],
  work: ({ n }) => 3 * n,
  reference: ({ x, y }, { n }) => {
    for (let i = 0; i < n; i++) y[i] = Math.exp(x[i]);
  },
});

/** e^x of every element: f32 [..] -> [..]. Its gradient is computed from the result. */
export function exp(x: Tensor): Tensor {
  const { device } = x;
  const y = device.empty(x.shape);
  expKernel.run(device, { x, y }, { n: x.size });
  record([y], [x], ([dy], grads) => grads.add(0, multiply(dy!, y)));
  return y;
}
