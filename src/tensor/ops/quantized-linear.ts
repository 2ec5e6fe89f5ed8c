/**
 * Products with quantized weights: the linear layer, the strided batched form under it, and rows sorted by group.
 * Activations are rounded per block of 32, to 8 bits with q4 weights and 16 bits with q8 weights; the sums of a
 * block are exact. A result's bits depend on its row of x and its row of weights only. No gradients.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { formatCode, type QuantizedTensor } from "../quantized.ts";
import type { Device, Tensor } from "../tensor.ts";
import { activationCode } from "./gelu.ts";
import { checkBias, type Epilogue, finished, type MatrixView, type ProductSize, within } from "./matmul.ts";
import { decodeRow, dotProduct, matrixBytes, roundedActivations } from "./quantized-reference.ts";

/** Up to so many elements every thread rounds for itself rather than wait for the others. */
const PRIVATE_ELEMENTS = 8192;

/** Bytes of a row of `k` rounded activations (kernels/quantized-activations.ts). */
export function activationBytes(format: number, k: number): number {
  return Math.ceil(k / 32) * (format === 0 ? 40 : 68);
}

/** Memory for `rows` rows of rounded activations, near the weights. */
export function activationMemory(weight: QuantizedTensor, near: Tensor, rows: number): Tensor {
  const { device, format, columns } = weight;
  const bytes = rows * activationBytes(formatCode(format), columns);
  return device.unscoped(() => device.empty([bytes], "u8", false, near));
}

/** The same, or null if every thread should round the rows for itself. */
export function lentMemory(weight: QuantizedTensor, near: Tensor, rows: number, batch = 1): Tensor | null {
  return rows * weight.columns <= PRIVATE_ELEMENTS ? null : activationMemory(weight, near, rows * batch);
}

/** Quantized weights are not trained. @throws ShapeError if a tape records and an input needs a gradient */
export function refuseGradient(where: string, ...inputs: readonly Tensor[]): void {
  if (inputs[0].device.tape === null || !inputs.some((input) => input.requiresGrad)) return;
  throw new ShapeError("no gradients through quantized weights", {
    where,
    hint: "Train with float weights and quantize afterwards, or run this under device.noGrad.",
  });
}

const matmulKernel = defineKernel({
  name: "quantized_matmul",
  operands: { x: "in f32", w: "in u8", y: "inout f32", rows: "out u8?", bias: "in f32?" },
  ints: ["format", "m", "n", "k", "batch", "rowX", "batchX", "rowY", "batchY", "activation"],
  // Weights come from memory; a row of activations costs a fraction of that.
  work: ({ m, n, k, batch }) => (n * k * batch * (3 + m)) / 32,
  reference: ({ x, w, y, bias }, { format, m, n, k, batch, rowX, batchX, rowY, batchY, activation }) => {
    for (let g = 0; g < batch; g++) {
      const rows = Array.from({ length: m }, (_, i) => {
        const at = g * batchX + i * rowX;
        return roundedActivations(format, x.subarray(at, at + k));
      });
      for (let j = 0; j < n; j++) {
        const weights = decodeRow(format, w, g * matrixBytes(format, n, k), j, k);
        rows.forEach((row, i) => {
          const sum = dotProduct(row, weights);
          y[g * batchY + i * rowY + j] = finished(sum, bias, j, activation);
        });
      }
    }
  },
});

const groupedKernel = defineKernel({
  name: "quantized_grouped",
  operands: { x: "in f32", offsets: "in i32", w: "in u8", y: "inout f32", rows: "out u8" },
  ints: ["format", "groups", "n", "k", "count"],
  work: ({ n, k, count }) => (n * k * count) / 8,
  reference: ({ x, offsets, w, y }, { format, groups, n, k }) => {
    for (let g = 0; g < groups; g++) {
      for (let r = offsets[g]; r < offsets[g + 1]; r++) {
        const row = roundedActivations(format, x.subarray(r * k, (r + 1) * k));
        for (let j = 0; j < n; j++) {
          y[r * n + j] = dotProduct(row, decodeRow(format, w, g * matrixBytes(format, n, k), j, k));
        }
      }
    }
  },
});

function checkView(name: string, view: MatrixView, rows: number, columns: number, batch: number): void {
  const { tensor, offset = 0, row, column = 1, batch: step = 0 } = view;
  const last = offset + (batch - 1) * step + (rows - 1) * row + columns - 1;
  if (column !== 1 || offset < 0 || last >= tensor.size) {
    throw new ShapeError("the matrix reaches beyond its tensor or its rows are not contiguous", {
      where: "quantizedMatmulInto",
      name,
      expected: `${tensor.size} elements, column stride 1`,
      found: `element ${last}, column stride ${column}`,
    });
  }
}

