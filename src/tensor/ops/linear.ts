/** The linear layer activation(x W^T + bias), with or without either, and its gradients. */
import { ShapeError } from "../errors.ts";
import { isQuantized, type Weight } from "../quantized.ts";
import { record } from "../record.ts";
import type { Backward, Gradients, Tensor } from "../tensor.ts";
import { columnSums } from "./column-sums.ts";
import { frozenLinear, passesGradient } from "./frozen-weights.ts";
import { type Activation, gelu } from "./gelu.ts";
import { checkBias, matmulInto } from "./matmul.ts";
import { checkQuantized, quantizedLinear } from "./quantized-linear.ts";

/**
 * activation(x W^T + bias): x [.., k] f32, weight [n, k] float or quantized, bias [n] f32 or none, result [.., n]. Bias
 * and activation are applied in the product, without another pass over the result; only while a gradient is recorded
 * the activation is an op of its own, since its gradient needs its input. The weight gets a gradient only if it is f32;
 * through a quantized one gradients pass to the input. @throws ShapeError
 */
export function linear(
  x: Tensor,
  weight: Weight,
  bias: Tensor | null = null,
  activation: Activation | null = null,
): Tensor {
  if (isQuantized(weight)) {
    if (!passesGradient(x, ...(bias ? [bias] : []))) return quantizedLinear(x, weight, { bias, activation });
    checkQuantized(x, weight);
    const y = frozenLinear(x, weight, bias);
    return activation ? gelu(y, activation) : y;
  }
  const k = x.shape.at(-1);
  if (weight.shape.length !== 2 || k !== weight.shape[1]) {
    throw new ShapeError("weight and input differ in their last axis", {
      where: "linear",
      expected: `[n, ${k}]`,
      found: weight.shape,
    });
  }
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new ShapeError("a trained weight must be f32", {
      where: "linear",
      expected: "f32",
      found: weight.dtype,
    });
  }
  const n = weight.shape[0];
  if (bias) checkBias("linear", bias, n);
  const inputs = bias ? [x, weight, bias] : [x, weight];
  const { device } = x;
  const recorded = device.tape !== null && inputs.some((input) => input.requiresGrad);
  if (recorded && activation) return gelu(linear(x, weight, bias), activation);
  const lead = x.shape.slice(0, -1);
  const m = lead.reduce((size, each) => size * each, 1);
  const y = device.empty([...lead, n]);
  matmulInto(
    device,
    { m, n, k },
    { tensor: x, row: k },
    { tensor: weight, row: 1, column: k },
    { tensor: y, row: n },
    0,
    { bias, activation },
  );
  const backward = linearBackward(x, weight);
  record([y], inputs, (dys, grads) => {
    backward(dys, grads);
    if (!bias || !grads.wants(2)) return;
    const { tensor, accumulate } = grads.target(2);
    columnSums(dys[0]!, tensor, accumulate);
  });
  return y;
}

type GradientTarget = ReturnType<Gradients["target"]>;

/** The gradients of x W^T, however it was computed: x [.., k] f32, weight [n, k] f32. */
export function linearBackward(x: Tensor, weight: Tensor): Backward {
  return ([dy], grads) => {
    if (grads.wants(0)) inputGradient(dy!, weight, grads.target(0));
    if (grads.wants(1)) weightGradient(dy!, x, grads.target(1));
  };
}

/** dy W into the target, or added to it: dy [.., n], weight [n, k]; no gradient. */
export function inputGradient(dy: Tensor, weight: Tensor, { tensor, accumulate }: GradientTarget): void {
  const [n, k] = weight.shape;
  const sides = [
    { tensor: dy, row: n },
    { tensor: weight, row: k },
  ] as const;
  matmulInto(dy.device, { m: dy.size / n, n: k, k: n }, ...sides, { tensor, row: k }, accumulate);
}

/** dy^T x into the target `[n, k]`, or added to it: dy [.., n], x [.., k]; no gradient. */
export function weightGradient(dy: Tensor, x: Tensor, { tensor, accumulate }: GradientTarget): void {
  const [n, k] = tensor.shape;
  const sides = [
    { tensor: dy, row: 1, column: n },
    { tensor: x, row: k },
  ] as const;
  matmulInto(dy.device, { m: n, n: k, k: x.size / k }, ...sides, { tensor, row: k }, accumulate);
}
