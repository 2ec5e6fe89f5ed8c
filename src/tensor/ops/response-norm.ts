/** Global response normalization (ConvNeXt V2: Woo et al. 2023, arXiv 2301.00808, section 3.2), channels last. */
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { blockRowsFor } from "./column-sums.ts";
import { checkOperand, sampleShape } from "./image-shape.ts";

const responseNormKernel = defineKernel({
  name: "response_norm",
  operands: {
    x: "in f32",
    w: "in f32",
    b: "in f32",
    y: "out f32",
    norms: "out f32",
    scales: "out f32",
    partial: "out f32",
  },
  ints: ["batch", "rows", "n", "blockRows"],
  floats: ["epsilon"],
  work: ({ batch, rows, n }) => 2 * batch * rows * n,
  reference: ({ x, w, b, y, norms, scales }, { batch, rows, n }, { epsilon }) => {
    for (let i = 0; i < batch; i++) {
      let mean = 0;
      for (let c = 0; c < n; c++) {
        let squares = 0;
        for (let r = 0; r < rows; r++) squares += x[(i * rows + r) * n + c] ** 2;
        norms[i * n + c] = Math.sqrt(squares);
        mean += Math.sqrt(squares) / n;
      }
      scales[i] = 1 / (mean + epsilon);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < n; c++) {
          const at = (i * rows + r) * n + c;
          y[at] = x[at] * (w[c] * norms[i * n + c] * scales[i] + 1) + b[c];
        }
      }
    }
  },
});

const responseNormGradKernel = defineKernel({
  name: "response_norm_grad",
  operands: {
    x: "in f32",
    w: "in f32",
    norms: "in f32",
    scales: "in f32",
    dy: "in f32",
    dx: "inout f32?",
    dw: "inout f32?",
    db: "inout f32?",
    partial: "out f32",
    sums: "out f32",
    slopes: "out f32",
  },
  ints: ["batch", "rows", "n", "blockRows", "accumulateX", "accumulateW", "accumulateB"],
  work: ({ batch, rows, n }) => 5 * batch * rows * n,
  reference: ({ x, w, norms, scales, dy, dx, dw, db }, s) => {
    const { batch, rows, n } = s;
    if (dw && !s.accumulateW) dw.fill(0, 0, n);
    if (db && !s.accumulateB) db.fill(0, 0, n);
    for (let i = 0; i < batch; i++) {
      // The gradient of each channel's norm: as it is, and through the mean that it is divided by.
      const products = new Float64Array(n);
      let mean = 0;
      for (let c = 0; c < n; c++) {
        for (let r = 0; r < rows; r++) {
          const at = (i * rows + r) * n + c;
          products[c] += dy[at] * x[at];
          if (db) db[c] += dy[at];
        }
        if (dw) dw[c] += products[c] * norms[i * n + c] * scales[i];
        mean += (w[c] * products[c] * norms[i * n + c] * scales[i]) / n;
      }
      if (!dx) continue;
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < n; c++) {
          const at = (i * rows + r) * n + c;
          const norm = norms[i * n + c];
          const slope = norm > 0 ? ((w[c] * products[c] - mean) * scales[i]) / norm : 0;
          const value = dy[at] * (w[c] * norm * scales[i] + 1) + x[at] * slope;
          dx[at] = s.accumulateX ? dx[at] + value : value;
        }
      }
    }
  },
});

/**
 * x (weight g / (mean of g over channels + eps) + 1) + bias, with g the norm of a channel over all rows of a sample:
 * f32 [batch, .., n], [n], [n] -> [batch, .., n]. @throws ShapeError
 */
export function responseNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const where = "responseNorm";
  const { batch, rows, channels: n } = sampleShape(where, x);
  checkOperand(where, "weight", weight, [n]);
  checkOperand(where, "bias", bias, [n]);
  const { device } = x;
  const y = device.empty(x.shape);
  const norms = device.empty([batch, n]);
  const scales = device.empty([batch]);
  const blockRows = blockRowsFor(rows);
  const blocks = Math.ceil(rows / blockRows);
  const sizes = { batch, rows, n, blockRows };
  if (x.size > 0) {
    using partial = device.unscoped(() => device.empty([batch, blocks, n]));
    responseNormKernel.run(device, { x, w: weight, b: bias, y, norms, scales, partial }, sizes, {
      epsilon: eps,
    });
  }
  const inputs = [x, weight, bias];
  if (device.tape === null || !inputs.some((input) => input.requiresGrad)) {
    device.release(norms);
    device.release(scales);
  }
  record([y], inputs, ([dy], grads) => {
    const [forX, forW, forB] = inputs.map((_, i) => (grads.wants(i) ? grads.target(i) : null));
    if (x.size === 0) {
      for (const each of [forW, forB]) if (each && !each.accumulate) each.tensor.set(new Float32Array(n));
      return;
    }
    responseNormGradKernel.run(
      device,
      {
        ...{ x, w: weight, norms, scales, dy: dy! },
        ...{ dx: forX?.tensor ?? null, dw: forW?.tensor ?? null, db: forB?.tensor ?? null },
        partial: device.empty([batch, blocks, 2, n]),
        ...{ sums: device.empty([batch, 2, n]), slopes: device.empty([batch, n]) },
      },
      {
        ...{ ...sizes, accumulateX: forX?.accumulate ?? 0 },
        ...{ accumulateW: forW?.accumulate ?? 0, accumulateB: forB?.accumulate ?? 0 },
      },
    );
  });
  return y;
}
