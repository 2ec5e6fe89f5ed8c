/**
 * `config.json` of DeepSeek-V2, V2-Lite, Coder-V2 and the language models of DeepSeek-VL2: latent attention, or plain
 * attention with `use_mla: false`; three ways to choose experts.
 */
import type { RouterConfig } from "../../nn/moe.ts";
import { readCommon, readMha, readMla, readMoe, writeMha, writeMla, writeMoe } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { LanguageConfig } from "../language-config.ts";
import { readRope } from "../rope-config.ts";

/** Defaults of the class, as in DeepSeekMoE. */
export const defaults = {
  vocabSize: 102400,
  hiddenSize: 4096,
  intermediateSize: 11008,
  layers: 30,
  heads: 32,
  maxPositions: 2048,
  bos: 100000,
  eos: 100001,
};

export function parse(reader: ConfigReader): LanguageConfig {
  const common = readCommon(reader, defaults);
  const latent = reader.boolean("use_mla", true);
  const attention = latent
    ? readMla(reader, defaults.heads)
    : readMha(reader, common.hiddenSize, defaults.heads);
  const moe =
    reader.raw("n_routed_experts") === undefined
      ? null
      : readMoe(reader, { firstDense: 0, expertWidth: 1407, shared: 0 }, (experts) =>
          router(reader, experts),
        );
  return {
    modelType: "deepseek_v2",
    ...common,
    attention,
    rope: readRope(reader, {
      kinds: latent ? ["default", "linear", "yarn"] : ["default", "linear"],
      dim: attention.kind === "mla" ? attention.ropeDim : attention.headDim,
    }),
    moe,
    mtpLayers: 0,
  };
}

function router(reader: ConfigReader, experts: number): RouterConfig {
  // "gready" is the default of the published class.
  const found = reader.oneOf(
    "topk_method",
    ["greedy", "gready", "group_limited_greedy", "noaux_tc"],
    "greedy",
  );
  const method = found === "gready" ? "greedy" : found;
  const grouped = method !== "greedy";
  const topK = reader.layerInteger("num_experts_per_tok");
  const bias = method === "noaux_tc";
  return {
    topK,
    scoring: reader.oneOf("scoring_func", ["softmax", "sigmoid"], "softmax"),
    bias,
    groups: grouped ? reader.integer("n_group") : 1,
    topGroups: grouped ? reader.integer("topk_group") : 1,
    groupScore: bias && experts > 1 ? "top2" : "max",
    maskWith: "zero",
    normalize: reader.boolean("norm_topk_prob", false) && topK > 1,
    scale: reader.number("routed_scaling_factor", 1),
  };
}

export function write(config: LanguageConfig): Json {
  const { attention, moe } = config;
  const widths =
    attention.kind === "mla"
      ? writeMla(attention)
      : {
          ...writeMha(attention),
          use_mla: false,
          q_lora_rank: null,
          kv_lora_rank: null,
          qk_nope_head_dim: 0,
          qk_rope_head_dim: 0,
          v_head_dim: 0,
        };
  if (moe === null) return widths;
  const { router: r } = moe;
  return {
    ...widths,
    ...writeMoe(moe),
    topk_method: r.bias ? "noaux_tc" : r.groups > 1 ? "group_limited_greedy" : "greedy",
    n_group: r.groups,
    topk_group: r.topGroups,
    routed_scaling_factor: r.scale,
  };
}
