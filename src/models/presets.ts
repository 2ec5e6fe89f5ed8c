/**
 * Configurations of the released models, as their official `config.json` has them (without keys that change
 * nothing). Sizes of the dense models are those that reproduce the published parameter counts.
 */
import type { Json } from "./config-reader.ts";

const shared = {
  hidden_act: "silu",
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
  attention_bias: false,
  attention_dropout: 0,
  initializer_range: 0.02,
  use_cache: true,
  torch_dtype: "bfloat16",
};

const llm = {
  ...shared,
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 102400,
  max_position_embeddings: 4096,
  rope_theta: 10000,
  rope_scaling: null,
  bos_token_id: 100000,
  eos_token_id: 100001,
};

const coder = {
  ...llm,
  vocab_size: 32256,
  max_position_embeddings: 16384,
  rope_theta: 100000,
  rope_scaling: { type: "linear", factor: 4 },
  bos_token_id: 32013,
  eos_token_id: 32014,
};

const moe = {
  ...shared,
  vocab_size: 102400,
  bos_token_id: 100000,
  eos_token_id: 100001,
  rope_theta: 10000,
  moe_layer_freq: 1,
  first_k_dense_replace: 1,
  n_shared_experts: 2,
  num_experts_per_tok: 6,
  norm_topk_prob: false,
  scoring_func: "softmax",
  aux_loss_alpha: 0.001,
  seq_aux: true,
};

const latent = {
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  max_position_embeddings: 163840,
};

const yarn = (mscale: number) => ({
  type: "yarn",
  factor: 40,
  original_max_position_embeddings: 4096,
  beta_fast: 32,
  beta_slow: 1,
  mscale,
  mscale_all_dim: mscale,
});

const heads = (count: number, keyValue = count) => ({
  num_attention_heads: count,
  num_key_value_heads: keyValue,
});

/** V2's published value, which happens to lie near the root of one half. */
// biome-ignore lint/suspicious/noApproximativeNumericConstant: the files say 0.707.
const v2Mscale = 0.707;

const v2 = { ...moe, ...latent, architectures: ["DeepseekV2ForCausalLM"], model_type: "deepseek_v2" };

/** Official configurations by name, ready for `parseConfig` and `createModel`. */
export const presets = {
  "deepseek-llm-7b": {
    ...llm,
    ...heads(32),
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 30,
  },
  "deepseek-llm-67b": {
    ...llm,
    ...heads(64, 8),
    hidden_size: 8192,
    intermediate_size: 22016,
    num_hidden_layers: 95,
  },
  "deepseek-coder-1.3b": {
    ...coder,
    ...heads(16),
    hidden_size: 2048,
    intermediate_size: 5504,
    num_hidden_layers: 24,
  },
  "deepseek-coder-5.7b-mqa": {
    ...coder,
    ...heads(32, 1),
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
  },
  "deepseek-coder-6.7b": {
    ...coder,
    ...heads(32),
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
  },
  "deepseek-coder-33b": {
    ...coder,
    ...heads(56, 8),
    hidden_size: 7168,
    intermediate_size: 19200,
    num_hidden_layers: 62,
  },
  "deepseek-moe-16b": {
    ...moe,
    ...heads(16),
    architectures: ["DeepseekForCausalLM"],
    model_type: "deepseek",
    hidden_size: 2048,
    intermediate_size: 10944,
    moe_intermediate_size: 1408,
    num_hidden_layers: 28,
    n_routed_experts: 64,
    max_position_embeddings: 4096,
    rope_scaling: null,
  },
  "deepseek-v2-lite": {
    ...v2,
    ...heads(16),
    hidden_size: 2048,
    intermediate_size: 10944,
    moe_intermediate_size: 1408,
    num_hidden_layers: 27,
    n_routed_experts: 64,
    q_lora_rank: null,
    topk_method: "greedy",
    n_group: 1,
    topk_group: 1,
    routed_scaling_factor: 1,
    rope_scaling: yarn(v2Mscale),
  },
  "deepseek-v2": {
    ...v2,
    ...heads(128),
    hidden_size: 5120,
    intermediate_size: 12288,
    moe_intermediate_size: 1536,
    num_hidden_layers: 60,
    n_routed_experts: 160,
    q_lora_rank: 1536,
    topk_method: "group_limited_greedy",
    n_group: 8,
    topk_group: 3,
    routed_scaling_factor: 16,
    rope_scaling: yarn(v2Mscale),
  },
  "deepseek-v3": {
    ...moe,
    ...latent,
    ...heads(128),
    architectures: ["DeepseekV3ForCausalLM"],
    model_type: "deepseek_v3",
    vocab_size: 129280,
    bos_token_id: 0,
    eos_token_id: 1,
    hidden_size: 7168,
    intermediate_size: 18432,
    moe_intermediate_size: 2048,
    num_hidden_layers: 61,
    num_nextn_predict_layers: 1,
    first_k_dense_replace: 3,
    n_routed_experts: 256,
    n_shared_experts: 1,
    num_experts_per_tok: 8,
    q_lora_rank: 1536,
    topk_method: "noaux_tc",
    scoring_func: "sigmoid",
    norm_topk_prob: true,
    n_group: 8,
    topk_group: 4,
    routed_scaling_factor: 2.5,
    rope_scaling: yarn(1),
    quantization_config: {
      quant_method: "fp8",
      fmt: "e4m3",
      activation_scheme: "dynamic",
      weight_block_size: [128, 128],
    },
  },
} satisfies Record<string, Json>;

export type PresetName = keyof typeof presets;
