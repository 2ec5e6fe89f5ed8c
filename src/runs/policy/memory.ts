/** What a run that learns from rewards needs of the machine's memory, estimated from its settings alone. */
import { thisMachine } from "../../files/machine.ts";
import { type LanguageConfig, toConfigJson } from "../../models/config.ts";
import { describeDecoder } from "../../models/decoder.ts";
import { cacheBytes, type Machine } from "../../models/memory-needs.ts";
import {
  groupBytes,
  plannedGroups,
  resolveStorage,
  type StorageFormat,
  storageRule,
} from "../../nn/storage.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes } from "../../text/units.ts";
import { estimateAdapters } from "../adapter-memory.ts";
import { estimateTraining, needText } from "../training-memory.ts";
import type { PolicyRunConfig } from "./config.ts";

/** What the estimate depends on. */
export interface EstimatedPolicy extends Pick<PolicyRunConfig, "sampling" | "reference" | "lora"> {
  readonly policy: Omit<PolicyRunConfig["policy"], "stopIds">;
}

export interface PolicyEstimate {
  readonly weights: number;
  /** Of all weights; of adapters with these themselves and their gradients. */
  readonly moments: number;
  /** Gradients with what the forward pass leaves for them. */
  readonly activations: number;
  /** The copy that samples and the reference. */
  readonly others: number;
  readonly caches: number;
  readonly total: number;
}

function storedBytes(config: LanguageConfig, dtype: StorageFormat): number {
  const groups = [...describeDecoder(config).parameters.groups()];
  const plan = resolveStorage(groups, storageRule(dtype));
  let bytes = 0;
  for (const spec of plannedGroups(groups, plan)) bytes += groupBytes(spec, plan.format(spec));
  return bytes;
}

/** What an update of `tokens` takes. */
function learningNeeds(
  { trainer }: EstimatedPolicy["policy"],
  lora: EstimatedPolicy["lora"],
  config: LanguageConfig,
  tokens: number,
): Pick<PolicyEstimate, "weights" | "moments" | "activations"> {
  const optimizer = trainer?.optimizer ?? {};
  if (lora === undefined) {
    return estimateTraining({
      ...{ model: toConfigJson(config), vocabSize: config.vocabSize },
      training: { optimizer, batch: { size: 1 }, sequenceLength: tokens, mtpWeight: 0 },
    });
  }
  const { base, recompute } = lora;
  const { momentDType } = optimizer;
  const { weights, adapters, activations } = estimateAdapters({
    ...{ config, settings: lora, base, recompute, tokens },
    ...(momentDType !== undefined && { momentDType }),
  });
  return { weights, moments: adapters, activations };
}

/** @param longest tokens of the longest prompt */
export function estimatePolicy(
  { policy, sampling, reference, lora }: EstimatedPolicy,
  config: LanguageConfig,
  longest: number,
): PolicyEstimate {
  // Padded to the longest row, and one row at least.
  const tokens = Math.max(policy.passTokens ?? 4096, longest + policy.maxTokens);
  const { weights, moments, activations } = learningNeeds(policy, lora, config, tokens);
  const copy = sampling.dtype === "f32" ? 0 : storedBytes(config, sampling.dtype);
  const penalized = (policy.objective?.beta ?? 0) > 0;
  const near = penalized ? storedBytes(config, reference) : 0;
  const together = Math.min(sampling.together, policy.groups * policy.samples);
  const caches = together * (longest + policy.maxTokens) * cacheBytes(config);
  const others = copy + near;
  return {
    weights,
    moments,
    activations,
    others,
    caches,
    total: weights + moments + activations + others + caches,
  };
}

/** The line about a run's memory. @throws ConfigError if the machine does not have that much, unless `force` */
export function checkPolicyMemory(
  run: EstimatedPolicy,
  config: LanguageConfig,
  longest: number,
  force = false,
  machine: Machine = thisMachine(),
): string {
  const { total, weights, moments, activations, others, caches } = estimatePolicy(run, config, longest);
  const { lora } = run;
  const parts = {
    ...(lora === undefined
      ? { weights, moments, "activations and gradients": activations }
      : {
          [`weights in ${lora.base}`]: weights,
          "adapters with gradients and moments": moments,
          activations,
        }),
    ...(others > 0 && { "copies of the weights": others }),
    caches,
  };
  const text = needText(total, parts, machine);
  if (total <= machine.total || force) return text;
  throw new ConfigError("the run exceeds this machine's memory", {
    ...{ where: "grpo", expected: `at most ${formatBytes(machine.total)}`, found: text },
    hint: "Lower --together, --max-tokens or the tokens of a pass, or take a smaller model; --ignore-memory tries anyway.",
  });
}
