/**
 * Causal attention block by block over the keys: a state with running maxima, sums and undivided outputs takes up one
 * block after another, in any order, so that a long context never has to be expanded at once (online softmax as in
 * FlashAttention-2, algorithm 1). No gradients.
 */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Device, Tensor } from "../tensor.ts";
import { dot, MAX_WIDTH } from "./attention.ts";

const foldKernel = defineKernel({
  name: "attention_fold",
  operands: {
    q: "in f32",
    k: "in float",
    v: "in float?",
    output: "inout f32",
    largest: "inout f32",
    total: "inout f32",
  },
  // biome-ignore format: one line per operand
  ints: [
    "batch", "tokens", "keys", "heads", "kvHeads", "width", "valueWidth",
    "past", "fresh", "dtype",
  ],
  floats: ["scale"],
  work: (s) => (s.batch * s.tokens * s.heads * s.keys * (s.width + s.valueWidth)) / 16,
  reference: ({ q, k, v, output, largest, total }, s, { scale }) => {
    const { batch, tokens, keys, heads, kvHeads, width, valueWidth, past, fresh } = s;
    const values = v ?? k;
    const stride = v ? valueWidth : width;
    for (let row = 0; row < batch * tokens * heads; row++) {
      const b = Math.floor(row / (tokens * heads));
      const t = Math.floor(row / heads) % tokens;
      const kvHead = Math.floor((row % heads) / (heads / kvHeads));
      const seen = Math.min(keys, Math.max(0, past + t + 1));
      if (fresh) {
        output.fill(0, row * valueWidth, (row + 1) * valueWidth);
        largest[row] = -1e30;
        total[row] = 0;
      }
      const keyAt = (j: number) => (b * keys + j) * kvHeads + kvHead;
      const scores = Float64Array.from({ length: seen }, (_, j) => {
        return scale * Math.LOG2E * dot(q, row * width, k, keyAt(j) * width, width);
      });
      const now = scores.reduce((a, x) => Math.max(a, x), largest[row]);
      const factor = 2 ** (largest[row] - now);
      largest[row] = now;
      total[row] *= factor;
      for (let c = 0; c < valueWidth; c++) output[row * valueWidth + c] *= factor;
      for (let j = 0; j < seen; j++) {
        const weight = 2 ** (scores[j] - now);
        total[row] += weight;
        for (let c = 0; c < valueWidth; c++) {
          output[row * valueWidth + c] += weight * values[keyAt(j) * stride + c];
        }
      }
    }
  },
});

const finishKernel = defineKernel({
  name: "attention_finish",
  operands: { output: "in f32", total: "in f32", y: "out f32" },
  ints: ["rows", "width"],
  work: ({ rows, width }) => rows * width,
  reference: ({ output, total, y }, { rows, width }) => {
    for (let r = 0; r < rows; r++) {
      const factor = total[r] === 0 ? 0 : 1 / total[r];
      for (let c = 0; c < width; c++) y[r * width + c] = factor * output[r * width + c];
    }
  },
});

/** What queries [B,T,H] know of the keys that they have met. */
export class AttentionState implements Disposable {
  /** Weighted values, not yet divided by the sums, `[B, T, H, Dv]`. */
  readonly output: Tensor;
  /** Largest score times log2 e, `[B, T, H]`; -1e30 before the first key. */
  readonly max: Tensor;
  /** Sum of 2^(score log2 e - max), `[B, T, H]`. */
  readonly sum: Tensor;
  /** No block was folded in yet: the tensors are uninitialized. */
  fresh = true;

  constructor(device: Device, batch: number, tokens: number, heads: number, valueWidth: number) {
    this.output = device.empty([batch, tokens, heads, valueWidth]);
    this.max = device.empty([batch, tokens, heads]);
    this.sum = device.empty([batch, tokens, heads]);
  }

  [Symbol.dispose](): void {
    this.output.dispose();
    this.max.dispose();
    this.sum.dispose();
  }
}

