/**
 * The configuration of a training run: presets, a JSON file and options on top of them, checked by name.
 * `run.json` in the run's folder holds the result, so that a resumed run continues with exactly the same settings.
 */
import { ALL_FILTERS } from "../data/filters.ts";
import type { LanguageConfig } from "../models/config.ts";
import { checkKeys, refuseValue, shownValue } from "../tensor/check-value.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { withoutOtherShapes } from "../train/schedule.ts";
import { checkRunConfig } from "./checks.ts";
import type { DataConfig, RunConfig, TrainingConfig } from "./settings.ts";

export type { DataConfig, RunConfig, TrainingConfig } from "./settings.ts";

const v3Router = {
  norm_topk_prob: true,
  scoring_func: "sigmoid",
  topk_method: "noaux_tc",
  routed_scaling_factor: 2.5,
  moe_layer_freq: 1,
};

const common = {
  hidden_act: "silu",
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  rope_scaling: null,
  attention_bias: false,
  tie_word_embeddings: false,
  max_position_embeddings: 2048,
  bos_token_id: 0,
  eos_token_id: 1,
};

function v3(hidden: number, layers: number, more: Record<string, unknown>): Record<string, unknown> {
  return {
    ...common,
    architectures: ["DeepseekV3ForCausalLM"],
    model_type: "deepseek_v3",
    hidden_size: hidden,
    num_hidden_layers: layers,
    first_k_dense_replace: 1,
    n_shared_experts: 1,
    num_nextn_predict_layers: 1,
    ...v3Router,
    ...more,
  };
}

const baseData: DataConfig = {
  extensions: "code",
  include: [],
  includeNodeModules: false,
  filters: {},
  maxFileBytes: null,
  maxBytes: null,
  nearDuplicates: 0.85,
  heldOut: 0.02,
  splitSeed: null,
  fimRate: 0.1,
  tokenizerBytes: 200_000_000,
};

const baseTraining: TrainingConfig = {
  steps: 2000,
  seconds: null,
  sequenceLength: 256,
  batch: { size: 8 },
  learningRate: { peak: 2e-3, warmupSteps: 50, shape: "cosine", finalFraction: 0.05 },
  optimizer: { weightDecay: 0.1, clipNorm: 1 },
  mtpWeight: [
    [0, 0.3],
    [0.68, 0.1],
  ],
  balanceAlpha: 1e-4,
  biasGamma: [
    [0, 1e-3],
    [0.97, 0],
  ],
  precision: "f32",
  initStd: 0.02,
  evaluateEvery: 100,
  evaluateSequences: 64,
  saveEvery: 200,
  keep: 2,
};

