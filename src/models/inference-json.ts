/**
 * The other official spelling of a configuration: `inference/configs/*.json` of the DeepSeek-V3 repository, which
 * also describe V2 and V2-Lite. Keys and defaults are those of `ModelArgs` in `inference/model.py`. Its script drops
 * the multi-token-prediction layer, and so does this.
 */
import { ConfigReader, type Json } from "./config-reader.ts";

/** Whether `json` is in this spelling rather than a `config.json`. */
export function isInferenceJson(json: unknown): boolean {
  return (
    json !== null &&
    typeof json === "object" &&
    "dim" in json &&
    "n_layers" in json &&
    !("model_type" in json)
  );
}

/** The same configuration as a `config.json`. @throws ConfigError */
export function fromInferenceJson(json: unknown): Json {
  const reader = new ConfigReader(json, "inference configuration");
  const scoring = reader.oneOf("score_func", ["softmax", "sigmoid"], "softmax");
  const sigmoid = scoring === "sigmoid";
  const groups = reader.integer("n_expert_groups", 1);
  const queryRank = reader.integer("q_lora_rank", 0, 0);
  const heads = reader.integer("n_heads", 16);
  const context = reader.integer("original_seq_len", 4096);
  const factor = reader.number("rope_factor", 40, 0);
  const mscale = reader.number("mscale", 1);
  const dtype = reader.oneOf("dtype", ["bf16", "fp8"], "bf16");
  return {
    model_type: sigmoid ? "deepseek_v3" : "deepseek_v2",
    vocab_size: reader.integer("vocab_size", 102400),
    hidden_size: reader.integer("dim", 2048),
    intermediate_size: reader.integer("inter_dim", 10944),
    moe_intermediate_size: reader.integer("moe_inter_dim", 1408),
    num_hidden_layers: reader.integer("n_layers", 27),
    first_k_dense_replace: reader.integer("n_dense_layers", 1, 0),
    num_attention_heads: heads,
    num_key_value_heads: heads,
    n_routed_experts: reader.integer("n_routed_experts", 64),
    n_shared_experts: reader.integer("n_shared_experts", 2, 0),
    num_experts_per_tok: reader.integer("n_activated_experts", 6),
    n_group: groups,
    topk_group: reader.integer("n_limited_groups", 1),
    topk_method: sigmoid ? "noaux_tc" : groups > 1 ? "group_limited_greedy" : "greedy",
    scoring_func: scoring,
    norm_topk_prob: sigmoid,
    routed_scaling_factor: reader.number("route_scale", 1),
    q_lora_rank: queryRank === 0 ? null : queryRank,
    kv_lora_rank: reader.integer("kv_lora_rank", 512),
    qk_nope_head_dim: reader.integer("qk_nope_head_dim", 128),
    qk_rope_head_dim: reader.integer("qk_rope_head_dim", 64),
    v_head_dim: reader.integer("v_head_dim", 128),
    max_position_embeddings: Math.round(context * factor),
    rope_theta: reader.number("rope_theta", 10000, 0),
    rope_scaling: {
      type: "yarn",
      factor,
      original_max_position_embeddings: context,
      beta_fast: reader.number("beta_fast", 32, 0),
      beta_slow: reader.number("beta_slow", 1, 0),
      mscale,
      mscale_all_dim: mscale,
    },
    num_nextn_predict_layers: 0,
    ...(dtype === "fp8" && {
      quantization_config: { quant_method: "fp8", fmt: "e4m3", weight_block_size: [128, 128] },
    }),
  };
}
