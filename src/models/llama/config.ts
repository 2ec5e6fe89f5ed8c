/** `config.json` of DeepSeek LLM and DeepSeek-Coder, which use transformers' Llama class. */
import type { MhaConfig } from "../../nn/attention.ts";
import type { LanguageConfig } from "../config.ts";
import { readCommon, readMha, readRope, writeMha } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";

const defaults = {
  vocabSize: 32000,
  hiddenSize: 4096,
  intermediateSize: 11008,
  layers: 32,
  heads: 32,
  maxPositions: 2048,
  bos: 1,
  eos: 2,
};

export function parse(reader: ConfigReader): LanguageConfig {
  const common = readCommon(reader, defaults);
  return {
    modelType: "llama",
    ...common,
    attention: readMha(reader, common.hiddenSize, defaults.heads),
    rope: readRope(reader, ["default", "linear", "yarn"], common.maxPositions),
    moe: null,
    mtpLayers: 0,
  };
}

export function write(config: LanguageConfig): Json {
  const attention = config.attention as MhaConfig;
  const { heads, headDim } = attention;
  const odd = headDim * heads !== config.hiddenSize;
  return { ...writeMha(attention), mlp_bias: false, ...(odd && { head_dim: headDim }) };
}
