/** `config.json` of DeepSeek-V3, V3-0324, V3.1 and R1: sigmoid router with a correction bias, MTP layers, FP8. */
import type { MlaConfig } from "../../nn/attention/mla/config.ts";
import type { RouterConfig } from "../../nn/moe.ts";
import { readCommon, readMla, readMoe, writeMla, writeMoe } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { LanguageConfig } from "../language-config.ts";
import { readRope } from "../rope-config.ts";

const defaults = {
  vocabSize: 129280,
  hiddenSize: 7168,
  intermediateSize: 18432,
  layers: 61,
  heads: 128,
  maxPositions: 4096,
  bos: 0,
  eos: 1,
};

export function parse(reader: ConfigReader): LanguageConfig {
  const common = readCommon(reader, defaults);
  const attention = readMla(reader, defaults.heads);
  return {
    modelType: "deepseek_v3",
    ...common,
    attention,
    rope: readRope(reader, { kinds: ["default", "linear", "yarn"], dim: attention.ropeDim }),
    moe: readMoe(reader, { firstDense: 3, expertWidth: 2048, shared: 1, experts: 256 }, () => router(reader)),
    // The native class of transformers keeps the key and saves no such layers: see `storedMtpLayers`.
    mtpLayers: reader.integer("num_nextn_predict_layers", 0, 0),
  };
}

function router(reader: ConfigReader): RouterConfig {
  reader.only("topk_method", "noaux_tc");
  return {
    topK: reader.layerInteger("num_experts_per_tok", 8),
    scoring: reader.oneOf("scoring_func", ["sigmoid"], "sigmoid"),
    bias: true,
    groups: reader.integer("n_group", 8),
    topGroups: reader.integer("topk_group", 4),
    groupScore: "top2",
    maskWith: "-inf",
    normalize: reader.boolean("norm_topk_prob", true),
    scale: reader.number("routed_scaling_factor", 2.5),
  };
}

export function write(config: LanguageConfig): Json {
  const { router: r } = config.moe!;
  return {
    ...writeMla(config.attention as MlaConfig),
    ...writeMoe(config.moe!),
    topk_method: "noaux_tc",
    n_group: r.groups,
    topk_group: r.topGroups,
    routed_scaling_factor: r.scale,
    num_nextn_predict_layers: config.mtpLayers,
  };
}
