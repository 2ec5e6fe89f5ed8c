/** Small random models for tests and benchmarks of generation. */
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { Random } from "../tensor/random.ts";
import type { Device } from "../tensor/tensor.ts";

export interface SmallModelOptions {
  readonly vocabulary?: number;
  readonly hidden?: number;
  readonly layers?: number;
  readonly seed?: number;
  readonly maxPositions?: number;
  readonly mtpLayers?: number;
  /** Standard deviation of the weights; default 0.25, which makes peaked distributions at the default size. */
  readonly std?: number;
  /** Attention heads; default one for 64 channels, at least 2. */
  readonly heads?: number;
  /** Storage of matrices; default f32. */
  readonly dtype?: "f32" | "bf16";
}

/** A random DeepSeek-V3: latent attention, one dense layer, experts, one module for multi-token prediction. */
export function smallV3(device: Device, options: SmallModelOptions = {}): CausalLM {
  const { vocabulary = 32, hidden = 32, layers = 2, seed = 1, std = 0.25, dtype } = options;
  const heads = options.heads ?? Math.max(2, hidden / 64);
  const config = {
    model_type: "deepseek_v3",
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: 3 * hidden,
    moe_intermediate_size: hidden / 2,
    num_hidden_layers: layers,
    num_nextn_predict_layers: options.mtpLayers ?? 1,
    first_k_dense_replace: 1,
    n_routed_experts: 8,
    n_shared_experts: 1,
    num_experts_per_tok: 2,
    n_group: 2,
    topk_group: 1,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    q_lora_rank: hidden / 2,
    kv_lora_rank: Math.max(16, hidden / 4),
    qk_nope_head_dim: Math.max(8, hidden / 8),
    qk_rope_head_dim: Math.max(8, hidden / 16),
    v_head_dim: Math.max(8, hidden / 8),
    max_position_embeddings: options.maxPositions ?? 4096,
    bos_token_id: 0,
    eos_token_id: 1,
  };
  return createModel(config, device, { seed, std, dtype });
}

/**
 * Makes every next token a fixed function of the last one, for the main model and its module alike, so that every
 * draft is right: blocks add nothing to the embedding, and the head's row `successor(t)` is the embedding of `t`.
 */
export function makePredictable(model: CausalLM, seed = 1): void {
  const { parameters, config } = model;
  const { vocabSize, hiddenSize: d } = config;
  const random = new Random(seed);
  for (const { key, tensor } of parameters.groups()) {
    if (/(o_proj\.weight|down_proj(\.weight)?)$/.test(key) && !key.includes("self_attn.down_proj")) {
      tensor.set(new Float32Array(tensor.size));
    }
  }
  const rows = Float32Array.from({ length: vocabSize * d }, () => random.normal());
  const order = random.shuffle(Array.from({ length: vocabSize }, (_, i) => i));
  parameters.group("model.embed_tokens.weight").tensor.set(rows);
  const head = parameters.group("lm_head.weight").tensor;
  order.forEach((t, i) => {
    head.set(rows.subarray(t * d, (t + 1) * d), order[(i + 1) % vocabSize] * d);
  });
  const projection = new Float32Array(2 * d * d);
  for (let i = 0; i < d; i++) projection[i * 2 * d + i] = 1;
  parameters.group(`model.layers.${config.layers}.eh_proj.weight`).tensor.set(projection);
}
