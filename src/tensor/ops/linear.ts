/** The linear layer x W^T and its gradients. */
import { ShapeError } from "../errors.ts";
import { isQuantized, type Weight } from "../quantized.ts";
import { record } from "../record.ts";
import type { Backward, Tensor } from "../tensor.ts";
import { matmulInto } from "./matmul.ts";
import { quantizedLinear } from "./quantized-linear.ts";

/**
 * x W^T: x [.., k] f32, weight [n, k] float or quantized, result [.., n]. The weight gets a gradient only where it
 * is f32; through quantized weights there is none at all. @throws ShapeError
 */
export function linear(x: Tensor, weight: Weight): Tensor {
  if (isQuantized(weight)) return quantizedLinear(x, weight);
  const k = x.shape.at(-1);
  if (weight.shape.length !== 2 || k !== weight.shape[1]) {
    throw new ShapeError("a weight [n, k] for an input [.., k]", {
      where: "linear",
      expected: `[n, ${k}]`,
      found: weight.shape,
    });
  }
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new ShapeError("a weight that is trained is f32", {
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
  record([y], [x, weight], linearBackward(x, weight));
  return y;
}

/** The gradients of x W^T, for whatever computed it: x [.., k] f32, weight [n, k] f32. */
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
