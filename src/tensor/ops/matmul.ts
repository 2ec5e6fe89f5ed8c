/**
 * Matrix products, plain and batched, and the strided form that other ops build on. Products of a few rows go
 * to their own kernels, which read each weight once: one for weights that are contiguous along k, one along n.
 */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Device, Tensor } from "../tensor.ts";
import { type Activation, activate, activationCode } from "./gelu.ts";

/** Most rows of the left operand that the few-rows kernel takes. */
const SKINNY_ROWS = 8;

/** A result of column `j` with its bias, then the activation of this code. */
export function finished(sum: number, bias: Float64Array | null, j: number, activation: number): number {
  return activate(bias ? sum + bias[j] : sum, activation);
}

const gemmKernel = defineKernel({
  name: "gemm",
  operands: { a: "in f32", b: "in float", c: "inout f32", partial: "out f32?", bias: "in f32?" },
  // biome-ignore format: one line per operand
  ints: [
    "m", "n", "k", "batch",
    "rowA", "columnA", "batchA",
    "rowB", "columnB", "batchB",
    "rowC", "batchC",
    "dtype", "accumulate", "chunks", "activation",
  ],
  work: ({ m, n, k, batch }) => (m * n * k * batch) / 16,
  reference: ({ a, b, c, bias }, s) => {
    for (let g = 0; g < s.batch; g++) {
      for (let i = 0; i < s.m; i++) {
        for (let j = 0; j < s.n; j++) {
          let sum = 0;
          for (let p = 0; p < s.k; p++) {
            sum +=
              a[g * s.batchA + i * s.rowA + p * s.columnA] * b[g * s.batchB + p * s.rowB + j * s.columnB];
          }
          const at = g * s.batchC + i * s.rowC + j;
          c[at] = finished(s.accumulate ? c[at] + sum : sum, bias, j, s.activation);
        }
      }
    }
  },
});

const gemvKernel = defineKernel({
  name: "gemv",
  operands: { x: "in f32", w: "in float", y: "inout f32", bias: "in f32?" },
  // biome-ignore format: one line per operand
  ints: [
    "m", "n", "k", "batch",
    "rowX", "batchX",
    "rowW", "batchW",
    "rowY", "batchY",
    "dtype", "accumulate", "activation",
  ],
  work: ({ m, n, k, batch }) => (n * k * batch * (1 + m)) / 8,
  reference: ({ x, w, y, bias }, s) => {
    for (let g = 0; g < s.batch; g++) {
      for (let i = 0; i < s.m; i++) {
        for (let j = 0; j < s.n; j++) {
          let sum = 0;
          for (let p = 0; p < s.k; p++) {
            sum += x[g * s.batchX + i * s.rowX + p] * w[g * s.batchW + j * s.rowW + p];
          }
          const at = g * s.batchY + i * s.rowY + j;
          y[at] = finished(s.accumulate ? y[at] + sum : sum, bias, j, s.activation);
        }
      }
    }
  },
});

const gemvColumnsKernel = defineKernel({
  name: "gemv_columns",
  operands: { x: "in f32", w: "in float", y: "inout f32", bias: "in f32?" },
  // biome-ignore format: one line per operand
  ints: [
    "m", "n", "k", "batch",
    "rowX", "batchX",
    "rowW", "batchW",
    "rowY", "batchY",
    "dtype", "accumulate", "activation",
  ],
  work: ({ m, n, k, batch }) => (n * k * batch * (1 + m)) / 8,
  reference: ({ x, w, y, bias }, s) => {
    for (let g = 0; g < s.batch; g++) {
      for (let i = 0; i < s.m; i++) {
        for (let j = 0; j < s.n; j++) {
          let sum = 0;
          for (let p = 0; p < s.k; p++) {
            sum += x[g * s.batchX + i * s.rowX + p] * w[g * s.batchW + p * s.rowW + j];
          }
          const at = g * s.batchY + i * s.rowY + j;
          y[at] = finished(s.accumulate ? y[at] + sum : sum, bias, j, s.activation);
        }
      }
    }
  },
});

/** A matrix, or a batch of them, inside a tensor: element (i, j) of matrix g at offset + g batch + i row + j column. */
export interface MatrixView {
  readonly tensor: Tensor;
  /** Elements from the tensor's first; default 0. */
  readonly offset?: number;
  readonly row: number;
  /** Default 1. */
  readonly column?: number;
  /** Default 0: one matrix for the whole batch. */
  readonly batch?: number;
}

/** Sizes of a product [m, k] [k, n], `batch` times. */
export interface ProductSize {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Default 1. */
  readonly batch?: number;
}

