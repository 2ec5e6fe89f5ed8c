/** Small checkpoints with random weights that speak the picture world's vocabulary, for tests of all that images pass through. */
import { memoryFolder, memoryFolderSink } from "../../checkpoint/byte-source.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { vaeEntries } from "../../checkpoint/vae.ts";
import { visionEntries } from "../../checkpoint/vision-model.ts";
import { vaeConfigJson } from "../../models/vae-config.ts";
import { parseVisionConfig } from "../../models/vision-architectures.ts";
import { VisionLanguageModel } from "../../models/vision-language.ts";
import { allocateModule } from "../../nn/scope.ts";
import { Random } from "../../tensor/random.ts";
import type { Device } from "../../tensor/tensor.ts";
import { VaeModel } from "../../vision/vae.ts";
import { WORLD_PADDED_VOCABULARY, worldTokenizer } from "./vocabulary.ts";

const SIDE = 32;
const WIDTH = 32;

const tower = { image_size: SIDE, patch_size: 8, width: 24, layers: 2, heads: 3, mlp_ratio: 2 };
const projector = { input_dim: 24, n_embed: WIDTH, depth: 2 };
const language = {
  vocab_size: WORLD_PADDED_VOCABULARY,
  hidden_size: WIDTH,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 1024,
  bos_token_id: 1,
  eos_token_id: 2,
};
const resolutions = [
  [1, 1],
  [1, 2],
  [2, 1],
  [1, 3],
  [3, 1],
  [2, 2],
].map((pair) => pair.map((n) => n * SIDE));

/** Files of what DeepSeek-VL, Janus and JanusFlow see with. */
const canvasFiles = {
  "preprocessor_config.json": {
    image_processor_type: "VLMImageProcessor",
    ...{ image_size: SIDE, min_size: 8, do_normalize: true },
    ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], rescale_factor: 1 / 255 },
  },
  "processor_config.json": {
    processor_class: "VLChatProcessor",
    ...{ image_tag: "<image_placeholder>", num_image_tokens: 16, sft_format: "deepseek" },
    ...{ add_special_token: false, mask_prompt: true, ignore_id: -100 },
  },
};

const clip = {
  ...{ cls: "CLIPVisionTower", model_type: "vision" },
  params: { model_name: "siglip_world", ...tower, select_feature: "same", select_layer: -1 },
};
const aligner = {
  ...{ cls: "MlpProjector", model_type: "aligner" },
  params: { projector_type: "mlp_gelu", ...projector },
};
/** Of both parts of JanusFlow that draw. */
const uvit = {
  ...{ block_out_channels: [24], layers_in_middle: 1, hidden_size: WIDTH, use_bias: true },
  ...{ elementwise_affine: true, norm_eps: 1e-6, use_mid_block: true },
};

