/** Root-mean-square normalization over the last axis (Zhang and Sennrich 2019), without bias or centering. */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";
import { blockRowsFor } from "./column-sums.ts";

const rmsNormKernel = defineKernel({
  name: "rms_norm",
  operands: { x: "in f32", w: "in float", y: "out f32", inverse: "out f32?" },
  ints: ["rows", "n", "dtype"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 2 * rows * n,
  reference: ({ x, w, y, inverse }, { rows, n }, { epsilon }) => {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += x[r * n + i] ** 2;
      const factor = 1 / Math.sqrt(sum / n + epsilon);
      if (inverse) inverse[r] = factor;
      for (let i = 0; i < n; i++) y[r * n + i] = x[r * n + i] * factor * w[i];
    }
  },
});

const rmsNormGradKernel = defineKernel({
  name: "rms_norm_grad",
  operands: {
    x: "in f32",
    w: "in float",
    inverse: "in f32",
    dy: "in f32",
    dx: "inout f32?",
    dw: "inout f32?",
    partial: "inout f32?",
  },
  ints: ["rows", "n", "dtype", "blockRows", "accumulateX", "accumulateW"],
  work: ({ rows, n }) => 4 * rows * n,
  reference: ({ x, w, inverse, dy, dx, dw }, { rows, n, accumulateX, accumulateW }) => {
    if (dw && !accumulateW) dw.fill(0, 0, n);
    for (let r = 0; r < rows; r++) {
      const factor = inverse[r];
      let dot = 0;
      for (let i = 0; i < n; i++) dot += dy[r * n + i] * w[i] * x[r * n + i];
      for (let i = 0; i < n; i++) {
        const at = r * n + i;
        const value = factor * (dy[at] * w[i] - (x[at] * factor * factor * dot) / n);
        if (dx) dx[at] = accumulateX ? dx[at] + value : value;
        if (dw) dw[i] += dy[at] * x[at] * factor;
      }
    }
  },
});

/**
 * x weight / sqrt(mean(x^2) + eps) over the last axis: [.., n], [n] -> [.., n]; the weight may be bf16 or f16 if
 * it needs no gradient. @throws ShapeError
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const n = x.shape.at(-1) ?? 0;
  if (n === 0 || !sameShape(weight.shape, [n])) {
    throw new ShapeError("the weight does not match the last axis", {
      where: "rmsNorm",
      name: "weight",
      expected: [n],
      found: weight.shape,
    });
  }
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new ShapeError("a trained weight must be f32", { where: "rmsNorm", found: weight.dtype });
  }
  const { device } = x;
  const rows = x.size / n;
  const dtype = dtypeCode(weight.dtype);
  const y = device.empty(x.shape);
  const needed = device.tape !== null && (x.requiresGrad || weight.requiresGrad);
  const inverse = needed ? device.empty([rows]) : null;
  rmsNormKernel.run(device, { x, w: weight, y, inverse }, { rows, n, dtype }, { epsilon: eps });
  record([y], [x, weight], ([dy], grads) => {
    const blockRows = blockRowsFor(rows);
    const forX = grads.wants(0) ? grads.target(0) : null;
    const forW = grads.wants(1) ? grads.target(1) : null;
    const partial = forW ? device.empty([Math.ceil(rows / blockRows), n]) : null;
    rmsNormGradKernel.run(
      device,
      {
        x,
        w: weight,
        inverse: inverse!,
        dy: dy!,
        dx: forX?.tensor ?? null,
        dw: forW?.tensor ?? null,
        partial,
      },
      {
        rows,
        n,
        dtype,
        blockRows,
        accumulateX: forX?.accumulate ?? 0,
        accumulateW: forW?.accumulate ?? 0,
      },
    );
  });
  return y;
}
