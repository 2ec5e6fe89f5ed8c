/** Filling and copying: the ops that move data without arithmetic. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { sameShape, type Tensor } from "../tensor.ts";

const fillKernel = defineKernel({
  name: "fill",
  operands: { y: "out f32" },
  ints: ["n"],
  floats: ["value"],
  work: ({ n }) => n / 4,
  reference: ({ y }, { n }, { value }) => void y.fill(value, 0, n),
});

const copyKernel = defineKernel({
  name: "copy_rows",
  operands: { x: "in f32", y: "out f32" },
  ints: ["rows", "n", "xStride", "yStride"],
  work: ({ rows, n }) => (rows * n) / 2,
  reference: ({ x, y }, { rows, n, xStride, yStride }) => {
    for (let r = 0; r < rows; r++) for (let i = 0; i < n; i++) y[r * yStride + i] = x[r * xStride + i];
  },
});

/** Sets every element of `y` (f32) to `value` and returns it. */
export function fill(y: Tensor, value: number): Tensor {
  fillKernel.run(y.device, { y }, { n: y.size }, { value });
  return y;
}

/** Copies `x` into `y`, both f32 of one shape. @throws ShapeError */
export function copy(x: Tensor, y: Tensor): Tensor {
  if (!sameShape(x.shape, y.shape)) {
    throw new ShapeError("copy between equal shapes", { where: "copy", expected: y.shape, found: x.shape });
  }
  copyKernel.run(x.device, { x, y }, { rows: 1, n: x.size, xStride: x.size, yStride: x.size });
  return y;
}

/**
 * Copies `rows` rows of `n` f32 elements between buffers of different row strides (in elements), starting at the
 * operands' first elements. The caller answers for the bounds; ops use it, models do not.
 */
export function copyRows(
  x: Tensor,
  y: Tensor,
  rows: number,
  n: number,
  xStride: number,
  yStride: number,
  xOffset = 0,
  yOffset = 0,
): void {
  const last = (offset: number, stride: number) => offset + (rows - 1) * stride + n;
  if (rows > 0 && (last(xOffset, xStride) > x.size || last(yOffset, yStride) > y.size)) {
    throw new ShapeError("rows out of range", {
      where: "copyRows",
      expected: `within ${x.size} and ${y.size} elements`,
      found: `${last(xOffset, xStride)} and ${last(yOffset, yStride)}`,
    });
  }
  using from = x.device.unscoped(() => flat(x, xOffset));
  using to = x.device.unscoped(() => flat(y, yOffset));
  copyKernel.run(x.device, { x: from, y: to }, { rows, n, xStride, yStride });
}

function flat(t: Tensor, offset: number): Tensor {
  const line = t.view([t.size]);
  if (offset === 0) return line;
  const rest = line.slice(offset, t.size);
  line.dispose();
  return rest;
}
