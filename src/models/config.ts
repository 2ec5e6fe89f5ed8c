/**
 * Official `config.json` files read as configurations and written back. What each `model_type` means is said in its
 * folder; this file picks the folder and adds the keys that all share.
 */
import { nearestName } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { architectures } from "./architectures.ts";
import { ConfigReader, type Json } from "./config-reader.ts";
import { fromInferenceJson, isInferenceJson } from "./inference-json.ts";
import type { Architecture, LanguageConfig, ModelType, WeightDtype } from "./language-config.ts";
import { writeRope } from "./rope-config.ts";

export { isMoeLayer, type LanguageConfig, type ModelType, type WeightDtype } from "./language-config.ts";

/**
 * Reads the parsed JSON of an official `config.json`, or of one of V3's `inference/configs`.
 * @throws ConfigError naming the key that is not supported
 */
export function parseConfig(json: unknown): LanguageConfig {
  const reader = new ConfigReader(isInferenceJson(json) ? fromInferenceJson(json) : json);
  return architectureOf(reader.raw("model_type"), reader).parse(reader);
}

/** Keys of official files that say nothing about what the network computes. */
const ADVISORY = [
  ...["architectures", "auto_map", "transformers_version", "torch_dtype", "dtype", "_name_or_path"],
  ...["use_cache", "initializer_range", "pretraining_tp", "ep_size", "pad_token_id", "attn_implementation"],
  ...["_attn_implementation", "return_dict", "output_hidden_states", "output_attentions"],
];

/** Keys of parts that a model may be without. */
const SWITCHABLE = [
  ...["n_group", "topk_group", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"],
  ...["v_head_dim", "n_shared_experts", "num_nextn_predict_layers", "moe_intermediate_size"],
];

/** As `parseConfig`, for a file that a person wrote: refuses keys that no model has. @throws ConfigError */
export function parseOwnConfig(json: unknown, where: string, prefix: string): LanguageConfig {
  const reader = new ConfigReader(json, where);
  const config = architectureOf(reader.raw("model_type"), reader).parse(reader);
  // Files of one family name each other's parts as absent: no groups of experts, latent ranks of plain attention.
  const absent = ({ key }: { key: string }) =>
    SWITCHABLE.includes(key) && [null, 0, 1].includes(reader.json[key] as null);
  const unread = reader.unread().filter((found) => !ADVISORY.includes(found.key) && !absent(found));
  if (unread.length > 0) {
    const [{ key, known }] = unread;
    const near = nearestName(key, [...known, ...ADVISORY]);
    throw new ConfigError(`this ${config.modelType} model has no such key`, {
      where,
      name: unread.map(({ key }) => `${prefix}${key}`).join(", "),
      hint:
        near === null
          ? "The keys are those of official config.json files."
          : `Did you mean ${prefix}${near}?`,
    });
  }
  return config;
}

/**
 * The language model of a larger one, from its section there. Tokens that the section does not name are the
 * tokenizer's: the defaults of the class are of another vocabulary. @throws ConfigError naming the key
 */
export function languageConfig(section: ConfigReader, modelType: ModelType): LanguageConfig {
  section.only("model_type", modelType);
  const config = architectureOf(modelType, section).parse(section);
  return {
    ...config,
    bosTokenIds: section.has("bos_token_id") ? config.bosTokenIds : [],
    eosTokenIds: section.has("eos_token_id") ? config.eosTokenIds : [],
  };
}

/** Models that contain a language model (`VisionModelType`): they are opened in another way. */
const VISION_TYPES = new Set([
  "multi_modality",
  "deepseek_vl",
  "deepseek_vl_hybrid",
  "deepseek_vl_v2",
  "janus",
]);

function architectureOf(modelType: unknown, reader: ConfigReader): Architecture {
  const found = architectures.find((architecture) => architecture.modelType === modelType);
  if (found !== undefined) return found;
  const known = architectures.map((a) => a.modelType).join(" | ");
  const hint = VISION_TYPES.has(String(modelType))
    ? "DeepSeek-VL and DeepSeek-VL2 open in TypeScript, with loadVisionModel of deepseek-ts/checkpoint: see docs/vision.md"
    : undefined;
  return reader.refuse("model_type", known, modelType, hint);
}

/**
 * An official-style `config.json` that the reference classes load. `dtype` is that of the saved weights; only "fp8"
 * says that they are quantized.
 */
export function toConfigJson(config: LanguageConfig, dtype: WeightDtype = "float32"): Json {
  const reader = new ConfigReader({ model_type: config.modelType });
  const architecture = architectureOf(config.modelType, reader);
  const single = (ids: readonly number[]) => (ids.length === 0 ? null : ids.length === 1 ? ids[0] : [...ids]);
  return {
    architectures: [architecture.className],
    model_type: config.modelType,
    hidden_act: "silu",
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    rms_norm_eps: config.normEpsilon,
    max_position_embeddings: config.maxPositions,
    tie_word_embeddings: config.tieEmbeddings,
    bos_token_id: single(config.bosTokenIds),
    eos_token_id: single(config.eosTokenIds),
    attention_bias: false,
    attention_dropout: 0,
    initializer_range: 0.02,
    use_cache: true,
    torch_dtype: dtype === "fp8" ? "bfloat16" : dtype,
    rope_theta: config.rope.theta,
    rope_scaling: writeRope(config.rope, config.maxPositions),
    ...architecture.write(config),
    ...(dtype === "fp8" && {
      quantization_config: {
        quant_method: "fp8",
        fmt: "e4m3",
        activation_scheme: "dynamic",
        weight_block_size: [...(config.quantization?.block ?? [128, 128])],
      },
    }),
  };
}
