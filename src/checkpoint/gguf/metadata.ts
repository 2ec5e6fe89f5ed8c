/**
 * From a configuration to the metadata of a GGUF file (gguf.md section 3), in the layout of current llama.cpp: for
 * latent attention that of the absorbed form. Models that llama.cpp would load but compute differently are refused by
 * name; the one exception is group-limited choice in V2, where llama.cpp ranks groups by their best two experts
 * instead of their best one. Latent norms take the epsilon of all others in llama.cpp; released files agree.
 */
import type { LanguageConfig } from "../../models/config.ts";
import type { MhaConfig } from "../../nn/attention/causal.ts";
import type { MlaConfig } from "../../nn/attention/mla/config.ts";
import type { MoeConfig } from "../../nn/moe.ts";
import { type RopeConfig, ropeMagnitude, yarnMscale } from "../../nn/rotary.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { GgufArchitecture } from "./config.ts";
import { bool, f32, type GgufMetadata, type GgufValue, MetadataReader, text, u32 } from "./types.ts";

type Pair = readonly [string, GgufValue];

function refuse(name: string, expected: unknown, found: unknown, hint?: string): never {
  throw new ConfigError("GGUF cannot represent the model", {
    where: "exportGguf",
    name,
    expected,
    found,
    hint,
  });
}

/** The architecture under which llama.cpp computes a model. @throws ConfigError if there is none */
export function ggufArchitecture(config: LanguageConfig): GgufArchitecture {
  const { modelType, attention, moe } = config;
  if (attention.kind === "mla") return "deepseek2";
  if (moe === null) return attention.queryKeyValueBias ? "qwen2" : "llama";
  if (moe.baseline !== undefined || modelType === "moe_baseline") {
    refuse("model_type", "an official model; baselines are for research", modelType);
  }
  const { scoring, bias, groups, normalize, scale } = moe.router;
  // Plain attention in a V2 file is the first generation's model if its router is, too.
  if (scoring !== "softmax") refuse("scoring_func", `softmax with plain attention (${modelType})`, scoring);
  if (bias) refuse("topk_method", "greedy with plain attention", "noaux_tc");
  if (groups !== 1) refuse("n_group", "1 with plain attention", groups);
  if (normalize) refuse("norm_topk_prob", "false with plain attention", normalize);
  if (scale !== 1) refuse("routed_scaling_factor", "1 with plain attention", scale);
  return "deepseek";
}

function ropePairs(rope: RopeConfig, architecture: GgufArchitecture): Pair[] {
  const latent: Pair[] = architecture === "deepseek2" ? [["rope.scaling.yarn_log_multiplier", f32(0)]] : [];
  // Of Llama 3's scaling and of single factors all there is is the tensor of factors (rope-factors.ts).
  if (rope.kind === "default" || rope.kind === "llama3" || rope.kind === "factors") {
    return [["rope.scaling.type", text("none")], ...latent];
  }
  if (rope.kind === "linear") {
    return [["rope.scaling.type", text("linear")], ["rope.scaling.factor", f32(rope.factor)], ...latent];
  }
  const { mscale, mscaleAllDim, attentionFactor, truncate } = rope;
  if (!truncate) refuse("rope_scaling.truncate", true, truncate);
  if (architecture === "deepseek2") {
    if (attentionFactor !== null)
      refuse("rope_scaling.attention_factor", "none with latent attention", attentionFactor);
    if (mscale !== mscaleAllDim || mscale === 0) {
      refuse("rope_scaling.mscale", "equal to mscale_all_dim and not 0, as llama.cpp assumes", [
        mscale,
        mscaleAllDim,
      ]);
    }
  }
  const more = ropeMagnitude(rope) / yarnMscale(rope.factor, 1);
  return [
    ["rope.scaling.type", text("yarn")],
    ["rope.scaling.factor", f32(rope.factor)],
    ["rope.scaling.original_context_length", u32(rope.originalMaxPositions)],
    ["rope.scaling.yarn_beta_fast", f32(rope.betaFast)],
    ["rope.scaling.yarn_beta_slow", f32(rope.betaSlow)],
    ...(architecture === "deepseek2"
      ? [["rope.scaling.yarn_log_multiplier", f32(0.1 * mscaleAllDim)] as const]
      : more === 1
        ? []
        : [["rope.scaling.attn_factor", f32(more)] as const]),
  ];
}

function plainPairs({ heads, keyValueHeads, headDim }: MhaConfig): Pair[] {
  return [
    ["attention.head_count", u32(heads)],
    ["attention.head_count_kv", u32(keyValueHeads)],
    ["attention.key_length", u32(headDim)],
    ["attention.value_length", u32(headDim)],
    ["rope.dimension_count", u32(headDim)],
  ];
}

/** Layer counts at which llama.cpp takes queries to be uncompressed, whatever the file says. */
const LITE_LAYERS = [26, 27];

