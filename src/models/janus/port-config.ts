/**
 * `config.json` of Janus as transformers has it (`janus`). The numbers are the original's under other names (`port-names.ts`).
 * `tie_word_embeddings` at the top of its files means nothing: head and embedding are two tensors.
 */
import type { SiglipConfig } from "../../vision/tower-config.ts";
import { gridSide } from "../../vision/tower-config.ts";
import type { VqConfig } from "../../vision/vq.ts";
import { languageConfig, toConfigJson } from "../config.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import { deepseekVl, needed } from "../deepseek_vl/config.ts";
import type { WeightDtype } from "../language-config.ts";
import { readSide } from "../processor-config.ts";
import { checkDivides, readLayers } from "../tower-parts.ts";
import type { CodeGenerationConfig, VisionArchitecture, VisionLanguageConfig } from "../vision-config.ts";
import { readVq } from "./config.ts";

const vqKeys = {
  ...{ codes: "num_embeddings", codeWidth: "embed_dim", channels: "base_channels" },
  ...{ encoder: "channel_multiplier", decoder: "channel_multiplier" },
  ...{ latent: "latent_channels", blocks: "num_res_blocks" },
} as const;

function readTower(reader: ConfigReader): SiglipConfig {
  reader.only("model_type", "janus_vision_model");
  reader.only("num_channels", 3);
  reader.only("layer_norm_eps", 1e-6);
  reader.only("attention_dropout", 0);
  reader.only("attention_bias", true);
  reader.only("use_qk_norm", false);
  reader.only("hidden_act", "gelu");
  const width = reader.integer("hidden_size", 1024);
  const tower: SiglipConfig = {
    kind: "siglip",
    imageSize: readSide(reader, "image_size", 384),
    patchSize: reader.integer("patch_size", 16),
    width,
    layers: readLayers(reader, "num_hidden_layers", 24),
    heads: reader.integer("num_attention_heads", 16),
    mlpWidth: Math.trunc(width * reader.number("mlp_ratio", 4, 0)),
    activation: "gelu",
    pool: false,
  };
  if (tower.mlpWidth < 1) reader.refuse("mlp_ratio", "an inner width of at least 1");
  checkDivides(reader, tower, "num_attention_heads");
  return tower;
}

function parse(reader: ConfigReader): VisionLanguageConfig {
  const language = languageConfig(needed(reader, "text_config"), "llama");
  const section = needed(reader, "vision_config");
  const tower = readTower(section);
  section.only("projection_dim", language.hiddenSize);
  const outputs = language.hiddenSize;
  const vqSection = needed(reader, "vq_config");
  vqSection.only("hidden_act", "gelu");
  vqSection.only("projection_dim", language.hiddenSize);
  const depth = readLayers(section, "depth", 2);
  return {
    modelType: "janus",
    tower,
    projector: { kind: "mlp_gelu", inputs: tower.width, outputs, depth, pooled: false },
    language,
    tiling: null,
    generation: {
      kind: "codes",
      vq: readVq(vqSection, vqKeys),
      alignerDepth: readLayers(vqSection, "num_hidden_layers", 2),
      headWidth: vqSection.integer("image_token_embed_dim", 2048),
    },
    imageTokenId: reader.optionalInteger("image_token_id"),
  };
}

function writeVq(vq: VqConfig): Json {
  return {
    ...{ embed_dim: vq.codeWidth, num_embeddings: vq.codes, latent_channels: vq.latentChannels },
    ...{ base_channels: vq.channels, channel_multiplier: [...vq.encoderFactors], num_res_blocks: vq.blocks },
  };
}

function write(config: VisionLanguageConfig, dtype: WeightDtype): Json {
  const { language, imageTokenId, projector } = config;
  const tower = config.tower as SiglipConfig;
  const { vq, alignerDepth, headWidth } = config.generation as CodeGenerationConfig;
  const side = gridSide(tower);
  return {
    architectures: ["JanusForConditionalGeneration"],
    model_type: "janus",
    torch_dtype: dtype === "fp8" ? "bfloat16" : dtype,
    ...(imageTokenId !== null && { image_token_id: imageTokenId }),
    tie_word_embeddings: false,
    text_config: toConfigJson(language, dtype),
    vision_config: {
      ...{ model_type: "janus_vision_model", hidden_size: tower.width, num_hidden_layers: tower.layers },
      ...{ num_attention_heads: tower.heads, image_size: tower.imageSize, patch_size: tower.patchSize },
      ...{ mlp_ratio: tower.mlpWidth / tower.width, hidden_act: "gelu", projection_dim: language.hiddenSize },
      ...{ depth: "depth" in projector ? projector.depth : 1, num_image_tokens: side ** 2 },
    },
    vq_config: {
      ...{
        model_type: "janus_vqgan",
        ...writeVq(vq),
        num_patches: side,
        projection_dim: language.hiddenSize,
      },
      ...{ num_hidden_layers: alignerDepth, image_token_embed_dim: headWidth, hidden_act: "gelu" },
    },
  };
}

export const janusPort: VisionArchitecture = {
  modelType: "janus",
  generation: "codes",
  parts: deepseekVl.parts,
  parse,
  write,
};