/** Named starting points: the demo, and one small model of each architecture. */
export const presets: Readonly<Record<string, RunConfig>> = {
  // Chosen for what it learns in two minutes on two cores; the trials are in LOG.md.
  demo: {
    seed: 1,
    vocabSize: 2048,
    model: v3(256, 2, {
      intermediate_size: 448,
      moe_intermediate_size: 128,
      n_routed_experts: 16,
      num_experts_per_tok: 4,
      n_group: 4,
      topk_group: 2,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      q_lora_rank: 96,
      kv_lora_rank: 64,
      qk_nope_head_dim: 32,
      qk_rope_head_dim: 16,
      v_head_dim: 32,
    }),
    data: {
      ...baseData,
      extensions: "typescript",
      includeNodeModules: true,
      maxBytes: 5_000_000,
      filters: { lineLength: false },
      heldOut: 0.05,
      fimRate: 0.3,
    },
    training: {
      ...baseTraining,
      steps: null,
      seconds: 120,
      batch: { size: 4 },
      learningRate: { peak: 4e-3, warmupSteps: 50, shape: "cosine", finalFraction: 0.02 },
      // So short a run balances its experts only with larger steps than the 1e-3 of a long one.
      biasGamma: [
        [0, 5e-3],
        [0.97, 0],
      ],
      evaluateEvery: 200,
      saveEvery: 200,
    },
  },
  "v3-small": {
    seed: 1,
    vocabSize: 4096,
    model: v3(256, 6, {
      intermediate_size: 704,
      moe_intermediate_size: 128,
      n_routed_experts: 32,
      num_experts_per_tok: 4,
      n_group: 4,
      topk_group: 2,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      q_lora_rank: 96,
      kv_lora_rank: 64,
      qk_nope_head_dim: 32,
      qk_rope_head_dim: 16,
      v_head_dim: 32,
    }),
    data: baseData,
    training: baseTraining,
  },
  "v2-small": {
    seed: 1,
    vocabSize: 4096,
    model: {
      ...common,
      architectures: ["DeepseekV2ForCausalLM"],
      model_type: "deepseek_v2",
      hidden_size: 256,
      num_hidden_layers: 6,
      intermediate_size: 704,
      moe_intermediate_size: 128,
      first_k_dense_replace: 1,
      moe_layer_freq: 1,
      n_shared_experts: 2,
      n_routed_experts: 32,
      num_experts_per_tok: 4,
      n_group: 1,
      topk_group: 1,
      topk_method: "greedy",
      scoring_func: "softmax",
      norm_topk_prob: false,
      routed_scaling_factor: 1,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      q_lora_rank: null,
      kv_lora_rank: 64,
      qk_nope_head_dim: 32,
      qk_rope_head_dim: 16,
      v_head_dim: 32,
    },
    data: baseData,
    training: { ...baseTraining, mtpWeight: 0, balanceAlpha: 1e-3, biasGamma: 0 },
  },
  "moe-small": {
    seed: 1,
    vocabSize: 4096,
    model: {
      ...common,
      architectures: ["DeepseekForCausalLM"],
      model_type: "deepseek",
      hidden_size: 256,
      num_hidden_layers: 6,
      intermediate_size: 704,
      moe_intermediate_size: 128,
      first_k_dense_replace: 1,
      moe_layer_freq: 1,
      n_shared_experts: 2,
      n_routed_experts: 32,
      num_experts_per_tok: 4,
      scoring_func: "softmax",
      norm_topk_prob: false,
      num_attention_heads: 4,
      num_key_value_heads: 4,
    },
    data: baseData,
    training: { ...baseTraining, mtpWeight: 0, balanceAlpha: 1e-3, biasGamma: 0 },
  },
  "llm-small": {
    seed: 1,
    vocabSize: 4096,
    model: {
      ...common,
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      hidden_size: 256,
      num_hidden_layers: 6,
      intermediate_size: 704,
      num_attention_heads: 4,
      num_key_value_heads: 4,
    },
    data: baseData,
    training: { ...baseTraining, mtpWeight: 0, balanceAlpha: 0, biasGamma: 0 },
  },
};

/** What each preset is, in a few words. */
export const PRESET_NOTES: Readonly<Record<keyof typeof presets, string>> = {
  demo: "the small V3 of the demo, for TypeScript",
  "v3-small":
    "latent attention, mixture of experts with auxiliary-loss-free balancing, multi-token prediction",
  "v2-small": "latent attention, mixture of experts",
  "moe-small": "mixture of experts",
  "llm-small": "dense",
};

/** The preset `name`. @throws ConfigError */
export function preset(name: string): RunConfig {
  if (!Object.hasOwn(presets, name)) {
    throw new ConfigError("no such preset", { name: "preset", expected: Object.keys(presets), found: name });
  }
  return presets[name];
}

type Json = Record<string, unknown>;
const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null && !Array.isArray(v);

/** Keys that a preset may leave out. */
const optional: Readonly<Record<string, readonly string[]>> = {
  "data.filters": Object.keys(ALL_FILTERS),
  "training.optimizer": ["beta1", "beta2", "epsilon", "weightDecay", "clipNorm", "momentDType"],
  "training.batch": ["size", "startSize", "rampFraction"],
  "training.learningRate": ["peak", "warmupSteps", "shape", "finalFraction", "dropsAt", "dropFactor"],
};

/**
 * `base` with the values of `over`, key by key, checked as a whole. `model` is taken over whole if it names another
 * `model_type`; of `steps` and `seconds` the one given replaces the other; another shape of the learning rate leaves
 * behind what only the old one has.
 * @throws ConfigError on a key that a run does not have, or a value that is out of range or does not fit the others
 */
export function mergeConfig(base: RunConfig, over: unknown, where = "config"): RunConfig {
  if (!isObject(over)) {
    throw new ConfigError("a run configuration must be a JSON object", { where, found: shownValue(over) });
  }
  const merged = merge(base as unknown as Json, over, where, "") as unknown as RunConfig;
  const given = isObject(over.training) ? over.training : {};
  const training = { ...merged.training } as Json;
  if ((given.steps ?? null) !== null && (given.seconds ?? null) !== null) {
    const found = `steps ${shownValue(given.steps)}, seconds ${shownValue(given.seconds)}`;
    refuseValue({ where }, "training", "either steps or seconds", found);
  }
  if ((given.seconds ?? null) !== null && given.steps === undefined) training.steps = null;
  if ((given.steps ?? null) !== null && given.seconds === undefined) training.seconds = null;
  const model = isObject(over.model) ? over.model : {};
  // Both say how large the first weights are; this is the official name.
  if (model.initializer_range !== undefined && given.initStd === undefined) {
    training.initStd = model.initializer_range;
  }
  const config = { ...merged, training: training as unknown as TrainingConfig };
  checkUse(given, checkRunConfig(config, where), where);
  return config;
}

