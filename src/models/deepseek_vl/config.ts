/**
 * `config.json` of DeepSeek-VL (`model_type` multi_modality): SigLIP and a two-layer projector (1.3B), or SAM and SigLIP
 * side by side (7B), before a Llama model. Janus and JanusFlow have the same `model_type` and further sections.
 */
import type { ProjectorConfig, SiglipConfig, TowerConfig } from "../../vision/tower-config.ts";
import { towerWidth } from "../../vision/tower-config.ts";
import { languageConfig, toConfigJson } from "../config.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { WeightDtype } from "../language-config.ts";
import {
  checkSides,
  checkWidths,
  readLayers,
  readPixels,
  readSam,
  readSiglip,
  writeSam,
  writeSiglip,
} from "../tower-parts.ts";
import type { VisionArchitecture, VisionLanguageConfig } from "../vision-config.ts";

/** Classes are found by a part of their names, as in the reference. */
export function classOf(reader: ConfigReader, names: readonly string[]): string {
  const value = reader.raw("cls");
  const found = names.find((name) => typeof value === "string" && value.includes(name));
  return found ?? reader.refuse("cls", names.join(" | "));
}

export function needed(reader: ConfigReader, key: string): ConfigReader {
  return reader.section(key) ?? reader.refuse(key, "an object");
}

/** `vision_config`. @throws ConfigError */
export function readTower(section: ConfigReader): TowerConfig {
  section.only("model_type", "vision");
  const name = classOf(section, ["CLIPVisionTower", "HybridVisionTower"]);
  const params = needed(section, "params");
  if (name === "CLIPVisionTower") {
    const hint = "The image processor of these models normalizes.";
    for (const key of ["pixel_mean", "pixel_std"]) {
      if (params.raw(key) !== undefined) params.refuse(key, "nothing", params.raw(key), hint);
    }
    return readSiglip(params, "gelu");
  }
  params.only("concat_type", "tuple");
  const [high, low] = [needed(params, "high_res_cfg"), needed(params, "low_res_cfg")];
  const [sam, siglip] = [readSam(high), readSiglip(low, "gelu")];
  const output = sam.outputWidths[1];
  high.only("output_dim", output);
  low.only("output_dim", siglip.width);
  if (siglip.width !== output) {
    low.refuse("width", `the channels that SAM ends with, ${output}`, siglip.width);
  }
  checkSides(low, siglip, sam);
  return {
    kind: "hybrid",
    high: sam,
    highPixels: readPixels(high),
    low: siglip,
    lowPixels: readPixels(low),
    norms: true,
  };
}

/** `aligner_config`, between a tower and a language model of width `hidden`. @throws ConfigError */
export function readProjector(section: ConfigReader, tower: TowerConfig, hidden: number): ProjectorConfig {
  section.only("model_type", "aligner");
  classOf(section, ["MlpProjector"]);
  const params = needed(section, "params");
  const kinds =
    tower.kind === "hybrid"
      ? (["low_high_hybrid_split_mlp_gelu"] as const)
      : (["identity", "linear", "mlp_gelu"] as const);
  const kind = params.raw("projector_type");
  const found = kinds.find((each) => each === kind) ?? params.refuse("projector_type", kinds.join(" | "));
  const widths = { inputs: params.integer("input_dim"), outputs: params.integer("n_embed") };
  const depth = readLayers(params, "depth", 1);
  if (found === "low_high_hybrid_split_mlp_gelu") {
    if (widths.outputs % 2 !== 0) params.refuse("n_embed", "an even number");
    checkWidths(params, widths, towerWidth(tower), hidden);
    return { kind: found, ...widths, depth };
  }
  if (found === "identity") {
    checkWidths(params, { ...widths, outputs: widths.inputs }, towerWidth(tower), hidden);
    return { kind: found, ...widths, outputs: widths.inputs };
  }
  checkWidths(params, widths, towerWidth(tower), hidden);
  return { kind: found, ...widths, depth: found === "linear" ? 1 : depth, pooled: false };
}

function parse(reader: ConfigReader): VisionLanguageConfig {
  const section = needed(reader, "language_config");
  const language = languageConfig(section, "llama");
  const tower = readTower(needed(reader, "vision_config"));
  return {
    modelType: "multi_modality",
    tower,
    projector: readProjector(needed(reader, "aligner_config"), tower, language.hiddenSize),
    language,
    tiling: null,
    generation: null,
    imageTokenId: null,
  };
}

export function writeTower(tower: TowerConfig): Json {
  const selected = { select_feature: "same", select_layer: -1 };
  const low = (config: SiglipConfig): Json => ({ ...writeSiglip(config, false), ...selected });
  if (tower.kind === "siglip") {
    return { cls: "CLIPVisionTower", model_type: "vision", params: low(tower) };
  }
  const { high, highPixels, low: small, lowPixels } = tower;
  return {
    cls: "HybridVisionTower",
    model_type: "vision",
    params: {
      concat_type: "tuple",
      freeze_high: true,
      freeze_low: true,
      high_res_cfg: {
        ...{ ...writeSam(high), ...selected, ckpt_path: "", output_dim: high.outputWidths[1] },
        ...{ pixel_mean: [...highPixels.mean], pixel_std: [...highPixels.std] },
      },
      low_res_cfg: {
        ...{ ...low(small), ckpt_path: "", output_dim: small.width },
        ...{ pixel_mean: [...lowPixels.mean], pixel_std: [...lowPixels.std] },
      },
    },
  };
}

function write({ tower, projector, language }: VisionLanguageConfig, dtype: WeightDtype): Json {
  const { kind, inputs, outputs } = projector;
  return {
    architectures: ["MultiModalityCausalLM"],
    model_type: "multi_modality",
    torch_dtype: dtype === "fp8" ? "bfloat16" : dtype,
    vision_config: writeTower(tower),
    aligner_config: {
      cls: "MlpProjector",
      model_type: "aligner",
      params: {
        ...{ projector_type: kind, input_dim: inputs, n_embed: outputs },
        ...("depth" in projector && { depth: projector.depth }),
      },
    },
    language_config: toConfigJson(language, dtype),
  };
}

export const deepseekVl: VisionArchitecture = {
  modelType: "multi_modality",
  generation: null,
  parts: { tower: "vision_model", projector: "aligner", language: "language_model" },
  parse,
  write,
};
