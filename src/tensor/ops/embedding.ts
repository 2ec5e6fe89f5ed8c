/** Rows of a table by token id. Ids are on the device, so an invalid one gives NaN rather than an exception. */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { isQuantized, type Weight } from "../quantized.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { quantizedEmbedding } from "./quantize.ts";

const embeddingKernel = defineKernel({
  name: "embedding",
  operands: { w: "in float", ids: "in i32", y: "out f32" },
  ints: ["rows", "vocabulary", "n", "dtype"],
  work: ({ rows, n }) => rows * n,
  reference: ({ w, ids, y }, { rows, vocabulary, n }) => {
    for (let r = 0; r < rows; r++) {
      const known = ids[r] >= 0 && ids[r] < vocabulary;
      for (let i = 0; i < n; i++) y[r * n + i] = known ? w[ids[r] * n + i] : Number.NaN;
    }
  },
});

const embeddingGradKernel = defineKernel({
  name: "embedding_grad",
  operands: { ids: "in i32", dy: "in f32", dw: "inout f32" },
  ints: ["rows", "vocabulary", "n", "accumulate"],
  work: ({ rows, vocabulary, n, accumulate }) => 2 * rows * n + (accumulate ? 0 : (vocabulary * n) / 4),
  reference: ({ ids, dy, dw }, { rows, vocabulary, n, accumulate }) => {
    if (!accumulate) dw.fill(0, 0, vocabulary * n);
    for (let r = 0; r < rows; r++) {
      if (ids[r] < 0 || ids[r] >= vocabulary) continue;
      for (let i = 0; i < n; i++) dw[ids[r] * n + i] += dy[r * n + i];
    }
  },
});

/** Checks ids if they are known on the host. @throws ShapeError with the first id outside 0 to vocabulary - 1 */
export function checkIds(ids: ArrayLike<number>, vocabulary: number, where = "embedding"): void {
  for (let i = 0; i < ids.length; i++) {
    if (!(ids[i] >= 0 && ids[i] < vocabulary)) {
      throw new ShapeError("token id out of range", {
        where,
        name: `ids[${i}]`,
        expected: `0 to ${vocabulary - 1}`,
        found: ids[i],
        hint: "The tokenizer and the model do not belong together.",
      });
    }
  }
}

/**
 * weight[ids]: [V, d] (f32, bf16, f16 or quantized), i32 [..] -> f32 [.., d]. An id outside 0 to V - 1 gives a row of NaN and
 * no gradient; `checkIds` finds it on the host. The gradient adds rows in the order of the ids, for any number of
 * threads. @throws ShapeError
 */
export function embedding(weight: Weight, ids: Tensor): Tensor {
  if (isQuantized(weight)) return quantizedEmbedding(weight, ids);
  if (weight.shape.length !== 2) {
    throw new ShapeError("an embedding table must be [V, d]", {
      where: "embedding",
      name: "weight",
      expected: "[V, d]",
      found: weight.shape,
    });
  }
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new ShapeError("a trained embedding table must be f32", {
      where: "embedding",
      found: weight.dtype,
    });
  }
  const { device } = weight;
  const [vocabulary, n] = weight.shape;
  const rows = ids.size;
  const y = device.empty([...ids.shape, n]);
  embeddingKernel.run(device, { w: weight, ids, y }, { rows, vocabulary, n, dtype: dtypeCode(weight.dtype) });
  record([y], [weight], ([dy], grads) => {
    const { tensor: dw, accumulate } = grads.target(0);
    embeddingGradKernel.run(device, { ids, dy: dy!, dw }, { rows, vocabulary, n, accumulate });
  });
  return y;
}
