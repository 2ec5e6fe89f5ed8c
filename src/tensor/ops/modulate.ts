/** Scale and shift of channels by a condition of each sample (FiLM: Perez et al. 2018, arXiv 1709.07871). */
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { blockRowsFor } from "./column-sums.ts";
import { checkOperand, sampleShape } from "./image-shape.ts";

const modulateKernel = defineKernel({
  name: "modulate",
  operands: { x: "in f32", m: "in f32", y: "out f32" },
  ints: ["batch", "rows", "n"],
  work: ({ batch, rows, n }) => batch * rows * n,
  reference: ({ x, m, y }, { batch, rows, n }) => {
    for (let i = 0; i < batch * rows * n; i++) {
      const condition = Math.floor(i / (rows * n)) * 2 * n + (i % n);
      y[i] = x[i] * (1 + m[condition]) + m[condition + n];
    }
  },
});

const modulateGradKernel = defineKernel({
  name: "modulate_grad",
  operands: {
    x: "in f32",
    m: "in f32",
    dy: "in f32",
    dx: "inout f32?",
    dm: "inout f32?",
    partial: "out f32?",
  },
  ints: ["batch", "rows", "n", "blockRows", "accumulateX", "accumulateM"],
  work: ({ batch, rows, n }) => 3 * batch * rows * n,
  reference: ({ x, m, dy, dx, dm }, { batch, rows, n, accumulateX, accumulateM }) => {
    if (dm && !accumulateM) dm.fill(0, 0, batch * 2 * n);
    for (let i = 0; i < batch * rows * n; i++) {
      const condition = Math.floor(i / (rows * n)) * 2 * n + (i % n);
      if (dx) dx[i] = (accumulateX ? dx[i] : 0) + dy[i] * (1 + m[condition]);
      if (!dm) continue;
      dm[condition] += dy[i] * x[i];
      dm[condition + n] += dy[i];
    }
  },
});

/**
 * x (1 + scale) + shift, both of each sample's own: x f32 [batch, .., n], condition f32 [batch, 2 n] with the scales first
 * -> [batch, .., n]. @throws ShapeError
 */
export function modulate(x: Tensor, condition: Tensor): Tensor {
  const where = "modulate";
  const { batch, rows, channels: n } = sampleShape(where, x);
  checkOperand(where, "condition", condition, [batch, 2 * n]);
  const { device } = x;
  const y = device.empty(x.shape);
  modulateKernel.run(device, { x, m: condition, y }, { batch, rows, n });
  record([y], [x, condition], ([dy], grads) => {
    const forX = grads.wants(0) ? grads.target(0) : null;
    const forM = grads.wants(1) ? grads.target(1) : null;
    const blockRows = blockRowsFor(rows);
    const partial = forM ? device.empty([batch, Math.ceil(rows / blockRows), 2, n]) : null;
    modulateGradKernel.run(
      device,
      { x, m: condition, dy: dy!, dx: forX?.tensor ?? null, dm: forM?.tensor ?? null, partial },
      {
        ...{ batch, rows, n, blockRows },
        ...{ accumulateX: forX?.accumulate ?? 0, accumulateM: forM?.accumulate ?? 0 },
      },
    );
  });
  return y;
}