/**
 * y[g] = x[g] w[g]^T, then the epilogue: x [m, k] and y [m, n] f32 by strides of rows and batch, w a stack
 * [batch, n, k] or one matrix [n, k] if batch is 1. @throws ShapeError
 */
export function quantizedMatmulInto(
  device: Device,
  size: ProductSize,
  x: MatrixView,
  weight: QuantizedTensor,
  y: MatrixView,
  epilogue: Epilogue | null = null,
): void {
  const { m, n, k, batch = 1 } = size;
  const bias = epilogue?.bias ?? null;
  const activation = activationCode(epilogue?.activation ?? null);
  if (bias) checkBias("quantizedMatmulInto", bias, n);
  if (weight.count !== batch || weight.rows !== n || weight.columns !== k) {
    throw new ShapeError("weight must be one matrix [n, k] per product", {
      where: "quantizedMatmulInto",
      expected: [batch, n, k],
      found: weight.shape,
    });
  }
  if (m === 0 || n === 0 || batch === 0) return;
  checkView("x", x, m, k, batch);
  checkView("y", y, m, n, batch);
  refuseGradient("quantizedMatmulInto", x.tensor);
  const { row: rowX, batch: batchX = 0 } = x;
  const { row: rowY, batch: batchY = 0 } = y;
  const format = formatCode(weight.format);
  for (const { begin, end, tiles } of weight.shards) {
    const count = end - begin;
    const rows = lentMemory(weight, tiles, m, count);
    within({ ...x, offset: (x.offset ?? 0) + begin * batchX }, (from) =>
      within({ ...y, offset: (y.offset ?? 0) + begin * batchY }, (to) =>
        matmulKernel.run(
          device,
          { x: from, w: tiles, y: to, rows, bias },
          { format, m, n, k, batch: count, rowX, batchX, rowY, batchY, activation },
        ),
      ),
    );
    rows?.dispose();
  }
}

/** @throws ShapeError if input and weight do not fit */
export function checkQuantized(x: Tensor, weight: QuantizedTensor): void {
  const k = x.shape.at(-1);
  if (weight.shape.length === 2 && k === weight.columns) return;
  throw new ShapeError("weight and input differ in their last axis", {
    where: "quantizedLinear",
    expected: `[n, ${k}]`,
    found: weight.shape,
  });
}

/** x W^T, then the epilogue: x [.., k] f32, weight [n, k] quantized, result [.., n]. @throws ShapeError */
export function quantizedLinear(
  x: Tensor,
  weight: QuantizedTensor,
  epilogue: Epilogue | null = null,
): Tensor {
  checkQuantized(x, weight);
  const k = weight.columns;
  refuseGradient("quantizedLinear", x, ...(epilogue?.bias ? [epilogue.bias] : []));
  const lead = x.shape.slice(0, -1);
  const m = lead.reduce((size, each) => size * each, 1);
  const n = weight.rows;
  const { device } = x;
  const y = device.empty([...lead, n]);
  quantizedMatmulInto(device, { m, n, k }, { tensor: x, row: k }, weight, { tensor: y, row: n }, epilogue);
  return y;
}

/**
 * x W[g]^T for the rows of each group g: x [rows, k] f32 sorted by group, offsets i32 [groups + 1] (group g has
 * rows offsets[g] to offsets[g + 1]; the last is `rows`), weight [groups, n, k] quantized; result [rows, n].
 * @throws ShapeError
 */
export function quantizedGroupedLinear(x: Tensor, offsets: Tensor, weight: QuantizedTensor): Tensor {
  const where = "quantizedGroupedLinear";
  const { count: groups, rows: n, columns: k } = weight;
  if (x.shape.length !== 2 || weight.shape.length !== 3 || x.shape[1] !== k) {
    throw new ShapeError("x [rows, k] and weights [groups, n, k] differ in k", {
      where,
      expected: "equal k",
      found: `[${x.shape}] and [${weight.shape}]`,
    });
  }
  if (offsets.size !== groups + 1) {
    throw new ShapeError("offsets must have one entry more than groups", {
      where,
      expected: groups + 1,
      found: offsets.size,
    });
  }
  refuseGradient(where, x);
  const { device } = x;
  const count = x.shape[0];
  const y = device.empty([count, n]);
  if (y.size === 0) return y;
  const format = formatCode(weight.format);
  for (const { begin, end, tiles } of weight.shards) {
    device.unscoped(() => {
      using rows = activationMemory(weight, tiles, count);
      using bounds = offsets.slice(begin, end + 1);
      groupedKernel.run(
        device,
        { x, offsets: bounds, w: tiles, y, rows },
        { format, groups: end - begin, n, k, count },
      );
    });
  }
  return y;
}
