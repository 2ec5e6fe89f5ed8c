/**
 * Vector quantization (van den Oord et al. 2017, arXiv 1711.00937) as LlamaGen's tokenizer does it: rows of unit length
 * (torch's normalize), the nearest row of a codebook, and the entropy loss of the soft choice (`vq_model.py`).
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

const unitRowsKernel = defineKernel({
  name: "unit_rows",
  operands: { x: "in f32", y: "out f32", inverse: "out f32" },
  ints: ["rows", "n"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 3 * rows * n,
  reference: ({ x, y, inverse }, { rows, n }, { epsilon }) => {
    for (let r = 0; r < rows; r++) {
      let squares = 0;
      for (let i = 0; i < n; i++) squares += x[r * n + i] ** 2;
      inverse[r] = 1 / Math.max(Math.sqrt(squares), epsilon);
      for (let i = 0; i < n; i++) y[r * n + i] = x[r * n + i] * inverse[r];
    }
  },
});

const unitRowsGradKernel = defineKernel({
  name: "unit_rows_grad",
  operands: { y: "in f32", inverse: "in f32", dy: "in f32", dx: "inout f32" },
  ints: ["rows", "n", "accumulate"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 4 * rows * n,
  reference: ({ y, inverse, dy, dx }, { rows, n, accumulate }, { epsilon }) => {
    for (let r = 0; r < rows; r++) {
      let along = 0;
      if (inverse[r] < 1 / epsilon) for (let i = 0; i < n; i++) along += dy[r * n + i] * y[r * n + i];
      for (let i = 0; i < n; i++) {
        const value = (dy[r * n + i] - y[r * n + i] * along) * inverse[r];
        dx[r * n + i] = accumulate ? dx[r * n + i] + value : value;
      }
    }
  },
});

const nearestCodeKernel = defineKernel({
  name: "nearest_code",
  operands: { x: "in f32", codes: "in f32", packed: "out f32", ids: "out i32" },
  ints: ["rows", "count", "n"],
  work: ({ rows, count, n }) => (rows * count * n) / 4,
  reference: ({ x, codes, ids }, { rows, count, n }) => {
    for (let r = 0; r < rows; r++) {
      let least = Number.POSITIVE_INFINITY;
      ids[r] = 0;
      for (let k = 0; k < count; k++) {
        let distance = 0;
        for (let i = 0; i < n; i++) distance += codes[k * n + i] * (codes[k * n + i] / 2 - x[r * n + i]);
        if (distance < least) {
          least = distance;
          ids[r] = k;
        }
      }
    }
  },
});

/** p log p, with its limit at 0. */
const plogp = (p: number) => (p > 0 ? p * Math.log(p) : 0);

