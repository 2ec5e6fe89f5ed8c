/** The configuration of a language model as this package computes with it, and what an architecture adds to read it. */
import type { MhaConfig } from "../nn/attention/causal.ts";
import type { MlaConfig } from "../nn/attention/mla/config.ts";
import type { MoeConfig } from "../nn/moe.ts";
import type { RopeConfig } from "../nn/rotary.ts";
import type { ConfigReader, Json } from "./config-reader.ts";

export type ModelType = "llama" | "qwen2" | "deepseek" | "deepseek_v2" | "deepseek_v3" | "moe_baseline";

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
  /** FP8 weights with block scales, rows by columns; null if weights are stored plainly. */
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

/** Whether layer `layer` (main or MTP) has experts. */
export function isMoeLayer({ moe }: LanguageConfig, layer: number): boolean {
  return moe !== null && layer >= moe.firstDenseLayers && layer % moe.layerFrequency === 0;
}
