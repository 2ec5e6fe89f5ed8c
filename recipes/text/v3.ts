/** A DeepSeek-V3 shape that trains in minutes: what recipes about its parts have in common. */
import type { Settings, TextRecipe } from "./declaration.ts";

/** Width 64, 3 layers of which the first is dense, 1 shared and 16 routed experts of width 44, 4 of them for a token. */
export const SMALL_V3: Settings = {
  vocabSize: 1024,
  model: {
    ...{ model_type: "deepseek_v3", architectures: ["DeepseekV3ForCausalLM"], hidden_act: "silu" },
    ...{ hidden_size: 64, num_hidden_layers: 3, intermediate_size: 176, moe_intermediate_size: 44 },
    ...{ first_k_dense_replace: 1, moe_layer_freq: 1, n_shared_experts: 1, n_routed_experts: 16 },
    ...{ num_experts_per_tok: 4, n_group: 1, topk_group: 1, norm_topk_prob: true, scoring_func: "sigmoid" },
    ...{
      topk_method: "noaux_tc",
      routed_scaling_factor: 2.5,
      num_attention_heads: 2,
      num_key_value_heads: 2,
    },
    ...{ q_lora_rank: null, kv_lora_rank: 32, qk_nope_head_dim: 32, qk_rope_head_dim: 16, v_head_dim: 32 },
    ...{ num_nextn_predict_layers: 0, rms_norm_eps: 1e-6, rope_theta: 10000, rope_scaling: null },
    ...{ attention_bias: false, tie_word_embeddings: false, max_position_embeddings: 512 },
    ...{ bos_token_id: 0, eos_token_id: 1 },
  },
  data: { heldOut: 0.06, fimRate: 0, extensions: ["ts", "js"] },
  training: { sequenceLength: 128, learningRate: { peak: 4e-3, warmupSteps: 20, shape: "step" } },
};

/** The same, a little larger. */
export const LARGER_V3: Settings = {
  vocabSize: 4096,
  model: {
    ...{ hidden_size: 128, num_hidden_layers: 4, intermediate_size: 352, moe_intermediate_size: 88 },
    ...{ n_routed_experts: 32, num_attention_heads: 4, num_key_value_heads: 4, kv_lora_rank: 64 },
  },
  training: { sequenceLength: 256 },
};

/** A few steps of next to nothing. */
export const TINY_V3: Settings = {
  vocabSize: 320,
  model: {
    ...{ hidden_size: 32, num_hidden_layers: 2, intermediate_size: 64, moe_intermediate_size: 16 },
    ...{ n_routed_experts: 8, num_experts_per_tok: 2 },
  },
};

/** Text, lengths and seeds of recipes about parts of the small shape. */
export const V3_FORM = {
  ...{ corpus: "effect", batch: 16, tokens: 500_000, seeds: [1, 2, 3] },
  full: { tokens: 6_000_000, corpus: "babylon", settings: LARGER_V3 },
  small: { tokens: 60_000, settings: TINY_V3 },
} as const satisfies Partial<TextRecipe>;
