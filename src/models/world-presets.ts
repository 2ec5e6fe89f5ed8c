/**
 * Configurations of the small models that learn the picture world (`data/world`): DeepSeek-VL with one tower and with two,
 * DeepSeek-VL2, Janus with its image tokenizer, and JanusFlow with the autoencoder in whose latents it draws. Their
 * `config.json` has the official layout, with sizes beside names where the official files only have names.
 */
import type { VaeConfig } from "../vision/vae.ts";
import type { Json } from "./config-reader.ts";
import { CLIP, HALF } from "./tower-parts.ts";

/** Ids of the world's vocabulary. */
const ids = { vocab_size: 128, pad_token_id: 0, bos_token_id: 1, eos_token_id: 2 };

const normalizing = ({ mean, std }: typeof CLIP) => ({ pixel_mean: [...mean], pixel_std: [...std] });

/** Views of 64 x 64 pixels in patches of 8. */
const siglip = {
  model_name: "siglip",
  image_size: 64,
  patch_size: 8,
  width: 192,
  layers: 6,
  heads: 3,
  mlp_ratio: 4,
};
const selected = { select_feature: "same", select_layer: -1 };

const language = {
  hidden_size: 256,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  max_position_embeddings: 1024,
  ...ids,
};

const llama = {
  ...language,
  model_type: "llama",
  num_key_value_heads: 4,
  intermediate_size: 704,
  tie_word_embeddings: false,
};

const aligner = (projector_type: string, input_dim = 192) => ({
  cls: "MlpProjector",
  model_type: "aligner",
  params: { projector_type, input_dim, n_embed: 256, depth: 2 },
});

/** Images of 64 x 64 pixels as 8 x 8 ids. */
const codes = { image_token_size: 512, n_embed: 8 };

/** One block before the language model and one after it, over 8 x 8 tokens. */
const uvit = {
  ...{ block_out_channels: [96], layers_in_middle: 2, hidden_size: 256 },
  ...{ use_bias: true, elementwise_affine: true, norm_eps: 1e-6 },
};

/** Sides of the tiled view in tiles: all with at most nine. */
const tiles = Array.from({ length: 81 }, (_, i) => [1 + (i % 9), 1 + Math.floor(i / 9)])
  .filter(([across, down]) => across * down <= 9)
  .sort(([a, b], [c, d]) => a * b - c * d || a - c);

export type WorldPresetName = "world-vl" | "world-vl-hybrid" | "world-vl2" | "world-janus" | "world-flow";

/**
 * The autoencoder of `world-flow`: images of 64 x 64 pixels as 16 x 16 latents. Their scaling factor is measured when it is
 * trained.
 */
export const worldVae: VaeConfig = {
  latentChannels: 4,
  widths: [32, 64, 64],
  blocks: 1,
  groups: 32,
  scalingFactor: 1,
};

export const worldPresets: Readonly<Record<WorldPresetName, Json>> = {
  "world-vl": {
    architectures: ["MultiModalityCausalLM"],
    model_type: "multi_modality",
    vision_config: { cls: "CLIPVisionTower", model_type: "vision", params: { ...siglip, ...selected } },
    aligner_config: aligner("mlp_gelu"),
    language_config: llama,
  },
  "world-vl-hybrid": {
    architectures: ["MultiModalityCausalLM"],
    model_type: "multi_modality",
    vision_config: {
      cls: "HybridVisionTower",
      model_type: "vision",
      params: {
        concat_type: "tuple",
        freeze_high: true,
        freeze_low: true,
        high_res_cfg: {
          ...{
            model_name: "sam",
            image_size: 192,
            patch_size: 6,
            width: 128,
            layers: 4,
            heads: 2,
            window_size: 7,
          },
          ...{
            global_attn_indexes: [1, 3],
            prompt_embed_dim: 64,
            downsample_channels: [128, 192],
            resize_to: 32,
          },
          ...{ output_dim: 192, ckpt_path: "", ...selected, ...normalizing(CLIP) },
        },
        low_res_cfg: { ...siglip, ...selected, output_dim: 192, ckpt_path: "", ...normalizing(HALF) },
      },
    },
    aligner_config: aligner("low_high_hybrid_split_mlp_gelu"),
    language_config: llama,
  },
  "world-vl2": {
    architectures: ["DeepseekVLV2ForCausalLM"],
    model_type: "deepseek_vl_v2",
    tile_tag: "2D",
    global_view_pos: "head",
    candidate_resolutions: tiles.map((sides) => sides.map((side) => 64 * side)),
    vision_config: { model_type: "vision", ...siglip },
    projector_config: { model_type: "mlp_projector", input_dim: 192, n_embed: 256 },
    language_config: {
      ...language,
      ...{ model_type: "deepseek_v2", num_key_value_heads: 4, q_lora_rank: null, kv_lora_rank: 64 },
      ...{ qk_nope_head_dim: 32, qk_rope_head_dim: 16, v_head_dim: 32, intermediate_size: 704 },
      ...{ moe_intermediate_size: 128, n_routed_experts: 8, num_experts_per_tok: 2, n_shared_experts: 1 },
      ...{
        first_k_dense_replace: 1,
        topk_method: "greedy",
        n_group: 1,
        topk_group: 1,
        norm_topk_prob: false,
      },
      ...{ scoring_func: "softmax", routed_scaling_factor: 1 },
    },
  },
  "world-janus": {
    architectures: ["MultiModalityCausalLM"],
    model_type: "multi_modality",
    vision_config: { cls: "CLIPVisionTower", model_type: "vision", params: { ...siglip, ...selected } },
    aligner_config: aligner("mlp_gelu"),
    gen_vision_config: {
      cls: "VQ-16",
      model_type: "gen_vision",
      params: {
        ...{ ...codes, ch: 32, encoder_ch_mult: [1, 1, 2, 2], decoder_ch_mult: [1, 1, 2, 2] },
        ...{ z_channels: 64, num_res_blocks: 1 },
      },
    },
    gen_aligner_config: { ...aligner("mlp_gelu", codes.n_embed), model_type: "gen_aligner" },
    gen_head_config: {
      cls: "vision_head",
      model_type: "gen_head",
      params: { n_embed: 256, image_token_embed: 256, image_token_size: codes.image_token_size },
    },
    language_config: llama,
  },
  "world-flow": {
    architectures: ["MultiModalityCausalLM"],
    model_type: "multi_modality",
    vision_und_enc_config: {
      cls: "CLIPVisionTower",
      model_type: "vision_und_enc",
      params: { ...siglip, ...selected },
    },
    vision_gen_enc_config: {
      cls: "ShallowUViTEncoder",
      model_type: "vision_gen_enc",
      params: { input_channels: worldVae.latentChannels, kernel_size: 2, stride: 2, padding: 0, ...uvit },
    },
    vision_gen_dec_config: {
      cls: "ShallowUViTDecoder",
      model_type: "vision_gen_dec",
      params: { in_channels: 96, out_channels: worldVae.latentChannels, upsamples: 1, ...uvit },
    },
    language_config: llama,
  },
};