/** Refuses weights of losses that the model does not have, if they were asked for. @throws ConfigError */
function checkUse(given: Json, { mtpLayers, moe }: LanguageConfig, where: string): void {
  const without = {
    mtpWeight:
      mtpLayers === 0 &&
      "model.num_nextn_predict_layers is 0: the model has no multi-token-prediction module",
    balanceAlpha:
      (moe === null && "the model has no experts to balance") ||
      (moe?.baseline?.kind === "hash" && "hash layers have no router to balance"),
    biasGamma: !moe?.router.bias && "the model's router has no bias",
  };
  for (const [name, reason] of Object.entries(without)) {
    const value = given[name];
    if (reason && value !== undefined && value !== 0) {
      refuseValue({ where, prefix: "training." }, name, `0: ${reason}`, value);
    }
  }
}

/** Parts of a run that lie in other folders, as paths from its own: runs of a sweep share them. */
export interface RunLinks {
  /** The prepared run whose tokenizer and tokens it reads; absent: its own. */
  readonly prepared?: string;
  /** The saved state that it begins with; absent: fresh weights. */
  readonly start?: string;
}

/**
 * A configuration as `run.json` holds it; what an earlier version did not write yet is as in the presets.
 * @throws ConfigError, FormatError naming what is damaged
 */
export function savedConfig(
  json: unknown,
  where: string,
): { config: RunConfig; folder: string; links: RunLinks } {
  if (!isObject(json)) throw new FormatError("not the settings of a run", { where, found: shownValue(json) });
  const { folder, prepared, start, ...saved } = json;
  for (const [name, link] of Object.entries({ prepared, start })) {
    if (link !== undefined && typeof link !== "string") refuseValue({ where }, name, "a path", link);
  }
  const hint = "Was the file edited or damaged? Its settings stand in docs/training.md.";
  for (const key of ["seed", "vocabSize", "model", "data", "training"]) {
    if (saved[key] === undefined) throw new FormatError("a setting is missing", { where, name: key, hint });
  }
  const config = {
    ...saved,
    data: isObject(saved.data) ? { ...baseData, ...saved.data } : saved.data,
    training: isObject(saved.training) ? { ...baseTraining, ...saved.training } : saved.training,
  } as unknown as RunConfig;
  checkRunConfig(config, where);
  const links = {
    ...(prepared !== undefined && { prepared }),
    ...(start !== undefined && { start }),
  } as RunLinks;
  return { config, folder: typeof folder === "string" ? folder : "", links };
}

function merge(base: Json, over: Json, where: string, path: string): Json {
  let out: Json = { ...base };
  if (path === "training.learningRate" && over.shape !== undefined && over.shape !== base.shape) {
    out = withoutOtherShapes({ ...base, shape: over.shape });
  }
  for (const [key, value] of Object.entries(over)) {
    const name = path === "" ? key : `${path}.${key}`;
    if (name === "preset") continue;
    if (name === "model") {
      if (!isObject(value)) refuseValue({ where }, name, "an official config.json", value);
      const other = value.model_type !== undefined && value.model_type !== (base.model as Json).model_type;
      out.model = other ? value : { ...(base.model as Json), ...value };
      continue;
    }
    const known = [...new Set([...Object.keys(base), ...(optional[path] ?? [])])];
    checkKeys({ where, prefix: path === "" ? "" : `${path}.` }, { [key]: value }, known);
    const old = base[key];
    // Schedules may be numbers or lists; everything else that is an object is merged.
    if (isObject(old)) {
      if (!isObject(value)) refuseValue({ where }, name, "an object", value);
      out[key] = merge(old, value, where, name);
    } else out[key] = value;
  }
  return out;
}

/** Preset that a configuration builds on, where it names none. */
const DEFAULT_PRESET = "v3-small";

/**
 * A configuration file's settings on top of a preset. @param named the preset, in place of the file's own
 * @throws ConfigError, FormatError
 */
export function configFrom(
  file: unknown,
  where: string | undefined,
  named?: string,
): { readonly name: string; readonly config: RunConfig } {
  const inFile = (file as { preset?: unknown } | null)?.preset;
  if (inFile !== undefined && typeof inFile !== "string") {
    refuseValue({ where: where! }, "preset", Object.keys(presets).join(" | "), inFile);
  }
  const name = named ?? inFile ?? DEFAULT_PRESET;
  return { name, config: mergeConfig(preset(name), file, where) };
}
