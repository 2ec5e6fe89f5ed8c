/**
 * `config.json` of DeepSeek-VL2 (`model_type` deepseek_vl_v2): SigLIP on tiles, a projector that joins tokens, and a
 * DeepSeekMoE model with latent or plain attention.
 */
import { gridSide, type ProjectorConfig, type SiglipConfig, towerWidth } from "../../vision/tower-config.ts";
import { languageConfig, toConfigJson } from "../config.ts";
import { ConfigReader, type Json } from "../config-reader.ts";
import type { WeightDtype } from "../language-config.ts";
import { checkWidths, readLayers, readSiglip, writeSiglip } from "../tower-parts.ts";
import type { VisionArchitecture, VisionLanguageConfig } from "../vision-config.ts";
import { readResolutions } from "./processor.ts";

/** What a section that is missing stands for: the defaults of its class. */
const section = (reader: ConfigReader, key: string) =>
  reader.section(key) ?? new ConfigReader({}, `${reader.where}: ${key}`);

/**
 * The projector alone; `x` and the language model's widths are compared with it by `parse`. @throws ConfigError
 */
export function readProjector(reader: ConfigReader): ProjectorConfig {
  reader.only("model_type", "mlp_projector");
  const kind = reader.oneOf(
    "projector_type",
    ["identity", "linear", "mlp_gelu", "downsample_mlp_gelu"],
    "downsample_mlp_gelu",
  );
  const inputs = reader.integer("input_dim", 1152);
  const outputs = reader.integer("n_embed", 2048);
  const depth = readLayers(reader, "depth", 2);
  const mlpRatio = reader.integer("mlp_ratio", 1);
  const ratio = reader.integer("downsample_ratio", 2);
  const pooled = reader.boolean("token_pooling", false);
  if (kind === "downsample_mlp_gelu") {
    if (pooled) reader.refuse("token_pooling", "false, since downsample_mlp_gelu joins tokens itself");
    if (depth < 2) reader.refuse("depth", "at least 2");
    return { kind, inputs, outputs, depth, mlpRatio, ratio };
  }
  if (kind === "identity") {
    if (pooled) reader.refuse("token_pooling", "false, since there is no projector after it");
    return { kind, inputs, outputs: inputs };
  }
  return { kind, inputs, outputs, depth: kind === "linear" ? 1 : depth, pooled };
}

function writeProjector(projector: ProjectorConfig): Json {
  const { kind, inputs, outputs } = projector;
  const down = kind === "downsample_mlp_gelu" ? projector : null;
  return {
    ...{ model_type: "mlp_projector", projector_type: kind, input_dim: inputs, n_embed: outputs },
    ...{ depth: "depth" in projector ? projector.depth : 1, mlp_ratio: down?.mlpRatio ?? 1 },
    downsample_ratio: down?.ratio ?? 2,
    token_pooling: "pooled" in projector && projector.pooled,
  };
}

function parse(reader: ConfigReader): VisionLanguageConfig {
  reader.only("tile_tag", "2D");
  const position = reader.oneOf("global_view_pos", ["head", "tail"], "head");
  const resolutions = reader.has("candidate_resolutions") ? readResolutions(reader) : ([[384, 384]] as const);
  const language = languageConfig(section(reader, "language_config"), "deepseek_v2");
  const visual = section(reader, "vision_config");
  visual.only("model_type", "vision");
  const tower = readSiglip(visual, "gelu_tanh");
  if (resolutions[0][0] !== tower.imageSize) {
    reader.refuse("candidate_resolutions", `multiples of image_size = ${tower.imageSize}`, resolutions[0]);
  }
  const joined = section(reader, "projector_config");
  const projector = readProjector(joined);
  checkWidths(joined, projector, towerWidth(tower), language.hiddenSize);
  if ("pooled" in projector && projector.pooled && gridSide(tower) % 2 !== 0) {
    joined.refuse("token_pooling", `false, since the tower has ${gridSide(tower)} tokens along a side`);
  }
  return {
    modelType: "deepseek_vl_v2",
    tower,
    projector,
    language,
    tiling: { globalFirst: position === "head", resolutions },
    generation: null,
    imageTokenId: null,
  };
}

function write(config: VisionLanguageConfig, dtype: WeightDtype): Json {
  const { projector, language } = config;
  const tiling = config.tiling!;
  return {
    architectures: ["DeepseekVLV2ForCausalLM"],
    model_type: "deepseek_vl_v2",
    torch_dtype: dtype === "fp8" ? "bfloat16" : dtype,
    tile_tag: "2D",
    global_view_pos: tiling.globalFirst ? "head" : "tail",
    candidate_resolutions: tiling.resolutions.map((each) => [...each]),
    vision_config: { model_type: "vision", ...writeSiglip(config.tower as SiglipConfig, true) },
    projector_config: writeProjector(projector),
    language_config: toConfigJson(language, dtype),
  };
}

export const deepseekVl2: VisionArchitecture = {
  modelType: "deepseek_vl_v2",
  generation: null,
  parts: { tower: "vision", projector: "projector", language: "language" },
  parse,
  write,
};
