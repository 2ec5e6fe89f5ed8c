/**
 * Group normalization (Wu and He 2018, arXiv 1803.08494) of images with channels last, with SiLU in the same pass if the
 * convolution after it reads that, as in the VQ and VAE of Janus and JanusFlow.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { blockRowsFor } from "./column-sums.ts";
import { checkOperand, sampleShape } from "./image-shape.ts";
import { logistic, siluSlope } from "./silu.ts";

interface Sizes {
  readonly batch: number;
  readonly rows: number;
  readonly n: number;
  readonly groups: number;
}

/** Calls `visit` for each group with its index among all, and a walk over its elements and their channels. */
function eachGroup(
  { batch, rows, n, groups }: Sizes,
  visit: (group: number, each: (element: (at: number, channel: number) => void) => void) => void,
): void {
  const width = n / groups;
  for (let b = 0; b < batch; b++) {
    for (let g = 0; g < groups; g++) {
      visit(b * groups + g, (element) => {
        for (let r = 0; r < rows; r++) {
          for (let c = g * width; c < (g + 1) * width; c++) element((b * rows + r) * n + c, c);
        }
      });
    }
  }
}

const groupNormKernel = defineKernel({
  name: "group_norm",
  operands: {
    x: "in f32",
    w: "in f32",
    b: "in f32",
    y: "out f32",
    mean: "out f32",
    inverse: "out f32",
    partial: "out f32",
  },
  ints: ["batch", "rows", "n", "groups", "blockRows", "swish"],
  floats: ["epsilon"],
  work: ({ batch, rows, n, swish }) => batch * rows * n * (swish ? 6 : 3),
  reference: ({ x, w, b, y, mean, inverse }, sizes, { epsilon }) => {
    const count = (sizes.rows * sizes.n) / sizes.groups;
    eachGroup(sizes, (group, each) => {
      let center = 0;
      each((at) => (center += x[at] / count));
      let variance = 0;
      each((at) => (variance += (x[at] - center) ** 2 / count));
      mean[group] = center;
      inverse[group] = 1 / Math.sqrt(variance + epsilon);
      each((at, c) => {
        const value = (x[at] - center) * inverse[group] * w[c] + b[c];
        y[at] = sizes.swish ? value * logistic(value) : value;
      });
    });
  },
});

const groupNormGradKernel = defineKernel({
  name: "group_norm_grad",
  operands: {
    x: "in f32",
    w: "in f32",
    b: "in f32",
    mean: "in f32",
    inverse: "in f32",
    dy: "in f32",
    dx: "inout f32?",
    dw: "inout f32?",
    db: "inout f32?",
    partial: "out f32",
    sums: "out f32",
  },
  // biome-ignore format: one line per group
  ints: [
    "batch", "rows", "n", "groups", "blockRows", "swish",
    "accumulateX", "accumulateW", "accumulateB",
  ],
  work: ({ batch, rows, n, swish }) => batch * rows * n * (swish ? 14 : 6),
  reference: ({ x, w, b, mean, inverse, dy, dx, dw, db }, sizes) => {
    if (dw && !sizes.accumulateW) dw.fill(0, 0, sizes.n);
    if (db && !sizes.accumulateB) db.fill(0, 0, sizes.n);
    const count = (sizes.rows * sizes.n) / sizes.groups;
    eachGroup(sizes, (group, each) => {
      const hat = (at: number) => (x[at] - mean[group]) * inverse[group];
      const before = (at: number, c: number) => dy[at] * (sizes.swish ? siluSlope(hat(at) * w[c] + b[c]) : 1);
      let direct = 0;
      let along = 0;
      each((at, c) => {
        const g = before(at, c);
        direct += (g * w[c]) / count;
        along += (g * w[c] * hat(at)) / count;
        if (dw) dw[c] += g * hat(at);
        if (db) db[c] += g;
      });
      if (!dx) return;
      each((at, c) => {
        const value = inverse[group] * (before(at, c) * w[c] - direct - hat(at) * along);
        dx[at] = sizes.accumulateX ? dx[at] + value : value;
      });
    });
  },
});

/**
 * (x - mean) / sqrt(variance + eps) weight + bias, mean and biased variance over all rows and the channels of a group of
 * each sample; `silu` of that with `activation`. f32 [batch, .., n], [n], [n] -> [batch, .., n]; statistics are summed in
 * double precision. @throws ShapeError
 */
export function groupNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  groups: number,
  eps: number,
  activation: "silu" | null = null,
): Tensor {
  const where = "groupNorm";
  const { batch, rows, channels: n } = sampleShape(where, x);
  if (!Number.isSafeInteger(groups) || groups < 1 || n % groups !== 0) {
    throw new ShapeError("groups do not divide the channels", {
      where,
      name: "groups",
      expected: `a divisor of ${n}`,
      found: groups,
    });
  }
  checkOperand(where, "weight", weight, [n]);
  checkOperand(where, "bias", bias, [n]);
  const { device } = x;
  const y = device.empty(x.shape);
  const mean = device.empty([batch, groups]);
  const inverse = device.empty([batch, groups]);
  const blockRows = blockRowsFor(rows);
  const blocks = Math.ceil(rows / blockRows);
  const swish = activation === "silu" ? 1 : 0;
  const sizes = { batch, rows, n, groups, blockRows, swish };
  if (x.size > 0) {
    using partial = device.unscoped(() => device.empty([batch, blocks, n, 4]));
    groupNormKernel.run(device, { x, w: weight, b: bias, y, mean, inverse, partial }, sizes, {
      epsilon: eps,
    });
  }
  const inputs = [x, weight, bias];
  if (device.tape === null || !inputs.some((input) => input.requiresGrad)) {
    device.release(mean);
    device.release(inverse);
  }
  record([y], inputs, ([dy], grads) => {
    const [forX, forW, forB] = inputs.map((_, i) => (grads.wants(i) ? grads.target(i) : null));
    if (x.size === 0) {
      for (const each of [forW, forB]) if (each && !each.accumulate) each.tensor.set(new Float32Array(n));
      return;
    }
    groupNormGradKernel.run(
      device,
      {
        ...{ x, w: weight, b: bias, mean, inverse, dy: dy! },
        ...{ dx: forX?.tensor ?? null, dw: forW?.tensor ?? null, db: forB?.tensor ?? null },
        ...{ partial: device.empty([batch, blocks, 2, n]), sums: device.empty([batch, 2, n]) },
      },
      {
        ...{ ...sizes, accumulateX: forX?.accumulate ?? 0 },
        ...{ accumulateW: forW?.accumulate ?? 0, accumulateB: forB?.accumulate ?? 0 },
      },
    );
  });
  return y;
}
