/** Sums over every axis but the last: the gradient of what is added to, or multiplied into, all rows. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";

const columnSumsKernel = defineKernel({
  name: "column_sums",
  operands: { x: "in f32", w: "in f32?", y: "inout f32", partial: "out f32" },
  ints: ["rows", "n", "blockRows", "accumulate"],
  work: ({ rows, n }) => rows * n,
  reference: ({ x, w, y }, { rows, n, accumulate }) => {
    if (!accumulate) y.fill(0, 0, n);
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < n; i++) y[i] += w ? x[r * n + i] * w[r * n + i] : x[r * n + i];
    }
  },
});

/** Rows that are summed by one thread: at most 64 such sums are added at the end, regardless of the number of rows. */
export function blockRowsFor(rows: number): number {
  return Math.max(16, Math.ceil(rows / 64));
}

/**
 * y (+)= the sum of the rows of x [.., n], or of x w element by element if `w` (the shape of x) is given: y f32 [n]. In
 * an order that depends on the shape only. No gradient. @throws ShapeError
 */
export function columnSums(x: Tensor, y: Tensor, accumulate: 0 | 1 = 0, w: Tensor | null = null): void {
  const n = y.size;
  if (n === 0) return;
  if (x.size % n !== 0 || (w !== null && w.size !== x.size)) {
    throw new ShapeError("rows of another length", {
      where: "columnSums",
      expected: [n],
      found: w === null ? x.shape : `[${x.shape}] and [${w.shape}]`,
    });
  }
  const { device } = x;
  const rows = x.size / n;
  const blockRows = blockRowsFor(rows);
  using partial = device.unscoped(() => device.empty([Math.ceil(rows / blockRows), n]));
  columnSumsKernel.run(device, { x, w, y, partial }, { rows, n, blockRows, accumulate });
}
