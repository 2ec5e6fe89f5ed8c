/**
 * Multi-head, grouped-query and multi-query attention with half-split rotary embedding, as in the Llama class that
 * DeepSeek LLM, Coder, DeepSeekMoE and V2 with `use_mla: false` use, and in Qwen2, which adds biases. Query, key and value
 * projections are one matrix.
 */
import { attention } from "../../tensor/ops/attention.ts";
import { attentionIsolated } from "../../tensor/ops/attention-isolated.ts";
import { attentionSequences } from "../../tensor/ops/attention-sequences.ts";
import { reshape, split } from "../../tensor/ops/reshape.ts";
import { rotary } from "../../tensor/ops/rotary.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { writeCaches } from "../cache.ts";
import type { ForwardContext, PlacedSegment } from "../context.ts";
import { Linear } from "../linear.ts";
import type { ParameterScope } from "../scope.ts";
import { attendSegments, rowsOf } from "../segments.ts";

export interface MhaConfig {
  readonly kind: "mha";
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  /** Whether the projections to queries, keys and values add a bias (Qwen2). */
  readonly queryKeyValueBias: boolean;
}

/** Attention of one layer over `x: [B, T, d]` (already normed), with the residual left to the caller. */
export class MhaAttention {
  /** Widths of what a token leaves in the cache: its keys, its values. */
  readonly cacheWidths: readonly number[];
  readonly #config: MhaConfig;
  readonly #qkv: Linear;
  readonly #output: Linear;

  /** @param hidden width of `x` and of the result */
  constructor(scope: ParameterScope, config: MhaConfig, hidden: number) {
    const { heads, keyValueHeads, headDim, queryKeyValueBias: bias } = config;
    this.#config = config;
    this.cacheWidths = [keyValueHeads * headDim, keyValueHeads * headDim];
    const parts = [
      { name: "q_proj", rows: heads * headDim, rotaryRows: headDim },
      { name: "k_proj", rows: keyValueHeads * headDim, rotaryRows: headDim },
      { name: "v_proj", rows: keyValueHeads * headDim },
    ];
    this.#qkv = new Linear(scope, hidden, { key: "qkv", parts }, { bias });
    this.#output = new Linear(scope.child("o_proj"), heads * headDim, hidden);
  }

  /** @param layer index of the layer in the caches */
  forward(x: Tensor, context: ForwardContext, layer: number): Tensor {
    const { heads: H, keyValueHeads: G, headDim: D } = this.#config;
    const { batch: B, tokens: T, tables, positions, segments, documents } = context;
    const turn = { start: 0, pairing: "half" as const };
    const [queries, keys, values] = split(this.#qkv.forward(x), [H * D, G * D, G * D]); // [B, T, (H | G | G) D]
    const q = rotary(reshape(queries, [B, T, H, D]), tables, positions, turn); // [B, T, H, D]
    const k = rotary(reshape(keys, [B, T, G, D]), tables, positions, turn); // [B, T, G, D]
    const v = reshape(values, [B, T, G, D]); // [B, T, G, D]
    const scale = D ** -0.5;
    let mixed: Tensor; // [B, T, H, D]
    if (segments !== null) mixed = this.#overCaches(q, k, v, segments, layer, scale);
    else if (documents !== null) mixed = attentionIsolated(q, k, v, documents, { scale });
    else mixed = attention(q, k, v, { scale });
    return this.#output.forward(reshape(mixed, [B, T, H * D])); // [B, T, d]
  }

  /** Every sequence over its cache, which the new tokens join. */
  #overCaches(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: readonly PlacedSegment[],
    layer: number,
    scale: number,
  ): Tensor {
    writeCaches(k, layer, 0, segments);
    writeCaches(v, layer, 1, segments);
    const together = (rows: Tensor, run: readonly PlacedSegment[]) => {
      const caches = run.map(({ cache, tokens, length }) => {
        return { runs: cache.runs(layer, length), rows: tokens, length };
      });
      const options = { scale, keyValueHeads: this.#config.keyValueHeads };
      return attentionSequences(rows.view(rows.shape.slice(1)), caches, options).view(rows.shape);
    };
    // Whose keys are all its own needs no cache.
    const each = (rows: Tensor, { row, length }: PlacedSegment) =>
      attention(rows, rowsOf(k, row, row + length), rowsOf(v, row, row + length), { scale });
    return attendSegments(q, segments, ({ start }) => start > 0, together, each);
  }
}
