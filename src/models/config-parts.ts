/** Parts of `config.json` that several `model_type`s share: sizes, attention, experts, FP8. */
import type { MhaConfig } from "../nn/attention/causal.ts";
import type { MlaConfig } from "../nn/attention/mla/config.ts";
import type { MoeConfig, RouterConfig } from "../nn/moe.ts";
import type { ConfigReader, Json } from "./config-reader.ts";
import type { LanguageConfig } from "./language-config.ts";

/** Defaults of a reference class for keys that a file may leave out. */
export interface Defaults {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly maxPositions: number;
  /** Null if the class has none. */
  readonly bos: number | null;
  readonly eos: number | null;
}

/** The keys that every family has. @throws ConfigError */
export function readCommon(reader: ConfigReader, defaults: Defaults) {
  reader.only("hidden_act", "silu");
  reader.only("attention_bias", false, "Only Qwen2 has biases, on queries, keys and values.");
  reader.only("mlp_bias", false, "Only Qwen2 has biases, on queries, keys and values.");
  reader.only("attention_dropout", 0, "Dropout is not implemented; no DeepSeek model was trained with it.");
  return {
    vocabSize: reader.integer("vocab_size", defaults.vocabSize),
    hiddenSize: reader.integer("hidden_size", defaults.hiddenSize),
    intermediateSize: reader.layerInteger("intermediate_size", defaults.intermediateSize),
    layers: reader.integer("num_hidden_layers", defaults.layers),
    normEpsilon: reader.number("rms_norm_eps", 1e-6, 0),
    maxPositions: reader.integer("max_position_embeddings", defaults.maxPositions),
    bosTokenIds: reader.tokens("bos_token_id", defaults.bos === null ? [] : [defaults.bos]),
    eosTokenIds: reader.tokens("eos_token_id", defaults.eos === null ? [] : [defaults.eos]),
    tieEmbeddings: reader.boolean("tie_word_embeddings", false),
    quantization: readQuantization(reader),
  } satisfies Partial<LanguageConfig>;
}

/** How the weights are quantized; null for tiles and floats. @throws ConfigError for a method that is not read */
export function readQuantization(reader: ConfigReader): LanguageConfig["quantization"] {
  const section = reader.section("quantization_config");
  if (!section) return null;
  // Tiles name their format themselves (checkpoint/tiles.ts); the configuration describes the model as it was.
  if (section.raw("quant_method") === "deepseek-ts") {
    section.only("version", 1);
    return null;
  }
  if (section.raw("quant_method") !== "fp8") {
    const hint =
      "Take the model without this quantization, or a GGUF file of it, and quantize while loading.";
    section.refuse("quant_method", "fp8 | deepseek-ts", section.raw("quant_method"), hint);
  }
  section.only("fmt", "e4m3");
  section.oneOf("activation_scheme", ["dynamic"], "dynamic");
  const block = section.raw("weight_block_size");
  const valid =
    Array.isArray(block) && block.length === 2 && block.every((n) => Number.isSafeInteger(n) && n > 0);
  if (!valid) section.refuse("weight_block_size", "two positive integers");
  const [rows, columns] = block as number[];
  return { block: [rows, columns] };
}

/** Heads of plain attention. @throws ConfigError if counts do not divide */
export function readMha(reader: ConfigReader, hiddenSize: number, defaultHeads: number): MhaConfig {
  const heads = reader.layerInteger("num_attention_heads", defaultHeads);
  const keyValueHeads = reader.layerInteger("num_key_value_heads", heads);
  if (heads % keyValueHeads !== 0) {
    reader.refuse("num_key_value_heads", `a divisor of num_attention_heads = ${heads}`);
  }
  if (reader.raw("head_dim") === undefined && hiddenSize % heads !== 0) {
    reader.refuse("num_attention_heads", `a divisor of hidden_size = ${hiddenSize}`);
  }
  const headDim = reader.integer("head_dim", hiddenSize / heads);
  if (headDim % 2 !== 0) reader.refuse("head_dim", "an even number", headDim);
  return { kind: "mha", heads, keyValueHeads, headDim, queryKeyValueBias: false };
}

