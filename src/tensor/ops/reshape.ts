/** Views that gradients flow through, and splitting and joining along the last axis. */
import { ShapeError } from "../errors.ts";
import { record } from "../record.ts";
import { type Shape, sameShape, type Tensor } from "../tensor.ts";
import { copyRows } from "./memory.ts";

/** The same elements under another shape (-1: what is left); shares memory. @throws ShapeError */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const y = x.view(shape);
  record([y], [x], ([dy], grads) => grads.add(0, dy!));
  return y;
}

/** Cuts the last axis into parts of the given sizes (copies): [.., sum] -> [.., sizes[i]] each. @throws ShapeError */
export function split(x: Tensor, sizes: readonly number[]): Tensor[] {
  const width = x.shape.at(-1) ?? 0;
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total !== width) {
    throw new ShapeError("sizes do not sum to the last axis", {
      where: "split",
      expected: width,
      found: sizes,
    });
  }
  const lead = x.shape.slice(0, -1);
  const rows = width === 0 ? 0 : x.size / width;
  const parts: Tensor[] = [];
  let begin = 0;
  for (const size of sizes) {
    const part = x.device.empty([...lead, size]);
    copyRows(x, part, rows, size, width, size, begin, 0);
    parts.push(part);
    begin += size;
  }
  record(parts, [x], (dys, grads) => {
    const dx = x.device.empty(x.shape);
    let at = 0;
    sizes.forEach((size, i) => {
      const dy = dys[i] ?? x.device.zeros([...lead, size]);
      copyRows(dy, dx, rows, size, size, width, 0, at);
      at += size;
    });
    grads.add(0, dx);
  });
  return parts;
}

/** Joins tensors along the last axis (copies); leading axes agree. @throws ShapeError */
export function concat(parts: readonly Tensor[]): Tensor {
  const lead = parts[0].shape.slice(0, -1);
  for (const part of parts) {
    if (!sameShape(part.shape.slice(0, -1), lead)) {
      throw new ShapeError("leading axes differ", {
        where: "concat",
        expected: lead,
        found: part.shape,
      });
    }
  }
  const widths = parts.map((part) => part.shape.at(-1)!);
  const width = widths.reduce((a, b) => a + b, 0);
  const y = parts[0].device.empty([...lead, width]);
  const rows = width === 0 ? 0 : y.size / width;
  let at = 0;
  parts.forEach((part, i) => {
    copyRows(part, y, rows, widths[i], widths[i], width, 0, at);
    at += widths[i];
  });
  record([y], parts, ([dy], grads) => {
    let begin = 0;
    parts.forEach((part, i) => {
      if (grads.wants(i)) {
        const dx = part.device.empty(part.shape);
        copyRows(dy!, dx, rows, widths[i], width, widths[i], begin, 0);
        grads.add(i, dx);
      }
      begin += widths[i];
    });
  });
  return y;
}
