/** SiLU (Elfwing, Uchibe and Doya 2018, arXiv 1702.03118; "swish" in older code) and the logistic function, alone. */
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

/** 1 / (1 + exp(-x)) in double precision. */
export function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** The derivative of x logistic(x). */
export function siluSlope(x: number): number {
  const s = logistic(x);
  return s * (1 + x * (1 - s));
}

const siluKernel = defineKernel({
  name: "silu",
  operands: { x: "in f32", y: "out f32" },
  ints: ["n", "gated"],
  work: ({ n }) => 4 * n,
  reference: ({ x, y }, { n, gated }) => {
    for (let i = 0; i < n; i++) y[i] = gated ? x[i] * logistic(x[i]) : logistic(x[i]);
  },
});

const siluGradKernel = defineKernel({
  name: "silu_grad",
  operands: { x: "in f32", dy: "in f32", dx: "inout f32" },
  ints: ["n", "gated", "accumulate"],
  work: ({ n }) => 6 * n,
  reference: ({ x, dy, dx }, { n, gated, accumulate }) => {
    for (let i = 0; i < n; i++) {
      const s = logistic(x[i]);
      const value = dy[i] * (gated ? siluSlope(x[i]) : s * (1 - s));
      dx[i] = accumulate ? dx[i] + value : value;
    }
  },
});

function elementwise(x: Tensor, gated: 0 | 1): Tensor {
  const { device } = x;
  const y = device.empty(x.shape);
  siluKernel.run(device, { x, y }, { n: x.size, gated });
  record([y], [x], ([dy], grads) => {
    const { tensor: dx, accumulate } = grads.target(0);
    siluGradKernel.run(device, { x, dy: dy!, dx }, { n: x.size, gated, accumulate });
  });
  return y;
}

/** x sigmoid(x) of every element: f32 [..] -> [..]. The gradient is computed from the input; nothing else is saved. */
export function silu(x: Tensor): Tensor {
  return elementwise(x, 1);
}

/** 1 / (1 + exp(-x)) of every element: f32 [..] -> [..]. */
export function sigmoid(x: Tensor): Tensor {
  return elementwise(x, 0);
}
