/**
 * What low-rank adapters add to a product with frozen weights (LoRA, arXiv 2106.09685): y += factor (x A^T) B^T, for the
 * columns of y that belong to the adapted matrix. The base product may be with weights of any storage; gradients reach A,
 * B, x and whatever y was computed from.
 */
import { ShapeError } from "../errors.ts";
import { record } from "../record.ts";
import type { Gradients, Tensor } from "../tensor.ts";
import { scale } from "./elementwise.ts";
import { groupedInto, groupedOuterInto } from "./grouped-matmul.ts";
import { matmulInto } from "./matmul.ts";
import { copyRows } from "./memory.ts";

/** One adapted matrix `[n, k]`, or a stack of them `[E, n, k]`, whose products are columns of a wider result. */
export interface LowRank {
  /** `[r, k]` or `[E, r, k]` f32. */
  readonly a: Tensor;
  /** `[n, r]` or `[E, n, r]` f32. */
  readonly b: Tensor;
  /** First of its n columns in the result. */
  readonly first: number;
}

/** What is added to one product. */
export interface Adapter {
  readonly terms: readonly LowRank[];
  /** Of all terms: alpha / r. */
  readonly factor: number;
}

/** @throws ShapeError unless the terms fit x `[.., k]` and y `[.., N]`, and their matrices each other */
function checkTerms(where: string, y: Tensor, x: Tensor, terms: readonly LowRank[], stack: number | null) {
  const k = x.shape.at(-1)!;
  const width = y.shape.at(-1)!;
  if (x.size / k !== y.size / width) {
    throw new ShapeError("x and y differ in their rows", { where, expected: x.shape, found: y.shape });
  }
  const lead = stack === null ? [] : [stack];
  for (const { a, b, first } of terms) {
    const [n, r] = b.shape.slice(-2);
    const fits = a.shape.join() === [...lead, r, k].join() && b.shape.join() === [...lead, n, r].join();
    if (fits && first >= 0 && first + n <= width) continue;
    throw new ShapeError("the matrices of an adapter do not fit the product", {
      where,
      expected: `A [${[...lead, "r", k]}], B [${[...lead, "n", "r"]}] within ${width} columns`,
      found: `A [${a.shape}], B [${b.shape}] from column ${first}`,
    });
  }
}

/**
 * y + factor (x A^T) B^T for every term, each in its own columns: x [.., k] f32, y [.., N] f32. y is overwritten, so it must
 * be the fresh result of a product, whose gradient does not need it. @throws ShapeError
 */
export function addLowRank(y: Tensor, x: Tensor, { terms, factor }: Adapter): Tensor {
  checkTerms("addLowRank", y, x, terms, null);
  const { device } = x;
  const k = x.shape.at(-1)!;
  const width = y.shape.at(-1)!;
  const m = x.size / k;
  // [m, r], times the factor.
  const inner = terms.map(({ a, b, first }) => {
    const [n, r] = b.shape;
    const h = scaled(factor, m, r, device, (target) =>
      matmulInto(device, { m, n: r, k }, { tensor: x, row: k }, { tensor: a, row: 1, column: k }, target),
    );
    const to = { tensor: y, row: width, offset: first };
    matmulInto(device, { m, n, k: r }, { tensor: h, row: r }, { tensor: b, row: 1, column: r }, to, 1);
    return h;
  });
  const out = y.view(y.shape);
  record([out], [y, x, ...terms.flatMap(({ a, b }) => [a, b])], ([dy], grads) => {
    const d = dy!;
    terms.forEach(({ a, b, first }, i) => {
      const [n, r] = b.shape;
      if (grads.wants(3 + 2 * i)) {
        const { tensor, accumulate } = grads.target(3 + 2 * i);
        const from = { tensor: d, row: 1, column: width, offset: first };
        const to = { tensor, row: r };
        matmulInto(device, { m: n, n: r, k: m }, from, { tensor: inner[i], row: r }, to, accumulate);
      }
      if (!grads.wants(1) && !grads.wants(2 + 2 * i)) return;
      const dh = scaled(factor, m, r, device, (target) => {
        const from = { tensor: d, row: width, offset: first };
        matmulInto(device, { m, n: r, k: n }, from, { tensor: b, row: r }, target);
      });
      if (grads.wants(2 + 2 * i)) {
        const { tensor, accumulate } = grads.target(2 + 2 * i);
        const from = { tensor: dh, row: 1, column: r };
        matmulInto(device, { m: r, n: k, k: m }, from, { tensor: x, row: k }, { tensor, row: k }, accumulate);
      }
      if (!grads.wants(1)) return;
      const { tensor, accumulate } = grads.target(1);
      const to = { tensor, row: k };
      matmulInto(device, { m, n: k, k: r }, { tensor: dh, row: r }, { tensor: a, row: k }, to, accumulate);
    });
    grads.add(0, d);
  });
  return out;
}

