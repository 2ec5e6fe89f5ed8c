/** `config.json` of DeepSeek LLM, DeepSeek-Coder and R1-Distill-Llama, which use transformers' Llama class. */
import type { MhaConfig } from "../../nn/attention/causal.ts";
import { readCommon, readMha, writeMha } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { LanguageConfig } from "../language-config.ts";
import { readRope } from "../rope-config.ts";

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
  const attention = readMha(reader, common.hiddenSize, defaults.heads);
  return {
    modelType: "llama",
    ...common,
    attention,
    rope: readRope(reader, {
      kinds: ["default", "linear", "yarn", "llama3", "factors"],
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
  return { ...writeMha(attention), mlp_bias: false, ...(odd && { head_dim: headDim }) };
}
