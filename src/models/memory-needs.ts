/** What a model needs of a machine's memory, from its configuration alone. */

import { type StorageFormat, storageRule } from "../nn/storage.ts";
import type { LanguageConfig } from "./config.ts";
import { cacheWidth, weightBytes } from "./count.ts";
import { describeDecoder } from "./decoder.ts";

/** Bytes of a cached value: caches are float32 unless a program asks for less. */
const CACHE_VALUE = 4;
/** Prompt tokens that pass through a layer at once, about. */
const PREFILL = 512;

/** Values that one token adds to the cache, and what other forms of attention with the same heads would add. */
export interface CacheValues {
  readonly own: number;
  /** Keys and values of every head. */
  readonly multiHead: number;
  /** Keys and values of eight heads, which the others share; of all if there are fewer. */
  readonly groupedQuery: number;
}

export function cacheValues(config: LanguageConfig): CacheValues {
  const { attention: a, layers } = config;
  // Keys and values of one head.
  const each = layers * (a.kind === "mla" ? a.nopeDim + a.ropeDim + a.valueDim : 2 * a.headDim);
  return {
    own: layers * cacheWidth(config),
    multiHead: a.heads * each,
    groupedQuery: Math.min(8, a.heads) * each,
  };
}

/** Bytes of the intermediate values of one pass: the widest layer for a piece of the prompt, and the logits. */
export function activationBytes(config: LanguageConfig): number {
  const { attention: a, hiddenSize, intermediateSize, moe, vocabSize, maxPositions } = config;
  const tokens = Math.min(PREFILL, maxPositions);
  const heads =
    a.kind === "mla" ? a.heads * (2 * (a.nopeDim + a.ropeDim) + 2 * a.valueDim) : 4 * a.heads * a.headDim;
  const experts = moe ? (moe.router.topK + moe.sharedExperts) * (3 * moe.expertWidth + hiddenSize) : 0;
  const widest = Math.max(heads, 3 * intermediateSize, experts);
  return 4 * (tokens * (4 * hiddenSize + widest) + 2 * vocabSize);
}

export interface MemoryNeed {
  readonly dtype: StorageFormat;
  readonly weights: number;
  /** Weights that one token reads: what speed depends on. */
  readonly weightsPerToken: number;
  /** With the activations and the cache of the full context. */
  readonly total: number;
  /** `yes`: in what is free now; `tight`: in what the machine has; else `no`. */
  readonly fits: "yes" | "tight" | "no";
  /** Longest context for which it fits in what is free now; 0 if the weights alone do not. */
  readonly contextThatFits: number;
}

/** The memory of a machine, in bytes. */
export interface Machine {
  readonly total: number;
  readonly free: number;
}

/** Bytes that one token adds to the cache. */
export function cacheBytes(config: LanguageConfig): number {
  return CACHE_VALUE * cacheValues(config).own;
}

/** The need of a model whose weights take so many bytes, with a cache for its context. */
export function needOf(
  dtype: StorageFormat,
  weights: { readonly total: number; readonly perToken: number },
  activations: number,
  config: LanguageConfig,
  machine: Machine,
): MemoryNeed {
  const perToken = cacheBytes(config);
  const fixed = weights.total + activations;
  const total = fixed + perToken * config.maxPositions;
  const room = Math.floor((machine.free - fixed) / perToken);
  return {
    dtype,
    weights: weights.total,
    weightsPerToken: Math.round(weights.perToken),
    total,
    fits: total <= machine.free ? "yes" : total <= machine.total ? "tight" : "no",
    contextThatFits: Math.max(0, Math.min(config.maxPositions, room)),
  };
}

/** What a model needs at each storage of its weights. */
export function memoryNeeds(config: LanguageConfig, machine: Machine): MemoryNeed[] {
  const activations = activationBytes(config);
  const decoder = describeDecoder(config);
  return (["f32", "bf16", "q8", "q4"] as const).map((dtype) =>
    needOf(dtype, weightBytes(decoder, storageRule(dtype)), activations, config, machine),
  );
}
