/**
 * `config.json` of DeepSeek-VL as transformers has it: `deepseek_vl` (1.3B) and `deepseek_vl_hybrid` (7B). The numbers are
 * those of the originals under other names (`port-names.ts`). `tie_word_embeddings` at the top of its files means
 * nothing: head and embedding are two tensors.
 */
import type { Activation } from "../../tensor/ops/gelu.ts";
import {
  type HybridConfig,
  SAM_RESIZED,
  type SamConfig,
  type SiglipConfig,
} from "../../vision/tower-config.ts";
import { languageConfig, toConfigJson } from "../config.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { WeightDtype } from "../language-config.ts";
import { readSide } from "../processor-config.ts";
import {
  CLIP,
  checkDivides,
  checkSam,
  checkSides,
  HALF,
  readGlobalLayers,
  readLayers,
} from "../tower-parts.ts";
import type { VisionArchitecture, VisionLanguageConfig } from "../vision-config.ts";
import { deepseekVl } from "./config.ts";

/** Names of the activations in transformers. */
const activations = { gelu: "gelu", gelu_pytorch_tanh: "gelu_tanh" } as const;

function readSiglip(reader: ConfigReader): SiglipConfig {
  reader.only("model_type", "siglip_vision_model");
  reader.only("num_channels", 3);
  reader.only("layer_norm_eps", 1e-6);
  reader.only("attention_dropout", 0);
  const width = reader.integer("hidden_size", 768);
  const names = Object.keys(activations) as (keyof typeof activations)[];
  const tower: SiglipConfig = {
    kind: "siglip",
    imageSize: readSide(reader, "image_size", 224),
    patchSize: reader.integer("patch_size", 16),
    width,
    layers: readLayers(reader, "num_hidden_layers", 12),
    heads: reader.integer("num_attention_heads", 12),
    mlpWidth: reader.integer("intermediate_size", 3072),
    activation: activations[reader.oneOf("hidden_act", names, "gelu_pytorch_tanh")],
    pool: reader.boolean("vision_use_head", true),
  };
  checkDivides(reader, tower, "num_attention_heads");
  return tower;
}

function readSam(reader: ConfigReader): SamConfig {
  reader.only("model_type", "sam_vision_model");
  reader.only("num_channels", 3);
  reader.only("layer_norm_eps", 1e-6);
  reader.only("attention_dropout", 0);
  reader.only("hidden_act", "gelu");
  for (const key of ["qkv_bias", "use_abs_pos", "use_rel_pos"]) reader.only(key, true);
  const width = reader.integer("hidden_size", 768);
  const layers = readLayers(reader, "num_hidden_layers", 12);
  const neckWidth = reader.integer("output_channels", 256);
  const sam: SamConfig = {
    imageSize: readSide(reader, "image_size", 1024),
    patchSize: reader.integer("patch_size", 16),
    width,
    layers,
    heads: reader.integer("num_attention_heads", 12),
    mlpWidth: reader.integer("mlp_dim", Math.trunc(width * reader.number("mlp_ratio", 4, 0))),
    windowSize: reader.integer("window_size", 14),
    globalLayers: readGlobalLayers(reader, layers, [2, 5, 8, 11]),
    neckWidth,
    outputWidths: [2 * neckWidth, 4 * neckWidth],
    resizedSide: SAM_RESIZED,
  };
  checkSam(reader, sam, "num_attention_heads");
  return sam;
}

const needed = (reader: ConfigReader, key: string): ConfigReader =>
  reader.section(key) ?? reader.refuse(key, "an object");

function readTower(reader: ConfigReader, hybrid: boolean): SiglipConfig | HybridConfig {
  const section = needed(reader, "vision_config");
  const low = readSiglip(section);
  if (!hybrid) return low;
  const high = readSam(needed(reader, "high_res_vision_config"));
  if (low.width !== high.outputWidths[1]) {
    section.refuse("hidden_size", `4 times output_channels of SAM, ${high.outputWidths[1]}`);
  }
  checkSides(section, low, high);
  return { kind: "hybrid", high, highPixels: CLIP, low, lowPixels: HALF, norms: false };
}

function parse(reader: ConfigReader, modelType: "deepseek_vl" | "deepseek_vl_hybrid"): VisionLanguageConfig {
  const section = needed(reader, "text_config");
  const language = languageConfig(section, "llama");
  const hybrid = modelType === "deepseek_vl_hybrid";
  const tower = readTower(reader, hybrid);
  const inputs = tower.kind === "siglip" ? tower.width : tower.low.width;
  const outputs = language.hiddenSize;
  if (hybrid && outputs % 2 !== 0) section.refuse("hidden_size", "an even number", outputs);
  return {
    modelType,
    tower,
    projector: hybrid
      ? { kind: "low_high_hybrid_split_mlp_gelu", inputs, outputs, depth: 2 }
      : { kind: "mlp_gelu", inputs, outputs, depth: 2, pooled: false },
    language,
    tiling: null,
    generation: null,
    imageTokenId: reader.optionalInteger("image_token_id"),
  };
}

const nameOf = (activation: Activation): string =>
  Object.entries(activations).find(([, each]) => each === activation)![0];

function writeSiglip(tower: SiglipConfig): Json {
  return {
    ...{ model_type: "siglip_vision_model", num_channels: 3, layer_norm_eps: 1e-6, attention_dropout: 0 },
    ...{ hidden_size: tower.width, intermediate_size: tower.mlpWidth, num_hidden_layers: tower.layers },
    ...{ num_attention_heads: tower.heads, image_size: tower.imageSize, patch_size: tower.patchSize },
    ...{ hidden_act: nameOf(tower.activation), vision_use_head: tower.pool },
  };
}

function writeSam(sam: SamConfig): Json {
  return {
    ...{ model_type: "sam_vision_model", num_channels: 3, layer_norm_eps: 1e-6, attention_dropout: 0 },
    ...{ hidden_size: sam.width, mlp_dim: sam.mlpWidth, mlp_ratio: sam.mlpWidth / sam.width },
    ...{ num_hidden_layers: sam.layers, num_attention_heads: sam.heads, hidden_act: "gelu" },
    ...{ image_size: sam.imageSize, patch_size: sam.patchSize, window_size: sam.windowSize },
    ...{ global_attn_indexes: [...sam.globalLayers], output_channels: sam.neckWidth },
    ...{ qkv_bias: true, use_abs_pos: true, use_rel_pos: true },
  };
}

function write({ tower, language, modelType, imageTokenId }: VisionLanguageConfig, dtype: WeightDtype): Json {
  const className = modelType === "deepseek_vl" ? "DeepseekVL" : "DeepseekVLHybrid";
  return {
    architectures: [`${className}ForConditionalGeneration`],
    model_type: modelType,
    torch_dtype: dtype === "fp8" ? "bfloat16" : dtype,
    ...(imageTokenId !== null && { image_token_id: imageTokenId }),
    tie_word_embeddings: false,
    text_config: toConfigJson(language, dtype),
    vision_config: writeSiglip(tower.kind === "siglip" ? tower : tower.low),
    ...(tower.kind === "hybrid" && { high_res_vision_config: writeSam(tower.high) }),
  };
}

const port = (modelType: "deepseek_vl" | "deepseek_vl_hybrid"): VisionArchitecture => ({
  modelType,
  generation: null,
  parts: deepseekVl.parts,
  parse: (reader) => parse(reader, modelType),
  write,
});

export const deepseekVlPort = port("deepseek_vl");
export const deepseekVlHybridPort = port("deepseek_vl_hybrid");