/** What a product does with its results before it stores them. */
export interface Epilogue {
  /** Added to every row: f32 [n]. */
  readonly bias: Tensor | null;
  /** Applied to the sums with their bias. */
  readonly activation: Activation | null;
}

/** @throws ShapeError if the bias has another length or type */
export function checkBias(where: string, bias: Tensor, n: number): void {
  if (bias.dtype === "f32" && bias.shape.length === 1 && bias.size === n) return;
  throw new ShapeError("the bias must have one element per output", {
    where,
    name: "bias",
    expected: `f32 [${n}]`,
    found: `${bias.dtype} [${bias.shape}]`,
  });
}

function checkBounds(view: MatrixView, name: string, rows: number, columns: number, batch: number): void {
  const { tensor, offset = 0, row, column = 1, batch: step = 0 } = view;
  const last = offset + (batch - 1) * step + (rows - 1) * row + (columns - 1) * column;
  if (rows > 0 && columns > 0 && batch > 0 && (last >= tensor.size || offset < 0)) {
    throw new ShapeError("the matrix reaches beyond its tensor", {
      where: "matmulInto",
      name,
      expected: `${tensor.size} elements`,
      found: `element ${last}`,
    });
  }
}

/** Runs `body` with the tensor from `offset` on. */
export function within<T>(view: MatrixView, body: (tensor: Tensor) => T): T {
  const { tensor, offset = 0 } = view;
  if (offset === 0) return body(tensor);
  return tensor.device.unscoped(() => {
    using line = tensor.view([tensor.size]);
    using rest = line.slice(offset, tensor.size);
    return body(rest);
  });
}

/** Pieces that a long k is cut into if c alone would give too few units of work; depends on the shape only. */
export function chunksOf(m: number, n: number, k: number, batch: number): number {
  return batch === 1 && m * n <= 131072 && k >= 1024 ? Math.min(8, Math.floor(k / 512)) : 1;
}

/**
 * c = a b, or c += a b if `accumulate`: a [m, k] f32, b [k, n] float, c [m, n] f32 by any strides (c's column
 * stride is 1), `batch` times. The epilogue is applied while the results are in the cache. No gradient. Views that
 * overlap c are not detected. @throws ShapeError
 */
export function matmulInto(
  device: Device,
  size: ProductSize,
  a: MatrixView,
  b: MatrixView,
  c: MatrixView,
  accumulate: 0 | 1 = 0,
  epilogue: Epilogue | null = null,
): void {
  const { m, n, k, batch = 1 } = size;
  const bias = epilogue?.bias ?? null;
  const activation = activationCode(epilogue?.activation ?? null);
  if (bias) checkBias("matmulInto", bias, n);
  if (m === 0 || n === 0 || batch === 0) return;
  checkBounds(a, "a", m, k, batch);
  checkBounds(b, "b", k, n, batch);
  checkBounds(c, "c", m, n, batch);
  const { row: rowA, column: columnA = 1, batch: batchA = 0 } = a;
  const { row: rowB, column: columnB = 1, batch: batchB = 0 } = b;
  const { row: rowC, column: columnC = 1, batch: batchC = 0 } = c;
  if (columnC !== 1) {
    throw new ShapeError("rows of the result must be contiguous", {
      where: "matmulInto",
      expected: 1,
      found: columnC,
    });
  }
  const dtype = dtypeCode(b.tensor.dtype);
  within(a, (left) =>
    within(b, (right) =>
      within(c, (result) => {
        if (m <= SKINNY_ROWS && columnA === 1 && rowB === 1) {
          gemvKernel.run(
            device,
            { x: left, w: right, y: result, bias },
            // biome-ignore format: one line per operand
            {
              m, n, k, batch,
              rowX: rowA, batchX: batchA,
              rowW: columnB, batchW: batchB,
              rowY: rowC, batchY: batchC,
              dtype, accumulate, activation,
            },
          );
          return;
        }
        if (m <= SKINNY_ROWS && columnA === 1 && columnB === 1) {
          gemvColumnsKernel.run(
            device,
            { x: left, w: right, y: result, bias },
            // biome-ignore format: one line per operand
            {
              m, n, k, batch,
              rowX: rowA, batchX: batchA,
              rowW: rowB, batchW: batchB,
              rowY: rowC, batchY: batchC,
              dtype, accumulate, activation,
            },
          );
          return;
        }
        const chunks = chunksOf(m, n, k, batch);
        const partial = chunks > 1 ? device.unscoped(() => device.empty([chunks * m * n])) : null;
        gemmKernel.run(
          device,
          { a: left, b: right, c: result, partial, bias },
          {
            m,
            n,
            k,
            batch,
            rowA,
            columnA,
            batchA,
            rowB,
            columnB,
            batchB,
            rowC,
            batchC,
            dtype,
            accumulate,
            chunks,
            activation,
          },
        );
        partial?.dispose();
      }),
    ),
  );
}

