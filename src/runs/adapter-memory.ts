/** What training adapters needs of the machine's memory, estimated from its settings alone. */
import { thisMachine } from "../files/machine.ts";
import { describeAdapters } from "../models/adapted-model.ts";
import type { LanguageConfig } from "../models/config.ts";
import { weightBytes } from "../models/count.ts";
import { describeDecoder } from "../models/decoder.ts";
import type { Machine } from "../models/memory-needs.ts";
import type { LowRankSettings } from "../nn/low-rank-adapters.ts";
import { type StorageFormat, storageRule } from "../nn/storage.ts";
import { ConfigError } from "../tensor/errors.ts";
import { formatBytes, formatCompact } from "../text/units.ts";
import { needText, ONE_MEMORY, UNCOUNTED, valuesOfLayer } from "./training-memory.ts";

export interface AdapterRun {
  readonly config: LanguageConfig;
  readonly settings: LowRankSettings;
  /** Storage of the weights below. */
  readonly base: StorageFormat;
  /** Whether the values inside blocks are made again in the backward pass. */
  readonly recompute: boolean;
  /** Tokens that run at once. */
  readonly tokens: number;
  readonly momentDType?: "f32" | "bf16";
}

/** Bytes that training adapters is expected to hold at once. */
export interface AdapterEstimate {
  /** Weights of the adapters, by number. */
  readonly parameters: number;
  /** Of the model below, which stay as they are. */
  readonly weights: number;
  /** Adapters, their gradients and moments. */
  readonly adapters: number;
  readonly activations: number;
  readonly total: number;
}

/** Floats that quantized weights are made at a time, forward or backward. */
const PIECES = 2 * 4 * 2 ** 23;

/** The memory of a run with these settings. @throws ConfigError if a target is unknown */
export function estimateAdapters(run: AdapterRun): AdapterEstimate {
  const { config, settings, base, recompute, tokens, momentDType = "f32" } = run;
  const { layers, hiddenSize, vocabSize } = config;
  const decoder = describeDecoder(config);
  const { total: weights } = weightBytes(decoder, storageRule(base));
  const parameters = describeAdapters(decoder.mainParameters, settings).count;
  const adapters = parameters * (momentDType === "bf16" ? 12 : 16);
  const inside = Array.from({ length: layers }, (_, layer) => UNCOUNTED * valuesOfLayer(config, layer));
  // Recomputed, the values of one block exist at a time, and the logits are gone by then.
  const values = recompute
    ? layers * hiddenSize + Math.max(vocabSize, ...inside)
    : vocabSize + inside.reduce((sum, each) => sum + each, 0);
  const pieces = base === "q4" || base === "q8" ? PIECES : 0;
  const activations = 4 * tokens * values + pieces;
  return { parameters, weights, adapters, activations, total: weights + adapters + activations };
}

/** One line about what the run needs and what there is. */
export function adapterEstimateText(
  { parameters, weights, adapters, activations, total }: AdapterEstimate,
  { base }: Pick<AdapterRun, "base">,
  machine: Machine,
): string {
  const trained = `${formatCompact(parameters)} parameters of adapters with gradients and moments`;
  return needText(total, { [`weights in ${base}`]: weights, [trained]: adapters, activations }, machine);
}

/**
 * The line about a run's memory. @throws ConfigError if the machine does not have that much, unless `force`; always if the
 * logits are larger than any memory of the kernels
 */
export function checkAdapterMemory(run: AdapterRun, force = false, machine: Machine = thisMachine()): string {
  const estimate = estimateAdapters(run);
  const text = adapterEstimateText(estimate, run, machine);
  const logits = 4 * run.tokens * run.config.vocabSize;
  const refuse = (message: string, name: string, most: number, found: string, hint: string): never => {
    throw new ConfigError(message, {
      ...{ where: "training", name, expected: `at most ${formatBytes(most)}`, found, hint },
    });
  };
  const advice = "Lower --length or --at-once, or set base=q4 in --lora.";
  if (logits > ONE_MEMORY) {
    const name = `the logits of ${run.tokens} tokens`;
    refuse("a tensor exceeds one WebAssembly memory", name, ONE_MEMORY, formatBytes(logits), advice);
  }
  if (estimate.total > machine.total && !force) {
    const hint = `${advice} Use --ignore-memory to try anyway.`;
    refuse("the run exceeds this machine's memory", "adapters", machine.total, text, hint);
  }
  return text;
}
