/**
 * Multi-head, grouped-query and multi-query attention with half-split rotary embedding, as in the Llama class that
 * DeepSeek LLM, Coder, DeepSeekMoE and V2 with `use_mla: false` use. Query, key and value projections are one matrix.
 */
import { attention } from "../tensor/ops/attention.ts";
import { linear } from "../tensor/ops/linear.ts";
import { reshape, split } from "../tensor/ops/reshape.ts";
import { rotary } from "../tensor/ops/rotary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LayerCache } from "./cache.ts";
import type { ForwardContext } from "./context.ts";
import { fused, type GroupSpec, matrix, type Parameters } from "./parameters.ts";

export interface MhaConfig {
  readonly kind: "mha";
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

/** Parameters of one layer; `prefix` ends with `self_attn.`. */
export function mhaSpecs(prefix: string, config: MhaConfig, hidden: number): GroupSpec[] {
  const { heads, keyValueHeads, headDim } = config;
  return [
    fused(`${prefix}qkv_proj`, hidden, [
      [`${prefix}q_proj.weight`, heads * headDim],
      [`${prefix}k_proj.weight`, keyValueHeads * headDim],
      [`${prefix}v_proj.weight`, keyValueHeads * headDim],
    ]),
    matrix(`${prefix}o_proj.weight`, hidden, heads * headDim),
  ];
}

/** Attention of one layer over `x: [B, T, d]` (already normed), with the residual left to the caller. */
export class MhaAttention {
  readonly #config: MhaConfig;
  readonly #qkv: Tensor;
  readonly #output: Tensor;

  constructor(parameters: Parameters, prefix: string, config: MhaConfig) {
    this.#config = config;
    this.#qkv = parameters.group(`${prefix}qkv_proj`).tensor;
    this.#output = parameters.group(`${prefix}o_proj.weight`).tensor;
  }

  forward(x: Tensor, context: ForwardContext, cache: LayerCache | null): Tensor {
    const { heads: H, keyValueHeads: G, headDim: D } = this.#config;
    const { batch: B, tokens: T, tables, positions, lengths, start } = context;
    const turn = { start: 0, pairing: "half" as const };
    const [queries, keys, values] = split(linear(x, this.#qkv), [H * D, G * D, G * D]); // [B, T, (H | G | G) D]
    const q = rotary(reshape(queries, [B, T, H, D]), tables, positions, turn); // [B, T, H, D]
    const k = rotary(reshape(keys, [B, T, G, D]), tables, positions, turn); // [B, T, G, D]
    const v = reshape(values, [B, T, G, D]); // [B, T, G, D]
    const scale = D ** -0.5;
    cache?.write(0, k, start);
    cache?.write(1, v, start);
    const mixed =
      cache && lengths && start > 0
        ? attention(q, cache.streams[0].view([B, -1, G, D]), cache.streams[1].view([B, -1, G, D]), {
            scale,
            lengths,
          })
        : attention(q, k, v, { scale }); // [B, T, H, D]
    return linear(reshape(mixed, [B, T, H * D]), this.#output); // [B, T, d]
  }
}
