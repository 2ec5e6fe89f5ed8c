/** `config.json` of R1-Distill-Qwen, which uses transformers' Qwen2 class. Sliding windows, off in its files, are refused. */
import type { MhaConfig } from "../../nn/attention/causal.ts";
import { readCommon, readMha, writeMha } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { LanguageConfig } from "../language-config.ts";
import { readRope } from "../rope-config.ts";

const defaults = {
  vocabSize: 151936,
  hiddenSize: 4096,
  intermediateSize: 22016,
  layers: 32,
  heads: 32,
  maxPositions: 32768,
  bos: null,
  eos: null,
};

export function parse(reader: ConfigReader): LanguageConfig {
  const common = readCommon(reader, defaults);
  const hint = "Every layer attends to the whole context here.";
  reader.only("use_sliding_window", false, hint);
  const layerTypes = reader.raw("layer_types");
  const whole = Array.isArray(layerTypes) && layerTypes.every((type) => type === "full_attention");
  if (layerTypes !== undefined && !whole) {
    reader.refuse("layer_types", "full_attention in every layer", layerTypes, hint);
  }
  const attention = { ...readMha(reader, common.hiddenSize, defaults.heads), queryKeyValueBias: true };
  return {
    modelType: "qwen2",
    ...common,
    attention,
    rope: readRope(reader, {
      kinds: ["default", "linear", "yarn"],
      dim: attention.headDim,
      context: common.maxPositions,
      pairedMscale: true,
    }),
    moe: null,
    mtpLayers: 0,
  };
}

export function write(config: LanguageConfig): Json {
  const attention = config.attention as MhaConfig;
  const { heads, headDim } = attention;
  const odd = headDim * heads !== config.hiddenSize;
  return {
    ...writeMha(attention),
    // The class has its biases without a key for them.
    attention_bias: undefined,
    use_sliding_window: false,
    ...(odd && { head_dim: headDim }),
  };
}
