/** GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415), exactly and in its tanh form. */
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

/**
 * An activation that products with a bias can compute on their way: `gelu` is x P(X <= x) for normal X, `gelu_tanh` its
 * approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
 */
export type Activation = "gelu" | "gelu_tanh";

/** The number that stands for an activation in the arguments of a kernel; 0 for none. */
export function activationCode(activation: Activation | null): number {
  return activation === null ? 0 : activation === "gelu" ? 1 : 2;
}

/** exp(z^2) erfc(z) for z >= 0 (Lentz's evaluation of the continued fraction, or the series of erf near zero). */
function scaledErfc(z: number): number {
  if (z < 2.5) {
    let term = z;
    let sum = z;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
      term *= (2 * z * z) / (2 * n + 1);
      sum += term;
    }
    return Math.exp(z * z) - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 120; n > 0; n--) fraction = n / 2 / (z + fraction);
  return 1 / (Math.sqrt(Math.PI) * (z + fraction));
}

/** P(X > t) for normal X, accurate relative to its size. */
function normalTail(t: number): number {
  if (t < 0) return 1 - normalTail(-t);
  return (Math.exp((-t * t) / 2) * scaledErfc(t / Math.SQRT2)) / 2;
}

const TANH_FACTOR = Math.sqrt(8 / Math.PI);

/** The activation of this code at `x`, in double precision. */
export function activate(x: number, code: number): number {
  if (code === 0) return x;
  if (code === 1) return x * normalTail(-x);
  return x / (1 + Math.exp(-TANH_FACTOR * (x + 0.044715 * x ** 3)));
}

/** Its derivative. */
function slope(x: number, code: number): number {
  if (code === 1) return normalTail(-x) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
  const s = 1 / (1 + Math.exp(-TANH_FACTOR * (x + 0.044715 * x ** 3)));
  return s + x * s * (1 - s) * TANH_FACTOR * (1 + 3 * 0.044715 * x * x);
}

const geluKernel = defineKernel({
  name: "gelu",
  operands: { x: "in f32", y: "out f32" },
  ints: ["n", "form"],
  work: ({ n }) => 4 * n,
  reference: ({ x, y }, { n, form }) => {
    for (let i = 0; i < n; i++) y[i] = activate(x[i], form);
  },
});

const geluGradKernel = defineKernel({
  name: "gelu_grad",
  operands: { x: "in f32", dy: "in f32", dx: "inout f32" },
  ints: ["n", "form", "accumulate"],
  work: ({ n }) => 6 * n,
  reference: ({ x, dy, dx }, { n, form, accumulate }) => {
    for (let i = 0; i < n; i++) {
      const value = dy[i] * slope(x[i], form);
      dx[i] = accumulate ? dx[i] + value : value;
    }
  },
});

/**
 * GELU of every element: f32 [..] -> [..], within 1e-6 of its value from -3 up (8e-6 in the tail below, where values are
 * under 0.004). The gradient is computed from the input; nothing else is saved.
 */
export function gelu(x: Tensor, form: Activation = "gelu"): Tensor {
  const { device } = x;
  const code = activationCode(form);
  const y = device.empty(x.shape);
  geluKernel.run(device, { x, y }, { n: x.size, form: code });
  record([y], [x], ([dy], grads) => {
    const { tensor: dx, accumulate } = grads.target(0);
    geluGradKernel.run(device, { x, dy: dy!, dx }, { n: x.size, form: code, accumulate });
  });
  return y;
}
