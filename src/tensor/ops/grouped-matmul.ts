/** The linear layers of experts: rows sorted by group, each group with its own weight matrix. */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

const groupedKernel = defineKernel({
  name: "grouped_gemm",
  operands: { a: "in f32", offsets: "in i32", b: "in float", c: "inout f32" },
  ints: ["groups", "n", "k", "rowB", "columnB", "groupB", "dtype", "accumulate", "rows"],
  work: ({ n, k, rows }) => (n * k * rows) / 16 + (n * k) / 8,
  reference: ({ a, offsets, b, c }, s) => {
    for (let g = 0; g < s.groups; g++) {
      for (let i = offsets[g]; i < offsets[g + 1]; i++) {
        for (let j = 0; j < s.n; j++) {
          let sum = 0;
          for (let p = 0; p < s.k; p++) {
            sum += a[i * s.k + p] * b[g * s.groupB + p * s.rowB + j * s.columnB];
          }
          c[i * s.n + j] = s.accumulate ? c[i * s.n + j] + sum : sum;
        }
      }
    }
  },
});

const outerKernel = defineKernel({
  name: "grouped_outer",
  operands: { a: "in f32", offsets: "in i32", b: "in f32", c: "inout f32" },
  ints: ["groups", "m", "n", "accumulate", "rows"],
  work: ({ groups, m, n, rows }) => (m * n * rows) / 16 + (groups * m * n) / 4,
  reference: ({ a, offsets, b, c }, s) => {
    for (let g = 0; g < s.groups; g++) {
      for (let i = 0; i < s.m; i++) {
        for (let j = 0; j < s.n; j++) {
          let sum = 0;
          for (let p = offsets[g]; p < offsets[g + 1]; p++) sum += a[p * s.m + i] * b[p * s.n + j];
          const at = (g * s.m + i) * s.n + j;
          c[at] = s.accumulate ? c[at] + sum : sum;
        }
      }
    }
  },
});

/**
 * y rows of each group g = x W[g]^T, or x W[g] if `back`, in place or added: no gradient, nothing checked. Rows outside the
 * groups of `offsets` stay as they are.
 */
export function groupedInto(
  x: Tensor,
  offsets: Tensor,
  weight: Tensor,
  y: Tensor,
  back: boolean,
  accumulate: 0 | 1,
): void {
  const [groups, n, k] = weight.shape;
  const rows = x.shape[0];
  const dtype = dtypeCode(weight.dtype);
  const sizes = back ? { n: k, k: n, rowB: k, columnB: 1 } : { n, k, rowB: 1, columnB: k };
  groupedKernel.run(
    x.device,
    { a: x, offsets, b: weight, c: y },
    { groups, ...sizes, groupB: n * k, dtype, accumulate, rows },
  );
}

/** dw[g] = y[g]^T x[g] over the rows of each group g, in place or added: y [rows, n], x [rows, k], dw [groups, n, k]; no gradient. */
export function groupedOuterInto(y: Tensor, offsets: Tensor, x: Tensor, dw: Tensor, accumulate: 0 | 1): void {
  const [groups, m, n] = dw.shape;
  const rows = x.shape[0];
  outerKernel.run(x.device, { a: y, offsets, b: x, c: dw }, { groups, m, n, accumulate, rows });
}

/**
 * x W[g]^T for the rows of each group g: x [rows, k] f32 sorted by group, offsets i32 [groups + 1] (group g has
 * rows offsets[g] to offsets[g + 1]; the last is `rows`), weight [groups, n, k] float; result [rows, n]. A group
 * without rows has a weight gradient of exact zeros. The weight gets a gradient only if it is f32.
 * @throws ShapeError
 */
export function groupedLinear(x: Tensor, offsets: Tensor, weight: Tensor): Tensor {
  const where = "groupedLinear";
  if (x.shape.length !== 2 || weight.shape.length !== 3 || x.shape[1] !== weight.shape[2]) {
    throw new ShapeError("x [rows, k] and weights [groups, n, k] differ in k", {
      where,
      expected: "equal k",
      found: `[${x.shape}] and [${weight.shape}]`,
    });
  }
  const [groups, n, k] = weight.shape;
  const rows = x.shape[0];
  if (offsets.size !== groups + 1) {
    throw new ShapeError("offsets must have one entry more than groups", {
      where,
      expected: groups + 1,
      found: offsets.size,
    });
  }
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new ShapeError("a trained weight must be f32", { where, expected: "f32", found: weight.dtype });
  }
  const { device } = x;
  const dtype = dtypeCode(weight.dtype);
  const y = device.empty([rows, n]);
  if (y.size > 0) {
    groupedKernel.run(
      device,
      { a: x, offsets, b: weight, c: y },
      { groups, n, k, rowB: 1, columnB: k, groupB: n * k, dtype, accumulate: 0, rows },
    );
  }
  record([y], [x, weight], ([dy], grads) => {
    if (grads.wants(0)) {
      const { tensor, accumulate } = grads.target(0);
      groupedKernel.run(
        device,
        { a: dy!, offsets, b: weight, c: tensor },
        { groups, n: k, k: n, rowB: k, columnB: 1, groupB: n * k, dtype, accumulate, rows },
      );
    }
    if (grads.wants(1)) {
      const { tensor, accumulate } = grads.target(1);
      groupedOuterInto(dy!, offsets, x, tensor, accumulate);
    }
  });
  return y;
}
