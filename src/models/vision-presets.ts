/**
 * Configurations of the released models that see, as their official `config.json` has them (without keys that change
 * nothing). Widths of DeepSeek-VL2's language models that no public listing has are those that reproduce the published counts.
 */
import type { Json } from "./config-reader.ts";
import { CLIP, HALF } from "./tower-parts.ts";

/** Of a tower that normalizes its images itself. */
const pixels = ({ mean, std }: typeof CLIP) => ({ pixel_mean: [...mean], pixel_std: [...std] });

const selected = { select_feature: "same", select_layer: -1 };
const siglip = { model_name: "siglip_large_patch16_384", image_size: 384, ...selected };
const llama = { model_type: "llama", max_position_embeddings: 16384, vocab_size: 102400 };

const vl = {
  architectures: ["MultiModalityCausalLM"],
  model_type: "multi_modality",
};

const aligner = (projector_type: string, n_embed: number) => ({
  cls: "MlpProjector",
  model_type: "aligner",
  params: { projector_type, input_dim: 1024, n_embed, depth: 2 },
});

/** Sides of the tiled view in tiles, in the order that decides ties. */
const tiles = [
  ...[
    [1, 1],
    [1, 2],
    [2, 1],
    [1, 3],
    [3, 1],
    [1, 4],
    [4, 1],
    [2, 2],
    [1, 5],
    [5, 1],
    [1, 6],
    [6, 1],
  ],
  ...[
    [2, 3],
    [3, 2],
    [1, 7],
    [7, 1],
    [1, 8],
    [8, 1],
    [2, 4],
    [4, 2],
    [1, 9],
    [9, 1],
    [3, 3],
  ],
];

const vl2 = (language: Json): Json & { readonly language_config: Json } => ({
  architectures: ["DeepseekVLV2ForCausalLM"],
  model_type: "deepseek_vl_v2",
  tile_tag: "2D",
  global_view_pos: "head",
  candidate_resolutions: tiles.map((sides) => sides.map((side) => 384 * side)),
  vision_config: {
    ...{ model_type: "vision", model_name: "siglip_so400m_patch14_384", image_size: 384, patch_size: 14 },
    ...{ width: 1152, layers: 27, mlp_ratio: 3.7362 },
  },
  projector_config: { model_type: "mlp_projector", n_embed: language.hidden_size },
  language_config: {
    ...{ model_type: "deepseek_v2", max_position_embeddings: 4096, first_k_dense_replace: 1 },
    ...{ n_shared_experts: 2, num_experts_per_tok: 6, n_group: 1, topk_group: 1, q_lora_rank: null },
    ...language,
  },
});

export type VisionPresetName =
  | "deepseek-vl-1.3b"
  | "deepseek-vl-7b"
  | "deepseek-vl2-tiny"
  | "deepseek-vl2-small"
  | "deepseek-vl2"
  | "janus-1.3b"
  | "janus-pro-1b"
  | "janus-pro-7b"
  | "janusflow-1.3b";

/** Janus-Pro is Janus with better training. */
const janus = (hidden: number, language: Json): Json => ({
  ...vl,
  vision_config: { cls: "CLIPVisionTower", model_type: "vision", params: siglip },
  aligner_config: aligner("mlp_gelu", hidden),
  gen_vision_config: {
    ...{ cls: "VQ-16", model_type: "gen_vision", params: { image_token_size: 16384, n_embed: 8 } },
  },
  gen_aligner_config: {
    ...{ cls: "MlpProjector", model_type: "gen_aligner" },
    params: { projector_type: "mlp_gelu", input_dim: 8, n_embed: hidden, depth: 2 },
  },
  gen_head_config: {
    ...{ cls: "vision_head", model_type: "gen_head" },
    params: { image_token_embed: hidden, image_token_size: 16384, n_embed: hidden },
  },
  language_config: { ...llama, ...language },
});

