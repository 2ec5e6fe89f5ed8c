/** Tiny configurations of every family, for tests. */
import type { Json } from "./config-reader.ts";

const common = {
  vocab_size: 61,
  hidden_size: 24,
  intermediate_size: 40,
  max_position_embeddings: 256,
  bos_token_id: 0,
  eos_token_id: 1,
};

const yarn = {
  type: "yarn",
  factor: 8,
  original_max_position_embeddings: 16,
  beta_fast: 4,
  beta_slow: 0.5,
  mscale: 1,
  mscale_all_dim: 0.7,
};

const experts = {
  first_k_dense_replace: 1,
  n_shared_experts: 1,
  n_routed_experts: 8,
  num_experts_per_tok: 3,
  moe_intermediate_size: 8,
};

const latent = {
  num_attention_heads: 3,
  kv_lora_rank: 12,
  qk_nope_head_dim: 6,
  qk_rope_head_dim: 8,
  v_head_dim: 5,
  rope_scaling: yarn,
};

/** `config.json` of small models, by what they exercise. */
export const tinyConfigs = {
  llama: {
    ...common,
    model_type: "llama",
    num_hidden_layers: 2,
    num_attention_heads: 6,
    num_key_value_heads: 2,
  },
  qwen2: {
    ...common,
    model_type: "qwen2",
    num_hidden_layers: 2,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    use_sliding_window: false,
  },
  deepseek: { ...common, ...experts, model_type: "deepseek", num_hidden_layers: 2, num_attention_heads: 3 },
  v2Lite: {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v2",
    num_hidden_layers: 2,
    q_lora_rank: null,
  },
  v2: {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v2",
    num_hidden_layers: 3,
    q_lora_rank: 10,
    topk_method: "group_limited_greedy",
    n_group: 4,
    topk_group: 2,
    routed_scaling_factor: 4,
  },
  v3: {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v3",
    num_hidden_layers: 2,
    q_lora_rank: 10,
    n_group: 4,
    topk_group: 2,
    num_nextn_predict_layers: 1,
  },
} satisfies Record<string, Json>;