const kinds = {
  janus: {
    config: {
      model_type: "multi_modality",
      vision_config: clip,
      aligner_config: aligner,
      gen_vision_config: {
        ...{ cls: "VQ-16", model_type: "gen_vision" },
        params: {
          ...{ image_token_size: 48, n_embed: 4, ch: 32, z_channels: 32, num_res_blocks: 1 },
          ...{ encoder_ch_mult: [1, 1, 1, 1], decoder_ch_mult: [1, 1, 1, 1] },
        },
      },
      gen_aligner_config: {
        ...{ cls: "MlpProjector", model_type: "gen_aligner" },
        params: { projector_type: "mlp_gelu", input_dim: 4, n_embed: WIDTH, depth: 2 },
      },
      gen_head_config: {
        ...{ cls: "vision_head", model_type: "gen_head" },
        params: { image_token_embed: WIDTH, image_token_size: 48, n_embed: WIDTH },
      },
      language_config: { model_type: "llama", ...language },
    },
    image: "<image_placeholder>" as const,
    files: canvasFiles,
  },
  janusflow: {
    config: {
      model_type: "multi_modality",
      vision_und_enc_config: { ...clip, model_type: "vision_und_enc" },
      vision_gen_enc_config: {
        ...{ cls: "ShallowUViTEncoder", model_type: "vision_gen_enc" },
        params: { input_channels: 4, kernel_size: 2, stride: 2, padding: 0, ...uvit },
      },
      vision_gen_dec_config: {
        ...{ cls: "ShallowUViTDecoder", model_type: "vision_gen_dec" },
        params: { in_channels: 24, out_channels: 4, upsamples: 1, ...uvit },
      },
      language_config: { model_type: "llama", ...language },
    },
    image: "<image_placeholder>" as const,
    files: canvasFiles,
  },
  vl: {
    config: {
      model_type: "multi_modality",
      vision_config: clip,
      aligner_config: aligner,
      language_config: { model_type: "llama", ...language },
    },
    image: "<image_placeholder>" as const,
    files: canvasFiles,
  },
  vl2: {
    config: {
      ...{ model_type: "deepseek_vl_v2", tile_tag: "2D", global_view_pos: "head" },
      candidate_resolutions: resolutions,
      vision_config: { model_type: "vision", model_name: "siglip_world", ...tower },
      projector_config: {
        ...{ model_type: "mlp_projector", projector_type: "downsample_mlp_gelu", ...projector },
        ...{ mlp_ratio: 1, downsample_ratio: 2, token_pooling: false },
      },
      language_config: {
        ...{ model_type: "deepseek_v2", ...language, moe_intermediate_size: 16, first_k_dense_replace: 1 },
        ...{ n_routed_experts: 4, n_shared_experts: 1, num_experts_per_tok: 2, n_group: 1, topk_group: 1 },
        ...{ q_lora_rank: null, kv_lora_rank: 16, qk_nope_head_dim: 8, qk_rope_head_dim: 4, v_head_dim: 8 },
        ...{ topk_method: "greedy", use_mla: true },
      },
    },
    image: "<image>" as const,
    files: {
      "processor_config.json": {
        processor_class: "DeepseekVLV2Processor",
        candidate_resolutions: resolutions,
        ...{ patch_size: 8, downsample_ratio: 2, normalize: true, image_token: "<image>" },
        ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
        ...{ add_special_token: false, sft_format: "deepseek", mask_prompt: true, ignore_id: -100 },
      },
    },
  },
};

/** The files of an autoencoder that `janusflow` draws 32 x 32 pixels with, by name. */
export async function worldVaeFiles(
  device: Device,
  { seed = 2, std = 0.3 } = {},
): Promise<Map<string, Uint8Array>> {
  const config = { latentChannels: 4, widths: [8, 8, 8], blocks: 1, groups: 4, scalingFactor: 0.13025 };
  using vae = allocateModule(device, "f32", (scope) => new VaeModel(scope, config));
  vae.parameters.initialize(new Random(seed), std);
  const written = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(written), vaeEntries(vae), { config: vaeConfigJson(config) });
  const weights = written.get("model.safetensors")!;
  return new Map([
    ["config.json", written.get("config.json")!],
    ["diffusion_pytorch_model.safetensors", weights],
  ]);
}

/**
 * The files of a checkpoint by name; of `janusflow` its autoencoder too, in `vae/`. Side of a view, and of what is drawn: 32
 * pixels. 16 tokens a view, 2 x 2 in `vl2`.
 */
export async function worldCheckpoint(
  kind: keyof typeof kinds,
  device: Device,
  { seed = 1, std = 0.25 } = {},
): Promise<Map<string, Uint8Array>> {
  const { config, image, files } = kinds[kind];
  const parsed = parseVisionConfig(config);
  using model = allocateModule(device, "f32", (scope) => new VisionLanguageModel(scope, parsed));
  model.parameters.initialize(new Random(seed), std);
  const { tokenizer, config: tokenizerConfig } = worldTokenizer({ image });
  const json = { "tokenizer.json": tokenizer, "tokenizer_config.json": tokenizerConfig, ...files };
  const written = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(written), visionEntries(model), {
    config,
    files: Object.fromEntries(Object.entries(json).map(([name, value]) => [name, JSON.stringify(value)])),
  });
  if (kind === "janusflow") {
    for (const [name, bytes] of await worldVaeFiles(device)) written.set(`vae/${name}`, bytes);
  }
  return written;
}

/** The same as a folder to load from. */
export async function worldFolder(...args: Parameters<typeof worldCheckpoint>) {
  return memoryFolder(await worldCheckpoint(...args));
}
