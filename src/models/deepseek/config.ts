/**
 * `config.json` of DeepSeekMoE: plain attention, softmax router, greedy choice, no scaling factor. Two others have used
 * its `model_type` in their first revisions: DeepSeek-V2, known by its latent attention, and the Provers, dense models
 * whose keys of experts are null.
 */
import type { MhaConfig } from "../../nn/attention/causal.ts";
import type { RouterConfig } from "../../nn/moe.ts";
import { readCommon, readMha, readMoe, writeMha, writeMoe } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import { defaults, parse as parseV2 } from "../deepseek_v2/config.ts";
import type { LanguageConfig } from "../language-config.ts";
import { readRope } from "../rope-config.ts";

export function parse(reader: ConfigReader): LanguageConfig {
  // Files without such parts may say so with null, 0 or 1.
  if (Number(reader.raw("kv_lora_rank") ?? 0) > 1) return parseV2(reader);
  const common = readCommon(reader, defaults);
  const attention = readMha(reader, common.hiddenSize, defaults.heads);
  const moe =
    reader.raw("n_routed_experts") === undefined
      ? null
      : readMoe(reader, { firstDense: 0, expertWidth: 1407, shared: 0 }, () => router(reader));
  return {
    modelType: "deepseek",
    ...common,
    attention,
    rope: readRope(reader, { kinds: ["default", "linear"], dim: attention.headDim }),
    moe,
    mtpLayers: 0,
  };
}

function router(reader: ConfigReader): RouterConfig {
  const topK = reader.layerInteger("num_experts_per_tok");
  reader.only("topk_method", "greedy");
  reader.only("routed_scaling_factor", 1);
  return {
    topK,
    scoring: reader.oneOf("scoring_func", ["softmax"], "softmax"),
    bias: false,
    groups: 1,
    topGroups: 1,
    groupScore: "max",
    maskWith: "zero",
    normalize: reader.boolean("norm_topk_prob", false) && topK > 1,
    scale: 1,
  };
}

export function write(config: LanguageConfig): Json {
  const attention = config.attention as MhaConfig;
  return { ...writeMha(attention), ...(config.moe && writeMoe(config.moe)) };
}