/** Keys of plain attention. */
export function writeMha({ heads, keyValueHeads }: MhaConfig): Json {
  return { num_attention_heads: heads, num_key_value_heads: keyValueHeads };
}

/** Widths of latent attention. @throws ConfigError */
export function readMla(reader: ConfigReader, defaultHeads: number): MlaConfig {
  const heads = reader.layerInteger("num_attention_heads", defaultHeads);
  reader.only("num_key_value_heads", heads, "Latent attention has as many key heads as query heads.");
  const ropeDim = reader.integer("qk_rope_head_dim", 64);
  if (ropeDim % 2 !== 0) reader.refuse("qk_rope_head_dim", "an even number");
  reader.only("rope_interleave", true, "The released weights pair adjacent channels.");
  // Newer files repeat the rotated width here; the width of a query head is nope + rope all the same.
  reader.only("head_dim", ropeDim);
  return {
    kind: "mla",
    heads,
    queryRank: reader.has("q_lora_rank") ? reader.optionalInteger("q_lora_rank", 1) : 1536,
    latentRank: reader.integer("kv_lora_rank", 512),
    nopeDim: reader.integer("qk_nope_head_dim", 128),
    ropeDim,
    valueDim: reader.integer("v_head_dim", 128),
  };
}

/** Keys of latent attention. */
export function writeMla(config: MlaConfig): Json {
  return {
    num_attention_heads: config.heads,
    num_key_value_heads: config.heads,
    q_lora_rank: config.queryRank,
    kv_lora_rank: config.latentRank,
    qk_nope_head_dim: config.nopeDim,
    qk_rope_head_dim: config.ropeDim,
    v_head_dim: config.valueDim,
  };
}

/** Expert counts around a family's router. @throws ConfigError if counts do not fit each other */
export function readMoe(
  reader: ConfigReader,
  defaults: { firstDense: number; expertWidth: number; shared: number; experts?: number },
  readRouter: (experts: number) => RouterConfig,
): MoeConfig {
  const experts = reader.layerInteger("n_routed_experts", defaults.experts);
  const router = readRouter(experts);
  if (experts % router.groups !== 0) reader.refuse("n_group", `a divisor of n_routed_experts = ${experts}`);
  const groupSize = experts / router.groups;
  if (router.topGroups > router.groups) reader.refuse("topk_group", `at most n_group = ${router.groups}`);
  if (router.groupScore === "top2" && router.groups > 1 && groupSize < 2) {
    reader.refuse("n_group", "groups of at least two experts, whose best two scores rank the group");
  }
  if (router.topK > groupSize * router.topGroups) {
    reader.refuse(
      "num_experts_per_tok",
      `at most ${groupSize * router.topGroups}, the experts of the kept groups`,
    );
  }
  return {
    experts,
    sharedExperts: reader.layerInteger("n_shared_experts", defaults.shared, 0),
    expertWidth: reader.layerInteger("moe_intermediate_size", defaults.expertWidth),
    firstDenseLayers: reader.integer("first_k_dense_replace", defaults.firstDense, 0),
    layerFrequency: reader.integer("moe_layer_freq", 1),
    router,
    balanceAlpha: reader.number("aux_loss_alpha", 0.001),
    balancePerSequence: reader.boolean("seq_aux", true),
  };
}

/** Keys of the expert layers. */
export function writeMoe(moe: MoeConfig): Json {
  return {
    n_routed_experts: moe.experts,
    n_shared_experts: moe.sharedExperts === 0 ? null : moe.sharedExperts,
    moe_intermediate_size: moe.expertWidth,
    num_experts_per_tok: moe.router.topK,
    first_k_dense_replace: moe.firstDenseLayers,
    moe_layer_freq: moe.layerFrequency,
    norm_topk_prob: moe.router.normalize,
    scoring_func: moe.router.scoring,
    aux_loss_alpha: moe.balanceAlpha,
    seq_aux: moe.balancePerSequence,
  };
}