/** `[m, r]` filled by `fill`, times the factor. */
function scaled(
  factor: number,
  m: number,
  r: number,
  device: Tensor["device"],
  fill: (target: { tensor: Tensor; row: number }) => void,
): Tensor {
  const tensor = device.empty([m, r]);
  fill({ tensor, row: r });
  return factor === 1 ? tensor : scale(tensor, factor);
}

/** Calls `body` with the columns from `first` on of `y [rows, N]`, `[rows, n]`: y itself where they are all of it. */
function withColumns(y: Tensor, first: number, n: number, body: (columns: Tensor) => void, back: boolean) {
  const [rows, width] = y.shape;
  if (n === width) return body(y);
  using columns = y.device.unscoped(() => y.device.empty([rows, n]));
  copyRows(y, columns, rows, n, width, n, first, 0);
  body(columns);
  if (back) copyRows(columns, y, rows, n, n, width, 0, first);
}

/**
 * The same for rows that are sorted by group, each group with matrices of its own: x [rows, k] f32, y [rows, N] f32, offsets
 * i32 [E + 1] (group g has rows offsets[g] to offsets[g + 1]). @throws ShapeError
 */
export function addGroupedLowRank(y: Tensor, x: Tensor, offsets: Tensor, { terms, factor }: Adapter): Tensor {
  checkTerms("addGroupedLowRank", y, x, terms, offsets.size - 1);
  const { device } = x;
  const [rows] = x.shape;
  if (rows === 0) return y;
  const inner = terms.map(({ a, b, first }) => {
    const [, n, r] = b.shape;
    const h = scaled(factor, rows, r, device, ({ tensor }) => groupedInto(x, offsets, a, tensor, false, 0));
    withColumns(y, first, n, (columns) => groupedInto(h, offsets, b, columns, false, 1), true);
    return h;
  });
  const out = y.view(y.shape);
  record([out], [y, x, ...terms.flatMap(({ a, b }) => [a, b])], ([dy], grads: Gradients) => {
    const d = dy!;
    terms.forEach(({ a, b, first }, i) => {
      const [, n, r] = b.shape;
      withColumns(
        d,
        first,
        n,
        (columns) => {
          if (grads.wants(3 + 2 * i)) {
            const { tensor, accumulate } = grads.target(3 + 2 * i);
            groupedOuterInto(columns, offsets, inner[i], tensor, accumulate);
          }
          const dh = scaled(factor, rows, r, device, ({ tensor }) =>
            groupedInto(columns, offsets, b, tensor, true, 0),
          );
          if (grads.wants(2 + 2 * i)) {
            const { tensor, accumulate } = grads.target(2 + 2 * i);
            groupedOuterInto(dh, offsets, x, tensor, accumulate);
          }
          if (!grads.wants(1)) return;
          const { tensor, accumulate } = grads.target(1);
          groupedInto(dh, offsets, a, tensor, true, accumulate);
        },
        false,
      );
    });
    grads.add(0, d);
  });
  return out;
}
