/**
 * Products with quantized weights that gradients pass through: the weights are frozen, so only the inputs get gradients. A
 * few rows at a time are made floats and multiplied as such, forward and backward, so that results and gradients are those
 * of the same model in floats.
 */

import type { QuantizedTensor } from "../quantized.ts";
import { record } from "../record.ts";
import type { Gradients, Tensor } from "../tensor.ts";
import { columnSums } from "./column-sums.ts";
import { groupedInto } from "./grouped-matmul.ts";
import { matmulInto } from "./matmul.ts";
import { copy } from "./memory.ts";
import { dequantizeRows } from "./quantize.ts";

/** Values that are floats at once. */
const VALUES = 1 << 23;

/** Whether a gradient passes through an op of these inputs. */
export function passesGradient(...inputs: readonly Tensor[]): boolean {
  return inputs[0].device.tape !== null && inputs.some((input) => input.requiresGrad);
}

/** Calls `run` with rows of one matrix as floats, `[rows, k]`, a piece at a time. */
function inPieces(weight: QuantizedTensor, run: (rows: Tensor, first: number, count: number) => void): void {
  const { device, rows: n, columns: k } = weight;
  const most = Math.max(1, Math.floor(VALUES / k));
  for (let first = 0; first < n; first += most) {
    const count = Math.min(most, n - first);
    device.unscoped(() => {
      using rows = dequantizeRows(weight, 0, first, count);
      run(rows, first, count);
    });
  }
}

/** x W^T + bias with gradients of x and bias: x [.., k] f32, weight [n, k] quantized, bias [n] or none; result [.., n]. */
export function frozenLinear(x: Tensor, weight: QuantizedTensor, bias: Tensor | null): Tensor {
  const { device } = x;
  const { rows: n, columns: k } = weight;
  const lead = x.shape.slice(0, -1);
  const m = lead.reduce((size, each) => size * each, 1);
  const y = device.empty([...lead, n]);
  inPieces(weight, (rows, first, count) => {
    using part = bias?.slice(first, first + count);
    matmulInto(
      device,
      { m, n: count, k },
      { tensor: x, row: k },
      { tensor: rows, row: 1, column: k },
      { tensor: y, row: n, offset: first },
      0,
      { bias: part ?? null, activation: null },
    );
  });
  record([y], bias ? [x, bias] : [x], ([dy], grads) => {
    if (grads.wants(0)) {
      const { tensor, accumulate } = grads.target(0);
      inPieces(weight, (rows, first, count) =>
        matmulInto(
          device,
          { m, n: k, k: count },
          { tensor: dy!, row: n, offset: first },
          { tensor: rows, row: k },
          { tensor, row: k },
          first > 0 ? 1 : accumulate,
        ),
      );
    }
    if (!bias || !grads.wants(1)) return;
    const { tensor, accumulate } = grads.target(1);
    columnSums(dy!, tensor, accumulate);
  });
  return y;
}

/** Calls `run` with matrices of a stack as floats, `[count, n, k]`, some at a time. */
function inStacks(
  weight: QuantizedTensor,
  run: (matrices: Tensor, first: number, count: number) => void,
): void {
  const { device, rows: n, columns: k, count: all } = weight;
  const most = Math.max(1, Math.floor(VALUES / (n * k)));
  for (let first = 0; first < all; first += most) {
    const count = Math.min(most, all - first);
    device.unscoped(() => {
      using stack = device.empty([count * n, k]);
      for (let i = 0; i < count; i++) {
        using matrix = dequantizeRows(weight, first + i, 0, n);
        using place = stack.slice(i * n, (i + 1) * n);
        copy(matrix, place);
      }
      using matrices = stack.view([count, n, k]);
      run(matrices, first, count);
    });
  }
}

/**
 * x W[g]^T for the rows of each group g with gradients of x: x [rows, k] f32 sorted by group, offsets i32 [groups + 1],
 * weight [groups, n, k] quantized; result [rows, n].
 */
export function frozenGroupedLinear(x: Tensor, offsets: Tensor, weight: QuantizedTensor): Tensor {
  const { device } = x;
  const { rows: n } = weight;
  const y = device.empty([x.shape[0], n]);
  if (y.size === 0) return y;
  inStacks(weight, (matrices, first, count) => {
    using bounds = offsets.slice(first, first + count + 1);
    groupedInto(x, bounds, matrices, y, false, 0);
  });
  record([y], [x], ([dy], grads: Gradients) => {
    if (!grads.wants(0)) return;
    const { tensor, accumulate } = grads.target(0);
    inStacks(weight, (matrices, first, count) => {
      using bounds = offsets.slice(first, first + count + 1);
      groupedInto(dy!, bounds, matrices, tensor, true, accumulate);
    });
  });
  return y;
}
