/** What a training run needs of the machine's memory, estimated from its settings alone, and whether that can be had. */

import { thisMachine } from "../files/machine.ts";
import { isMoeLayer, type LanguageConfig, parseConfig } from "../models/config.ts";
import { countParameters } from "../models/count.ts";
import { describeDecoder } from "../models/decoder.ts";
import type { Machine } from "../models/memory-needs.ts";
import { ConfigError } from "../tensor/errors.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { formatBytes } from "../text/units.ts";
import type { RunConfig } from "./settings.ts";

/** Bytes of one WebAssembly memory, less what threads take of it: the operands of one call lie in one. */
export const ONE_MEMORY = 4 * 1024 ** 3 - 256 * 1024 ** 2;

/** Measured peaks over the sum of the tensors counted below, at the presets' shapes: 1.08 to 1.2. */
export const UNCOUNTED = 1.15;

/** Bytes that a run is expected to hold at once; the estimate is within a fifth of what `Run.memory` measures. */
export interface TrainingEstimate {
  readonly weights: number;
  readonly moments: number;
  /** Gradients, and the values of the forward pass that they are made from: they pass into each other. */
  readonly activations: number;
  readonly total: number;
  /** The largest tensor and the weights it is made with, which must lie in one WebAssembly memory. */
  readonly largest: { readonly what: string; readonly bytes: number };
}

/** Values that one token leaves on the tape in one layer. */
export function valuesOfLayer(config: LanguageConfig, layer: number): number {
  const { attention: a, hiddenSize, intermediateSize, moe } = config;
  const attention =
    a.kind === "mla"
      ? 2 * (a.queryRank ?? 0) +
        3 * a.heads * (a.nopeDim + a.ropeDim) +
        3 * (a.latentRank + a.ropeDim) +
        2 * a.heads * (a.nopeDim + a.valueDim) +
        a.heads * a.valueDim
      : (4 * a.heads + 2 * a.keyValueHeads) * a.headDim;
  const feedForward =
    moe !== null && isMoeLayer(config, layer)
      ? moe.router.topK * (3 * moe.expertWidth + 2 * hiddenSize) +
        3 * moe.sharedExperts * moe.expertWidth +
        3 * moe.experts
      : 3 * intermediateSize;
  return 6 * hiddenSize + attention + feedForward;
}

/** What the estimate depends on. */
export interface EstimatedRun extends Pick<RunConfig, "model" | "vocabSize"> {
  readonly training: Pick<RunConfig["training"], "optimizer" | "sequenceLength" | "mtpWeight"> & {
    readonly batch: { readonly size: number };
  };
}

/** The memory of a run with these settings. @throws ConfigError if the model's settings are wrong */
export function estimateTraining({ model, vocabSize, training }: EstimatedRun): TrainingEstimate {
  const config = parseConfig({ ...model, vocab_size: vocabSize });
  const { layers, mtpLayers, hiddenSize, moe } = config;
  const counts = countParameters(config);
  const parameters = counts.total + counts.mtp;
  const weights = 4 * parameters;
  const moments = (training.optimizer.momentDType === "bf16" ? 4 : 8) * parameters;
  const tokens = training.batch.size * training.sequenceLength;
  const withMtp = training.mtpWeight !== 0 ? mtpLayers : 0;
  let values = (1 + withMtp) * vocabSize + withMtp * 4 * hiddenSize;
  for (let layer = 0; layer < layers + withMtp; layer++) values += UNCOUNTED * valuesOfLayer(config, layer);
  const activations = Math.max(4 * tokens * values, weights);
  const head = vocabSize * hiddenSize;
  const groups = [...describeDecoder(config).parameters.groups()].map(({ key, shape }) => ({
    what: `the weights of ${key}`,
    bytes: 4 * sizeOf(shape),
  }));
  const candidates = [
    {
      what: `the logits of ${tokens} tokens of ${vocabSize} entries`,
      bytes: 4 * (tokens * vocabSize + head),
    },
    ...(moe === null
      ? []
      : [{ what: "the experts' values of a layer", bytes: 8 * tokens * moe.router.topK * moe.expertWidth }]),
    ...groups,
  ];
  const largest = candidates.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  return { weights, moments, activations, total: weights + moments + activations, largest };
}

/** "about 1.2 GB (weights 0.3 GB, ..); 8 GB of 16 GB are free". @param whole what stands before the parts */
export function needText(
  total: number,
  parts: Readonly<Record<string, number>>,
  { free, total: all }: Machine,
  whole = `about ${formatBytes(total)}`,
): string {
  const named = Object.entries(parts).map(([part, bytes]) => `${part} ${formatBytes(bytes)}`);
  const short = total > free ? ": close other programs, or it will be slow" : "";
  return `${whole} (${named.join(", ")}); ${formatBytes(free)} of ${formatBytes(all)} are free${short}`;
}

/** One line about what the run needs and what there is. */
export function estimateText(estimate: TrainingEstimate, machine: Machine): string {
  const { total, weights, moments, activations } = estimate;
  return needText(total, { weights, moments, "activations and gradients": activations }, machine);
}

const ADVICE = "Lower training.batch.size, training.sequenceLength, vocabSize or the model's sizes.";

/**
 * The line about a run's memory. @throws ConfigError if the machine does not have that much, unless `force`; always
 * if a tensor is larger than any memory of the kernels
 */
export function checkMemory(
  config: EstimatedRun,
  force = false,
  machine: Machine = thisMachine(),
  advice = ADVICE,
): string {
  const estimate = estimateTraining(config);
  const { largest, total } = estimate;
  if (largest.bytes > ONE_MEMORY) {
    throw new ConfigError("a tensor exceeds one WebAssembly memory", {
      where: "training",
      name: largest.what,
      expected: `at most ${formatBytes(ONE_MEMORY)}`,
      found: formatBytes(largest.bytes),
      hint: advice,
    });
  }
  if (total > machine.total && !force) {
    throw new ConfigError("the run exceeds this machine's memory", {
      where: "training",
      expected: `at most ${formatBytes(machine.total)}`,
      found: estimateText(estimate, machine),
      hint: `${advice} Use --ignore-memory to try anyway.`,
    });
  }
  return estimateText(estimate, machine);
}
