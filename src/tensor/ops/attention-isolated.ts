/**
 * Causal attention inside documents that lie one after another: none sees another one, as if each had come alone (packing
 * with isolation, DeepSeek-V3's fine-tuning). Each is attended to by itself, so that a row of short documents costs less
 * than one long one.
 */
import { ShapeError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { type AttentionOptions, attention } from "./attention.ts";
import { concat, reshape, split } from "./reshape.ts";

/**
 * q `[B, T, H, D]`, k `[B, T, Hkv, D]`, v `[B, T, Hkv, Dv]` to `[B, T, H, Dv]`, f32: token t sees those of its document up to
 * itself. `documents` holds the lengths of documents, B T tokens together. Gradients flow to q, k and v. @throws ShapeError
 */
export function attentionIsolated(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  documents: readonly number[],
  options: Pick<AttentionOptions, "scale">,
): Tensor {
  checkDocuments("attentionIsolated", documents, q.shape[0] * q.shape[1]);
  const parts = [q, k, v].map((x) => {
    const [, , heads, width] = x.shape;
    const pieces = split(
      reshape(x, [1, x.size]),
      documents.map((tokens) => tokens * heads * width),
    );
    return pieces.map((piece, i) => reshape(piece, [1, documents[i], heads, width]));
  });
  const mixed = documents.map((_, i) => {
    const y = attention(parts[0][i], parts[1][i], parts[2][i], options); // [1, n, H, Dv]
    return reshape(y, [1, y.size]);
  });
  return reshape(concat(mixed), [...q.shape.slice(0, 3), v.shape[3]]);
}

/** @throws ShapeError unless the documents, none of them empty, are `tokens` tokens together */
export function checkDocuments(where: string, documents: readonly number[], tokens: number): void {
  const sum = documents.reduce((a, b) => a + b, 0);
  if (sum === tokens && documents.every((length) => Number.isInteger(length) && length > 0)) return;
  throw new ShapeError("documents do not cover the tokens", {
    ...{ where, name: "documents", expected: `lengths above 0, ${tokens} together` },
    found: documents.length > 20 ? `${documents.length} of ${sum} tokens` : documents,
  });
}
