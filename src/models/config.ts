/**
 * The configuration of a language model as this package computes with it, read from an official `config.json` and
 * written back as one. What each `model_type` means is said in its folder; this file holds what they share.
 */
import type { MhaConfig } from "../nn/attention.ts";
import type { MlaConfig } from "../nn/mla.ts";
import type { MoeConfig } from "../nn/moe.ts";
import type { RopeConfig } from "../nn/rotary.ts";
import { nearestName } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { architectures } from "./architectures.ts";
import { ConfigReader, type Json } from "./config-reader.ts";
import { fromInferenceJson, isInferenceJson } from "./inference-json.ts";
import { writeRope } from "./rope-config.ts";

export type ModelType = "llama" | "qwen2" | "deepseek" | "deepseek_v2" | "deepseek_v3";

export interface LanguageConfig {
  readonly modelType: ModelType;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly normEpsilon: number;
  readonly maxPositions: number;
  readonly tieEmbeddings: boolean;
  readonly bosTokenIds: readonly number[];
  readonly eosTokenIds: readonly number[];
  readonly attention: MhaConfig | MlaConfig;
  readonly rope: RopeConfig;
  /** Inner width of dense feed-forward layers. */
  readonly intermediateSize: number;
  /** Null for dense models. */
  readonly moe: MoeConfig | null;
  /** Multi-token-prediction layers stored after the main ones. */
  readonly mtpLayers: number;
  /** FP8 weights with block scales, rows by columns; null where weights are stored plainly. */
  readonly quantization: { readonly block: readonly [number, number] } | null;
}

/** How saved weights are stored. */
export type WeightDtype = "float32" | "bfloat16" | "float16" | "fp8";

/** One `model_type`: how its `config.json` is read and written. */
export interface Architecture {
  readonly modelType: ModelType;
  /** Name in `architectures`. */
  readonly className: string;
  parse(reader: ConfigReader): LanguageConfig;
  /** The keys that are this architecture's own; the shared ones are added by `toConfigJson`. */
  write(config: LanguageConfig): Json;
}

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

function architectureOf(modelType: unknown, reader: ConfigReader): Architecture {
  const found = architectures.find((architecture) => architecture.modelType === modelType);
  return found ?? reader.refuse("model_type", architectures.map((a) => a.modelType).join(" | "), modelType);
}

/** Whether layer `layer` (main or MTP) has experts. */
export function isMoeLayer({ moe }: LanguageConfig, layer: number): boolean {
  return moe !== null && layer >= moe.firstDenseLayers && layer % moe.layerFrequency === 0;
}

/**
 * An official-style `config.json` that the reference classes load. `dtype` is that of the saved weights; only "fp8"
 * says that they are quantised.
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
