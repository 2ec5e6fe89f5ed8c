/**
 * `adapter_config.json` of PEFT (peft/tuners/lora/config.py): what it says of low-rank adapters. Fields that only tell how an
 * adapter was made are passed over; those that would change what it computes must have the value that changes nothing.
 */
import type { LowRankSettings } from "../nn/low-rank-adapters.ts";
import { FormatError } from "../tensor/errors.ts";
import { excerpt, type JsonObject } from "./strict-json.ts";

export const ADAPTER_CONFIG = "adapter_config.json";

/** Most columns that the two matrices of an adapter have in common. */
const MOST_RANK = 4096;

/** Which tensors there are is read from the weights; how they were begun, trained and named does not matter any more. */
const DESCRIPTIVE = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "exclude_modules",
  "inference_mode",
  "layers_pattern",
  "layers_to_transform",
  "lora_dropout",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "revision",
  "target_modules",
  "task_type",
]);

/** What refused fields are for, where the name does not say it. */
const MEANING: Readonly<Record<string, string>> = {
  use_dora: "DoRA's magnitudes are not supported",
  modules_to_save: "whole modules beside adapters are not supported",
  bias: "trained biases are not supported",
  lora_bias: "biases of adapters are not supported",
  rank_pattern: "one rank for all matrices is supported",
  alpha_pattern: "one alpha for all matrices is supported",
  layer_replication: "repeated layers are not supported",
  trainable_token_indices: "trained rows of the embedding are not supported",
  target_parameters:
    "adapters of stacked experts' parameters are not supported, those of each expert's layers are",
};

/** First values that take nothing away from the base model's weights. */
const PLAIN_INITIAL: ReadonlySet<unknown> = new Set([true, false, "gaussian", "eva", "orthogonal"]);

function isNeutral(value: unknown): boolean {
  if (value === null || value === false || value === "none" || value === "") return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** @throws FormatError naming the field that is missing, out of range or not supported */
export function readAdapterConfig(json: JsonObject, where: string): LowRankSettings {
  const refuse = (name: string, expected: unknown, hint?: string): never => {
    throw new FormatError("this adapter is not supported", {
      where,
      name,
      expected,
      found: excerpt(json[name]),
      ...(hint !== undefined && { hint }),
    });
  };
  const { peft_type, r, lora_alpha, use_rslora, init_lora_weights = true, target_modules, ...rest } = json;
  if (peft_type !== "LORA") refuse("peft_type", "LORA");
  if (!(Number.isInteger(r) && (r as number) >= 1 && (r as number) <= MOST_RANK)) {
    refuse("r", `an integer from 1 to ${MOST_RANK}`);
  }
  if (!(typeof lora_alpha === "number" && Number.isFinite(lora_alpha))) refuse("lora_alpha", "a number");
  if (use_rslora !== undefined && typeof use_rslora !== "boolean") refuse("use_rslora", "true or false");
  if (!PLAIN_INITIAL.has(init_lora_weights)) {
    const hint =
      "It belongs to a base model whose weights were changed; let PEFT convert it (path_initial_model_for_weight_conversion).";
    refuse("init_lora_weights", "one that leaves the base model's weights alone", hint);
  }
  for (const [name, value] of Object.entries(rest)) {
    if (DESCRIPTIVE.has(name) || isNeutral(value)) continue;
    refuse(name, "nothing, or what changes nothing", MEANING[name]);
  }
  const targets = Array.isArray(target_modules) ? target_modules : [target_modules];
  return {
    rank: r as number,
    alpha: lora_alpha as number,
    targets: targets.filter((target) => typeof target === "string"),
    rankStabilized: use_rslora === true,
  };
}

/** What `readAdapterConfig` reads, with the fields that PEFT asks for. @param base name or path of the base model */
export function writeAdapterConfig(
  settings: LowRankSettings,
  modules: readonly string[],
  base: string | null,
) {
  const { rank, alpha, targets, rankStabilized = false } = settings;
  // PEFT decides anew what this stands for, so it is written out.
  const last = modules.map((module) => module.split(".").at(-1)!);
  const names = targets.includes("all-linear") ? [...new Set([...targets, ...last])] : targets;
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    revision: null,
    inference_mode: true,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: names.filter((name) => name !== "all-linear"),
    bias: "none",
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    layers_to_transform: null,
    layers_pattern: null,
    rank_pattern: {},
    alpha_pattern: {},
    use_dora: false,
    use_rslora: rankStabilized,
  };
}