/** The language model of the small ones. */
const small = {
  ...{ num_hidden_layers: 24, hidden_size: 2048, intermediate_size: 5632 },
  ...{ num_attention_heads: 16, num_key_value_heads: 16 },
};

const uvit = {
  layers_in_middle: 2,
  hidden_size: 2048,
  use_bias: true,
  norm_eps: 1e-6,
  block_out_channels: [768],
};

export const visionPresets: Readonly<Record<VisionPresetName, Json>> = {
  "deepseek-vl-1.3b": {
    ...vl,
    vision_config: { cls: "CLIPVisionTower", model_type: "vision", params: siglip },
    aligner_config: aligner("mlp_gelu", 2048),
    language_config: {
      ...{ ...llama, num_hidden_layers: 24, hidden_size: 2048, intermediate_size: 5632 },
      ...{ num_attention_heads: 16, num_key_value_heads: 16 },
    },
  },
  "deepseek-vl-7b": {
    ...vl,
    vision_config: {
      cls: "HybridVisionTower",
      model_type: "vision",
      params: {
        concat_type: "tuple",
        freeze_high: true,
        freeze_low: true,
        high_res_cfg: {
          ...{ model_name: "sam_b_downsample", image_size: 1024, output_dim: 1024, ckpt_path: "" },
          ...{ ...selected, ...pixels(CLIP) },
        },
        low_res_cfg: { ...siglip, output_dim: 1024, ckpt_path: "", ...pixels(HALF) },
      },
    },
    aligner_config: aligner("low_high_hybrid_split_mlp_gelu", 4096),
    language_config: { ...llama, num_hidden_layers: 30 },
  },
  "deepseek-vl2-tiny": vl2({
    ...{ vocab_size: 129280, hidden_size: 1280, num_hidden_layers: 12, num_attention_heads: 10 },
    ...{ num_key_value_heads: 10, use_mla: false, kv_lora_rank: null, qk_nope_head_dim: 0 },
    ...{ qk_rope_head_dim: 0, v_head_dim: 0, intermediate_size: 6848, moe_intermediate_size: 896 },
    ...{ n_routed_experts: 64, topk_method: "greedy", bos_token_id: 0, eos_token_id: 1 },
  }),
  "deepseek-vl2-small": vl2({
    ...{ vocab_size: 102400, hidden_size: 2048, num_hidden_layers: 27, num_attention_heads: 16 },
    ...{ num_key_value_heads: 16, intermediate_size: 10944, moe_intermediate_size: 1408 },
    ...{ n_routed_experts: 64, topk_method: "greedy", bos_token_id: 100000, eos_token_id: 100001 },
  }),
  "deepseek-vl2": vl2({
    ...{ vocab_size: 129280, hidden_size: 2560, num_hidden_layers: 30, num_attention_heads: 32 },
    ...{ num_key_value_heads: 32, intermediate_size: 12288, moe_intermediate_size: 1536 },
    ...{ n_routed_experts: 72, topk_method: "noaux_tc", scoring_func: "sigmoid", norm_topk_prob: true },
    ...{ routed_scaling_factor: 2, bos_token_id: 0, eos_token_id: 1 },
  }),
  "janus-1.3b": janus(2048, small),
  "janus-pro-1b": janus(2048, small),
  "janus-pro-7b": janus(4096, { num_hidden_layers: 30 }),
  "janusflow-1.3b": {
    ...vl,
    vision_und_enc_config: { cls: "CLIPVisionTower", model_type: "vision_und_enc", params: siglip },
    vision_gen_enc_config: {
      ...{ cls: "ShallowUViTEncoder", model_type: "vision_gen_enc" },
      params: { input_channels: 4, kernel_size: 2, stride: 2, padding: 0, ...uvit },
    },
    vision_gen_dec_config: {
      ...{ cls: "ShallowUViTDecoder", model_type: "vision_gen_dec" },
      params: { in_channels: 768, out_channels: 4, upsamples: 1, ...uvit },
    },
    language_config: { ...llama, ...small },
  },
};
