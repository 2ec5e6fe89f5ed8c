/** Filling and copying, between float types too: the ops that move data without arithmetic. */
import { dtypeCode, fromRaw, toRaw } from "../dtype.ts";
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

/** What `value` becomes when it is stored as the dtype of this code. */
export function stored(value: number, code: number): number {
  if (code === 0) return value;
  const dtype = code === 1 ? "bf16" : "f16";
  return fromRaw(dtype, toRaw(dtype, [value]))[0];
}

const fillNarrowKernel = defineKernel({
  name: "fill_narrow",
  operands: { y: "out float" },
  ints: ["n", "dtype"],
  floats: ["value"],
  work: ({ n }) => n / 4,
  reference: ({ y }, { n, dtype }, { value }) => void y.fill(stored(value, dtype), 0, n),
});

const castKernel = defineKernel({
  name: "cast_rows",
  operands: { x: "in float", y: "out float" },
  ints: ["rows", "n", "xStride", "yStride", "from", "to"],
  work: ({ rows, n }) => rows * n,
  reference: ({ x, y }, { rows, n, xStride, yStride, from, to }) => {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < n; i++) {
        const value = x[r * xStride + i];
        y[r * yStride + i] = from === to ? value : stored(value, to);
      }
    }
  },
});

/** Sets every element of `y` (f32, bf16 or f16) to `value` and returns it. */
export function fill(y: Tensor, value: number): Tensor {
  if (y.dtype === "f32") fillKernel.run(y.device, { y }, { n: y.size }, { value });
  else fillNarrowKernel.run(y.device, { y }, { n: y.size, dtype: dtypeCode(y.dtype) }, { value });
  return y;
}

/** Copies `x` into `y`, floats of one shape; narrowing rounds to nearest even. @throws ShapeError */
export function copy(x: Tensor, y: Tensor): Tensor {
  if (!sameShape(x.shape, y.shape)) {
    throw new ShapeError("shapes differ", { where: "copy", expected: y.shape, found: x.shape });
  }
  runCopy(x, y, { rows: 1, n: x.size, xStride: x.size, yStride: x.size });
  return y;
}

function runCopy(x: Tensor, y: Tensor, sizes: Record<"rows" | "n" | "xStride" | "yStride", number>): void {
  if (x.dtype === "f32" && y.dtype === "f32") copyKernel.run(x.device, { x, y }, sizes);
  else castKernel.run(x.device, { x, y }, { ...sizes, from: dtypeCode(x.dtype), to: dtypeCode(y.dtype) });
}

/**
 * Copies `rows` rows of `n` float elements between buffers of different row strides (in elements), starting at the
 * operands' first elements; from f32 to bf16 or f16 rounded to nearest even, back exactly. For ops, not for models.
 * @throws ShapeError if a row reaches beyond its tensor
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
  runCopy(from, to, { rows, n, xStride, yStride });
}

function flat(t: Tensor, offset: number): Tensor {
  const line = t.view([t.size]);
  if (offset === 0) return line;
  const rest = line.slice(offset, t.size);
  line.dispose();
  return rest;
}