const choiceEntropyKernel = defineKernel({
  name: "choice_entropy",
  operands: { x: "in f32", p: "out f32", entropy: "out f32", mean: "out f32", y: "out f32" },
  ints: ["rows", "n"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 6 * rows * n,
  reference: ({ x, p, entropy, mean, y }, { rows, n }, { epsilon }) => {
    mean.fill(0, 0, n);
    y[0] = 0;
    for (let r = 0; r < rows; r++) {
      const row = x.slice(r * n, (r + 1) * n);
      const top = row.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
      const sum = row.reduce((a, v) => a + Math.exp(v - top), 0);
      entropy[r] = 0;
      for (let i = 0; i < n; i++) {
        const chance = Math.exp(row[i] - top) / sum;
        p[r * n + i] = chance;
        mean[i] += chance / rows;
        entropy[r] -= plogp(chance);
      }
      y[0] += entropy[r] / rows;
    }
    for (let i = 0; i < n; i++) y[0] += mean[i] * Math.log(mean[i] + epsilon);
  },
});

const choiceEntropyGradKernel = defineKernel({
  name: "choice_entropy_grad",
  operands: {
    p: "in f32",
    entropy: "in f32",
    mean: "in f32",
    dy: "in f32",
    slopes: "out f32",
    dx: "inout f32",
  },
  ints: ["rows", "n", "accumulate"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 8 * rows * n,
  reference: ({ p, entropy, mean, dy, dx }, { rows, n, accumulate }, { epsilon }) => {
    const slope = (i: number) => Math.log(mean[i] + epsilon) + mean[i] / (mean[i] + epsilon);
    for (let r = 0; r < rows; r++) {
      let expected = 0;
      for (let i = 0; i < n; i++) expected += p[r * n + i] * slope(i);
      for (let i = 0; i < n; i++) {
        const chance = p[r * n + i];
        const value = chance * (slope(i) - expected) - plogp(chance) - chance * entropy[r];
        dx[r * n + i] = (accumulate ? dx[r * n + i] : 0) + (dy[0] / rows) * value;
      }
    }
  },
});

/** Rows and width of a matrix, or of anything with a last axis. @throws ShapeError if that is empty */
function rowsOf(where: string, x: Tensor): { rows: number; n: number } {
  const n = x.shape.at(-1) ?? 0;
  if (n > 0 && x.dtype === "f32") return { rows: x.size / n, n };
  throw new ShapeError("no rows of floats", {
    where,
    expected: "f32 [.., n]",
    found: `${x.dtype} [${x.shape}]`,
  });
}

/** Rows of length 1: x / max(|x|, eps) over the last axis, f32 [.., n] -> [.., n]; torch's normalize. @throws ShapeError */
export function unitRows(x: Tensor, eps = 1e-12): Tensor {
  const { rows, n } = rowsOf("unitRows", x);
  const { device } = x;
  const y = device.empty(x.shape);
  const inverse = device.empty([rows]);
  unitRowsKernel.run(device, { x, y, inverse }, { rows, n }, { epsilon: eps });
  if (device.tape === null || !x.requiresGrad) device.release(inverse);
  record([y], [x], ([dy], grads) => {
    const { tensor: dx, accumulate } = grads.target(0);
    unitRowsGradKernel.run(device, { y, inverse, dy: dy!, dx }, { rows, n, accumulate }, { epsilon: eps });
  });
  return y;
}

/**
 * The row of `codes` at the smallest distance, the first of several: x f32 [.., n], codes f32 [count, n] -> i32 [..]. A row
 * of x that is not finite gets code 0. No gradient. @throws ShapeError
 */
export function nearestCode(x: Tensor, codes: Tensor): Tensor {
  const { rows, n } = rowsOf("nearestCode", x);
  const [count] = codes.shape;
  if (codes.shape.length !== 2 || codes.shape[1] !== n || count < 1 || codes.dtype !== "f32") {
    throw new ShapeError("rows and codes differ in width, or there are no codes", {
      where: "nearestCode",
      expected: `f32 [count, ${n}]`,
      found: `${codes.dtype} [${codes.shape}]`,
    });
  }
  const { device } = x;
  const ids = device.empty(x.shape.slice(0, -1), "i32");
  using packed = device.unscoped(() => device.empty([Math.ceil(count / 4), n + 1, 4]));
  nearestCodeKernel.run(device, { x, codes, packed, ids }, { rows, count, n });
  return ids;
}

/**
 * Mean entropy of the soft choices softmax(x) of the rows, minus the entropy of their mean: small where each row is sure and
 * all together use every code. logits f32 [.., n] -> [1]; `eps` stands in the logarithm of the mean. @throws ShapeError
 */
export function choiceEntropy(logits: Tensor, eps = 1e-5): Tensor {
  const { rows, n } = rowsOf("choiceEntropy", logits);
  if (rows === 0) throw new ShapeError("entropy of no rows", { where: "choiceEntropy", found: logits.shape });
  const { device } = logits;
  const y = device.empty([1]);
  const p = device.empty([rows, n]);
  const entropy = device.empty([rows]);
  const mean = device.empty([n]);
  choiceEntropyKernel.run(device, { x: logits, p, entropy, mean, y }, { rows, n }, { epsilon: eps });
  if (device.tape === null || !logits.requiresGrad)
    for (const each of [p, entropy, mean]) device.release(each);
  record([y], [logits], ([dy], grads) => {
    const { tensor: dx, accumulate } = grads.target(0);
    const slopes = device.empty([n]);
    const operands = { p, entropy, mean, dy: dy!, slopes, dx };
    choiceEntropyGradKernel.run(device, operands, { rows, n, accumulate }, { epsilon: eps });
  });
  return y;
}
