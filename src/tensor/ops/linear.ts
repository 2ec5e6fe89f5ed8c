/** The linear layer x W^T, with or without a bias, and its gradients. */
import { ShapeError } from "../errors.ts";
import { isQuantized, type Weight } from "../quantized.ts";
import { record } from "../record.ts";
import type { Backward, Tensor } from "../tensor.ts";
import { add } from "./elementwise.ts";
import { matmulInto } from "./matmul.ts";
import { copyRows, fill } from "./memory.ts";
import { quantizedLinear, refuseGradient } from "./quantized-linear.ts";

/** y += bias in every row, outside the tape: y [.., n], bias [n], both f32. @throws ShapeError */
function addToRows(y: Tensor, bias: Tensor): void {
  const n = y.shape.at(-1)!;
  if (bias.dtype !== "f32" || bias.shape.length !== 1 || bias.size !== n) {
    throw new ShapeError("the bias must have one element per row of the weight", {
      where: "linear",
      expected: `f32 [${n}]`,
      found: `${bias.dtype} [${bias.shape}]`,
    });
  }
  if (y.size === 0) return;
  using rows = y.device.unscoped(() => y.device.empty(y.shape));
  copyRows(bias, rows, y.size / n, n, 0, n);
  add.into(y, rows);
}

/**
 * x W^T + bias: x [.., k] f32, weight [n, k] float or quantized, bias [n] f32 or none, result [.., n]. The weight gets
 * a gradient only if it is f32; through quantized weights there is none at all. @throws ShapeError
 */
export function linear(x: Tensor, weight: Weight, bias: Tensor | null = null): Tensor {
  if (isQuantized(weight)) {
    if (bias) refuseGradient("linear", x, bias);
    const y = quantizedLinear(x, weight);
    if (bias) addToRows(y, bias);
    return y;
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
  const lead = x.shape.slice(0, -1);
  const m = lead.reduce((size, each) => size * each, 1);
  const { device } = x;
  const y = device.empty([...lead, n]);
  matmulInto(
    device,
    { m, n, k },
    { tensor: x, row: k },
    { tensor: weight, row: 1, column: k },
    { tensor: y, row: n },
  );
  const backward = linearBackward(x, weight);
  if (bias === null) {
    record([y], [x, weight], backward);
    return y;
  }
  addToRows(y, bias);
  record([y], [x, weight, bias], (dys, grads) => {
    backward(dys, grads);
    if (!grads.wants(2)) return;
    const { tensor, accumulate } = grads.target(2);
    using ones = device.unscoped(() => fill(device.empty([1, m]), 1));
    const column = { tensor: dys[0]!, row: n };
    matmulInto(device, { m: 1, n, k: m }, { tensor: ones, row: m }, column, { tensor, row: n }, accumulate);
  });
  return y;
}

/** The gradients of x W^T, however it was computed: x [.., k] f32, weight [n, k] f32. */
export function linearBackward(x: Tensor, weight: Tensor): Backward {
  const { device } = x;
  const [n, k] = weight.shape;
  const m = x.size / k;
  return ([dy], grads) => {
    if (grads.wants(0)) {
      const { tensor, accumulate } = grads.target(0);
      const to = { tensor, row: k };
      matmulInto(
        device,
        { m, n: k, k: n },
        { tensor: dy!, row: n },
        { tensor: weight, row: k },
        to,
        accumulate,
      );
    }
    if (grads.wants(1)) {
      const { tensor, accumulate } = grads.target(1);
      const from = { tensor: dy!, row: 1, column: n };
      const to = { tensor, row: k };
      matmulInto(device, { m: n, n: k, k: m }, from, { tensor: x, row: k }, to, accumulate);
    }
  };
}