function latentPairs(mla: MlaConfig, layers: number): Pair[] {
  const { heads, queryRank, latentRank, nopeDim, ropeDim, valueDim } = mla;
  const lite = LITE_LAYERS.includes(layers);
  if (lite && queryRank !== null) {
    refuse("q_lora_rank", `null at ${layers} layers`, queryRank, "llama.cpp takes such files for V2-Lite");
  }
  return [
    ["attention.head_count", u32(heads)],
    ["attention.head_count_kv", u32(1)],
    ...(lite ? [] : [["attention.q_lora_rank", u32(queryRank ?? 0)] as const]),
    ["attention.kv_lora_rank", u32(latentRank)],
    ["attention.key_length", u32(latentRank + ropeDim)],
    ["attention.value_length", u32(latentRank)],
    ["attention.key_length_mla", u32(nopeDim + ropeDim)],
    ["attention.value_length_mla", u32(valueDim)],
    ["rope.dimension_count", u32(ropeDim)],
  ];
}

function expertPairs(moe: MoeConfig, architecture: GgufArchitecture): Pair[] {
  const { router } = moe;
  if (moe.layerFrequency !== 1) refuse("moe_layer_freq", 1, moe.layerFrequency);
  const shared: Pair[] = [
    ["leading_dense_block_count", u32(moe.firstDenseLayers)],
    ["expert_feed_forward_length", u32(moe.expertWidth)],
    ["expert_count", u32(moe.experts)],
    ["expert_used_count", u32(router.topK)],
    ["expert_shared_count", u32(moe.sharedExperts)],
    ["expert_weights_scale", f32(router.scale)],
  ];
  if (architecture === "deepseek") return shared;
  const grouped = router.groups > 1 && router.topGroups < router.groups;
  if (grouped && (router.bias ? router.maskWith !== "-inf" : router.scoring !== "softmax")) {
    refuse("n_group", "1 for this router of the V2 class", router.groups);
  }
  return [
    ...shared,
    ["expert_weights_norm", bool(router.normalize)],
    ["expert_gating_func", u32(router.scoring === "sigmoid" ? 2 : 1)],
    ...(grouped
      ? ([
          ["expert_group_count", u32(router.groups)],
          ["expert_group_used_count", u32(router.topGroups)],
        ] as const)
      : []),
  ];
}

/** A model without experts says so: every layer is dense. */
function denseLatentPairs(config: LanguageConfig): Pair[] {
  return [
    ["leading_dense_block_count", u32(config.layers)],
    ["expert_feed_forward_length", u32(config.intermediateSize)],
    ["expert_count", u32(0)],
    ["expert_used_count", u32(0)],
    ["expert_shared_count", u32(0)],
    ["expert_weights_scale", f32(1)],
  ];
}

/** Keys of the tokens that end a text; llama.cpp ends at all of them alike. */
const END_KEYS = ["eos", "eot", "eom"] as const;

/**
 * Ids of special tokens. The tokenizer's BOS and EOS win, as in llama.cpp's converter: `config.json` may still name those
 * of another model, as in R1-Distill-Qwen, where BOS has the id of EOS.
 */
function tokenPairs(config: LanguageConfig, tokenizer: GgufMetadata): [string, GgufValue][] {
  const key = (name: string) => `tokenizer.ggml.${name}_token_id`;
  const reader = new MetadataReader(tokenizer, "exportGguf");
  const [bos, eos] = [reader.tokenId(key("bos")), reader.tokenId(key("eos"))];
  const starts = bos === null ? config.bosTokenIds : [bos];
  if (starts.length > 1) refuse("bos_token_id", "one id", starts);
  const ends = [...new Set([...(eos === null ? [] : [eos]), ...config.eosTokenIds])];
  if (ends.length > END_KEYS.length) refuse("eos_token_id", `at most ${END_KEYS.length} ids`, ends);
  const pair = (name: string, id: number): [string, GgufValue] => [key(name), u32(id)];
  return [...starts.map((id) => pair("bos", id)), ...ends.map((id, i) => pair(END_KEYS[i], id))];
}

/**
 * Metadata of a model, without its tokenizer's (`tokenizer`) but with the ids of its special tokens. @throws ConfigError
 * naming the key that has no form in GGUF
 */
export function ggufModelMetadata(
  config: LanguageConfig,
  tokenizer: GgufMetadata = new Map(),
): Map<string, GgufValue> {
  const architecture = ggufArchitecture(config);
  const { attention, moe } = config;
  const pairs: Pair[] = [
    ["block_count", u32(config.layers)],
    ["context_length", u32(config.maxPositions)],
    ["embedding_length", u32(config.hiddenSize)],
    ["feed_forward_length", u32(config.intermediateSize)],
    ["vocab_size", u32(config.vocabSize)],
    ["attention.layer_norm_rms_epsilon", f32(config.normEpsilon)],
    ...(attention.kind === "mla" ? latentPairs(attention, config.layers) : plainPairs(attention)),
    ["rope.freq_base", f32(config.rope.theta)],
    ...ropePairs(config.rope, architecture),
  ];
  if (moe !== null) pairs.push(...expertPairs(moe, architecture));
  else if (architecture === "deepseek2") pairs.push(...denseLatentPairs(config));
  return new Map([
    ["general.architecture", text(architecture)],
    ["general.type", text("model")],
    ...pairs.map(([key, value]) => [`${architecture}.${key}`, value] as const),
    ...tokenPairs(config, tokenizer),
  ]);
}
