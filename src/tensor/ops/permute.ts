/** Axes in another order, as a copy: transposes, heads to the front, windows, channels first to last and back. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Shape, Tensor } from "../tensor.ts";

const permuteKernel = defineKernel({
  name: "permute",
  operands: { x: "in f32", y: "out f32" },
  // biome-ignore format: one line per kind
  ints: [
    "n0", "n1", "n2", "n3",
    "s0", "s1", "s2", "s3",
    "t0", "t1", "t2", "t3",
    "rows", "columns", "xStep", "yStep", "transpose",
  ],
  work: ({ n0, n1, n2, n3, rows, columns }) => n0 * n1 * n2 * n3 * rows * columns,
  reference: ({ x, y }, a) => {
    for (let i0 = 0; i0 < a.n0; i0++) {
      for (let i1 = 0; i1 < a.n1; i1++) {
        for (let i2 = 0; i2 < a.n2; i2++) {
          for (let i3 = 0; i3 < a.n3; i3++) {
            const from = i0 * a.s0 + i1 * a.s1 + i2 * a.s2 + i3 * a.s3;
            const to = i0 * a.t0 + i1 * a.t1 + i2 * a.t2 + i3 * a.t3;
            for (let i = 0; i < a.rows; i++) {
              for (let j = 0; j < a.columns; j++) {
                y[to + i * a.yStep + j] = x[from + (a.transpose ? i + j * a.xStep : j)];
              }
            }
          }
        }
      }
    }
  },
});

interface Axis {
  size: number;
  /** Elements between neighbors in the input and in the output. */
  from: number;
  to: number;
}

/** The axes of the output in its order, without those of size 1, neighbors merged where they are neighbors in both. */
function mergedAxes(shape: Shape, axes: readonly number[]): Axis[] {
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const merged: Axis[] = [];
  let to = 1;
  for (const axis of [...axes].reverse()) {
    const size = shape[axis];
    if (size === 1) continue;
    const from = strides[axis];
    const inner = merged[0];
    if (inner && from === inner.from * inner.size) inner.size *= size;
    else merged.unshift({ size, from, to });
    to *= size;
  }
  return merged;
}

function run(x: Tensor, y: Tensor, axes: readonly number[]): void {
  if (x.size === 0) return;
  const unit = { size: 1, from: 1, to: 1 };
  const merged = mergedAxes(x.shape, axes);
  const last = merged.pop() ?? unit;
  // The axis whose elements are neighbors in the input: the last one, or the other side of a transpose.
  const index = last.from === 1 ? -1 : merged.findIndex(({ from }) => from === 1);
  const rows = index < 0 ? unit : merged.splice(index, 1)[0];
  if (merged.length > 4) {
    throw new ShapeError("too many axes change places", {
      where: "permute",
      expected: "at most 5 beside the last after merging neighbors",
      found: `[${x.shape}] by [${axes}]`,
      hint: "Permute in two steps.",
    });
  }
  const outer = [...Array.from({ length: 4 - merged.length }, () => unit), ...merged];
  const [a, b, c, d] = outer;
  permuteKernel.run(
    x.device,
    { x, y },
    // biome-ignore format: one line per kind
    {
      n0: a.size, n1: b.size, n2: c.size, n3: d.size,
      s0: a.from, s1: b.from, s2: c.from, s3: d.from,
      t0: a.to, t1: b.to, t2: c.to, t3: d.to,
      rows: rows.size, columns: last.size, xStep: last.from, yStep: rows.to, transpose: index < 0 ? 0 : 1,
    },
  );
}

/**
 * x with its axes in another order: axis i of the result is axis `axes[i]` of x, f32, copied. `[0, 2, 3, 1]` takes
 * channels first to channels last. @throws ShapeError if `axes` does not name every axis once
 */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const rank = x.shape.length;
  const inverse = x.shape.map((_, axis) => axes.indexOf(axis));
  if (axes.length !== rank || inverse.includes(-1)) {
    throw new ShapeError("axes must name each axis once", {
      where: "permute",
      expected: `an order of 0 to ${rank - 1}`,
      found: axes,
    });
  }
  const { device } = x;
  const y = device.empty(axes.map((axis) => x.shape[axis]));
  run(x, y, axes);
  record([y], [x], ([dy], grads) => {
    const dx = device.empty(x.shape);
    run(dy!, dx, inverse);
    grads.add(0, dx);
  });
  return y;
}
