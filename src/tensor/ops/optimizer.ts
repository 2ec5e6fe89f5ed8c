/**
 * AdamW (Loshchilov and Hutter 2019) with decay first and epsilon outside the bias-corrected root, one pass over
 * memory for each parameter, and the clipping of a global gradient norm, all without waiting for the device.
 */
import { dtypeCode } from "../dtype.ts";
import { ConfigError, ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";

export { squaredNorm } from "./reduce.ts";

const adamwKernel = defineKernel({
  name: "adamw",
  operands: { w: "inout f32", g: "in f32?", m: "inout float", v: "inout float", scale: "in f32?" },
  ints: ["n", "dtype"],
  floats: ["decay", "beta1", "rest1", "beta2", "rest2", "step", "correction", "epsilon"],
  work: ({ n }) => 4 * n,
  reference: ({ w, g, m, v, scale }, { n }, f) => {
    for (let i = 0; i < n; i++) {
      const gradient = (g ? g[i] : 0) * (scale ? scale[0] : 1);
      w[i] -= f.decay * w[i];
      m[i] = f.beta1 * m[i] + f.rest1 * gradient;
      v[i] = f.beta2 * v[i] + f.rest2 * gradient * gradient;
      w[i] -= (f.step * m[i]) / (Math.sqrt(v[i]) * f.correction + f.epsilon);
    }
  },
});

const clipScaleKernel = defineKernel({
  name: "clip_scale",
  operands: { x: "in f32", y: "out f32" },
  floats: ["limit"],
  work: () => 0,
  reference: ({ x, y }, _, { limit }) => {
    y[0] = Math.min(1, limit / (Math.sqrt(x[0]) + 1e-6));
  },
});

export interface AdamWOptions {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Applied as w *= 1 - learningRate * weightDecay before the update. */
  readonly weightDecay: number;
  /** Number of this step, from 1. */
  readonly step: number;
}

/**
 * One AdamW step in place on `param` (f32) and its moments `m` and `v` (both f32 or both bf16, same shape). A null
 * gradient counts as zero: the parameter is still decayed and moved by its moments. Gradients are multiplied by
 * the device scalar `gradientScale` if it is given. @throws ShapeError, ConfigError
 */
export function adamw(
  param: Tensor,
  grad: Tensor | null,
  m: Tensor,
  v: Tensor,
  options: AdamWOptions,
  gradientScale: Tensor | null = null,
): void {
  const { learningRate, beta1, beta2, epsilon, weightDecay, step } = options;
  for (const [name, tensor] of Object.entries({ grad, m, v })) {
    if (tensor !== null && tensor.size !== param.size) {
      throw new ShapeError("sizes differ from the parameter's", {
        where: "adamw",
        name,
        expected: param.shape,
        found: tensor.shape,
      });
    }
  }
  if (m.dtype !== v.dtype || m.dtype === "f16") {
    throw new ShapeError("moments must have one dtype", {
      where: "adamw",
      expected: "f32 or bf16",
      found: [m.dtype, v.dtype],
    });
  }
  if (gradientScale !== null && gradientScale.size !== 1) {
    throw new ShapeError("the gradient scale must be a scalar", {
      where: "adamw",
      found: gradientScale.shape,
    });
  }
  if (!(Number.isInteger(step) && step >= 1)) {
    throw new ConfigError("step must be an integer of at least 1", {
      where: "adamw",
      name: "step",
      found: step,
    });
  }
  // Differences and powers in double precision here: 1 - 0.999 in f32 would be off by 1e-5 of itself.
  adamwKernel.run(
    param.device,
    { w: param, g: grad, m, v, scale: gradientScale },
    { n: param.size, dtype: dtypeCode(m.dtype) },
    {
      decay: learningRate * weightDecay,
      beta1,
      rest1: 1 - beta1,
      beta2,
      rest2: 1 - beta2,
      step: learningRate / (1 - beta1 ** step),
      correction: 1 / Math.sqrt(1 - beta2 ** step),
      epsilon,
    },
  );
}

/** min(1, maxNorm / (norm + 1e-6)) of a squared norm, both on the device: [1] -> [1]. @throws ConfigError */
export function clipScale(squaredNorm: Tensor, maxNorm: number): Tensor {
  if (!(maxNorm > 0)) {
    throw new ConfigError("maxNorm must be positive", {
      where: "clipScale",
      name: "maxNorm",
      found: maxNorm,
    });
  }
  const y = squaredNorm.device.empty([1]);
  clipScaleKernel.run(squaredNorm.device, { x: squaredNorm, y }, {}, { limit: maxNorm });
  return y;
}