export interface FoldOptions {
  /** Factor of the scores before softmax. */
  readonly scale: number;
  /** Position of the first key in its sequence. */
  readonly firstKey: number;
  /** Position of the first query: query t sees keys at positions up to firstQuery + t. */
  readonly firstQuery: number;
}

function refuse(message: string, expected: unknown, found: unknown): never {
  throw new ShapeError(message, { where: "foldAttention", expected, found });
}

/**
 * Takes keys k [B,S,Hkv,D] with values v [B,S,Hkv,Dv] (both f32, bf16 or f16; v null: a key's first Dv channels) into
 * the state of queries q [B,T,H,D] f32. Blocks of keys may come in any order, each once; each query sees those up to
 * its own position. No gradients. @throws ShapeError
 */
export function foldAttention(
  state: AttentionState,
  q: Tensor,
  k: Tensor,
  v: Tensor | null,
  { scale, firstKey, firstQuery }: FoldOptions,
): void {
  const { device } = q;
  const valueWidth = state.output.shape[3];
  if (q.shape.length !== 4 || q.shape.slice(0, 3).some((n, i) => n !== state.max.shape[i])) {
    refuse(
      "q does not have the shape of the state's queries [batch, tokens, heads, width]",
      state.max.shape,
      q.shape,
    );
  }
  const [batch, tokens, heads, width] = q.shape;
  if (k.shape.length !== 4 || k.shape[0] !== batch || k.shape[3] !== width) {
    refuse(
      "k must be [batch, keys, kvHeads, width] with the batch and width of q",
      [batch, "keys", "kvHeads", width],
      k.shape,
    );
  }
  const [, keys, kvHeads] = k.shape;
  if (kvHeads === 0 || heads % kvHeads !== 0) {
    refuse("query heads are not a multiple of key heads", `a divisor of ${heads}`, kvHeads);
  }
  if (v && (v.dtype !== k.dtype || [batch, keys, kvHeads, valueWidth].some((n, i) => n !== v.shape[i]))) {
    const expected = `${k.dtype} [${batch}, ${keys}, ${kvHeads}, ${valueWidth}]`;
    refuse(
      "v differs from the keys in dtype or leading axes, or from the state in width",
      expected,
      `${v.dtype} [${v.shape}]`,
    );
  }
  if (!v && width < valueWidth)
    refuse("keys are narrower than their values", `at least ${valueWidth}`, width);
  if (Math.max(width, valueWidth) > MAX_WIDTH)
    refuse("head width out of range", `at most ${MAX_WIDTH}`, width);
  for (const position of [firstKey, firstQuery]) {
    if (!Number.isInteger(position) || position < 0 || position + keys + tokens > 2 ** 31 - 1) {
      refuse("not a position", "an integer below 2^31", position);
    }
  }
  if (device.tape !== null && [q, k, ...(v ? [v] : [])].some((t) => t.requiresGrad)) {
    refuse("foldAttention has no gradient", "attention(), or no tape that records", "a tape");
  }
  if (state.output.size === 0 || (keys === 0 && !state.fresh)) return;
  foldKernel.run(
    device,
    { q, k, v, output: state.output, largest: state.max, total: state.sum },
    // biome-ignore format: one line per operand
    {
      batch, tokens, keys, heads, kvHeads, width, valueWidth,
      past: firstQuery - firstKey, fresh: state.fresh ? 1 : 0, dtype: dtypeCode(k.dtype),
    },
    { scale },
  );
  state.fresh = false;
}

/** Attention over all keys that were folded in: [B,T,H,Dv]; a query that saw none gives 0. The state is not changed. */
export function finishAttention(state: AttentionState): Tensor {
  const { output, sum: total } = state;
  const y = output.device.empty(output.shape);
  const width = output.shape[3];
  if (state.fresh) {
    throw new ShapeError("the state holds no keys", {
      where: "finishAttention",
      expected: "foldAttention first",
    });
  }
  if (y.size > 0) finishKernel.run(output.device, { output, total, y }, { rows: total.size, width });
  return y;
}