/** How `matmul` reads its operands. */
export interface MatmulOptions {
  /** a is stored [.., k, m]. */
  readonly transposeA?: boolean;
  /** b is stored [.., n, k]. */
  readonly transposeB?: boolean;
}

/**
 * a b: [m, k] [k, n], or [G, m, k] [G, k, n], or [G, m, k] [k, n] with one b for all; a f32, b float. b gets a
 * gradient only if it is f32, and so does a transposed a. @throws ShapeError
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  const where = "matmul";
  const rank = a.shape.length;
  if ((rank !== 2 && rank !== 3) || (b.shape.length !== 2 && b.shape.length !== rank)) {
    throw new ShapeError("operands must be two matrices or two batches of matrices", {
      where,
      found: `[${a.shape}] and [${b.shape}]`,
    });
  }
  const batch = rank === 3 ? a.shape[0] : 1;
  const shared = rank === 3 && b.shape.length === 2;
  const [rowsA, columnsA] = a.shape.slice(-2);
  const [rowsB, columnsB] = b.shape.slice(-2);
  const [m, k] = transposeA ? [columnsA, rowsA] : [rowsA, columnsA];
  const [kB, n] = transposeB ? [columnsB, rowsB] : [rowsB, columnsB];
  if (k !== kB || (rank === 3 && !shared && b.shape[0] !== batch)) {
    throw new ShapeError("matrix sizes do not match", {
      where,
      expected: `inner sizes and batches equal (transposeA ${transposeA}, transposeB ${transposeB})`,
      found: `[${a.shape}] and [${b.shape}]`,
    });
  }
  if (b.dtype !== "f32" && (b.requiresGrad || (transposeA && a.requiresGrad))) {
    throw new ShapeError("a trained operand must be f32", { where, name: "b", found: b.dtype });
  }
  // One b for rows that follow each other is one product.
  const fold = shared && !transposeA;
  const size = { m: fold ? batch * m : m, n, k, batch: fold ? 1 : batch };
  const left = { row: transposeA ? 1 : k, column: transposeA ? m : 1, batch: m * k };
  const right = { row: transposeB ? 1 : n, column: transposeB ? k : 1, batch: shared ? 0 : k * n };
  const { device } = a;
  const y = device.empty(rank === 3 ? [batch, m, n] : [m, n]);
  matmulInto(
    device,
    size,
    { tensor: a, ...left },
    { tensor: b, ...right },
    { tensor: y, row: n, batch: m * n },
  );

  const flip = (v: { row: number; column: number; batch: number }) => ({
    row: v.column,
    column: v.row,
    batch: v.batch,
  });
  record([y], [a, b], ([dy], grads) => {
    const dY = { tensor: dy!, row: n, column: 1, batch: m * n };
    const dYt = { tensor: dy!, ...flip(dY) };
    if (grads.wants(0)) {
      const { tensor, accumulate } = grads.target(0);
      const to = { tensor, row: transposeA ? m : k, batch: m * k };
      const rows = { m: size.m, n: k, k: n, batch: size.batch };
      if (transposeA) {
        matmulInto(device, { ...rows, m: k, n: m }, { tensor: b, ...right }, dYt, to, accumulate);
      } else {
        matmulInto(device, rows, dY, { tensor: b, ...flip(right) }, to, accumulate);
      }
    }
    if (grads.wants(1)) {
      const { tensor, accumulate } = grads.target(1);
      const row = transposeB ? k : n;
      // A shared b sums over the batch: one product after the other adds to it.
      const steps = shared && !fold ? batch : 1;
      for (let g = 0; g < steps; g++) {
        const at = { tensor: a, ...left, offset: g * left.batch };
        const dYg = { ...dY, offset: g * dY.batch };
        const to = { tensor, row, batch: k * n };
        const sum = g > 0 ? 1 : accumulate;
        const each = { k: size.m, batch: steps > 1 ? 1 : size.batch };
        if (transposeB) {
          matmulInto(device, { m: n, n: k, ...each }, { ...dYg, ...flip(dY) }, at, to, sum);
        } else {
          matmulInto(device, { m: k, n, ...each }, { ...at, ...flip(left) }, dYg, to, sum);
        }
      }
    }
  });
  return y;
}
