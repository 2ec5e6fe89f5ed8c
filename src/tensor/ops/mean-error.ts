/** Mean squared and mean absolute differences, of whole tensors and of each sample. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";

/** Elements of a partial sum; kernels/differences.ts has the same number. */
const BLOCK = 16384;

const errorsKernel = defineKernel({
  name: "mean_errors",
  operands: { x: "in f32", t: "in f32", y: "out f32", partial: "out f32" },
  ints: ["rows", "n", "squared"],
  work: ({ rows, n }) => 2 * rows * n,
  reference: ({ x, t, y }, { rows, n, squared }) => {
    for (let r = 0; r < rows; r++) {
      y[r] = 0;
      for (let i = r * n; i < (r + 1) * n; i++) {
        const difference = x[i] - t[i];
        y[r] += (squared ? difference ** 2 : Math.abs(difference)) / n;
      }
    }
  },
});

const errorsGradKernel = defineKernel({
  name: "mean_errors_grad",
  operands: { x: "in f32", t: "in f32", dy: "in f32", d: "inout f32" },
  ints: ["rows", "n", "squared", "accumulate"],
  floats: ["factor"],
  work: ({ rows, n }) => 2 * rows * n,
  reference: ({ x, t, dy, d }, { rows, n, squared, accumulate }, { factor }) => {
    for (let i = 0; i < rows * n; i++) {
      const difference = x[i] - t[i];
      const slope = squared ? difference : Math.sign(difference);
      d[i] = (accumulate ? d[i] : 0) + factor * dy[Math.floor(i / n)] * slope;
    }
  },
});

function errors(where: string, x: Tensor, t: Tensor, rows: number, squared: 0 | 1): Tensor {
  if (!sameShape(x.shape, t.shape) || x.size === 0) {
    throw new ShapeError(x.size === 0 ? "mean of nothing" : "shapes differ", {
      where,
      expected: x.shape,
      found: t.shape,
    });
  }
  const { device } = x;
  const n = x.size / rows;
  const y = device.empty([rows]);
  // Pairs, as the kernel keeps doubles there.
  using partial = device.unscoped(() => device.empty([rows, Math.ceil(n / BLOCK), 2]));
  errorsKernel.run(device, { x, t, y, partial }, { rows, n, squared });
  record([y], [x, t], ([dy], grads) => {
    [1, -1].forEach((sign, i) => {
      if (!grads.wants(i)) return;
      const { tensor: d, accumulate } = grads.target(i);
      const factor = (sign * (squared ? 2 : 1)) / n;
      errorsGradKernel.run(device, { x, t, dy: dy!, d }, { rows, n, squared, accumulate }, { factor });
    });
  });
  return y;
}

/** Mean of (x - t)^2 over all elements: f32 [..] twice -> [1]. @throws ShapeError */
export function meanSquaredError(x: Tensor, t: Tensor): Tensor {
  return errors("meanSquaredError", x, t, 1, 1);
}

/** Mean of |x - t| over all elements: f32 [..] twice -> [1]; the slope at 0 is 0. @throws ShapeError */
export function meanAbsoluteError(x: Tensor, t: Tensor): Tensor {
  return errors("meanAbsoluteError", x, t, 1, 0);
}

/** `meanSquaredError` of each sample: f32 [batch, ..] twice -> [batch]. @throws ShapeError */
export function squaredErrors(x: Tensor, t: Tensor): Tensor {
  return errors("squaredErrors", x, t, Math.max(1, x.shape[0] ?? 1), 1);
}
