/**
 * The configuration of a training run: presets, a JSON file and options on top of them, checked by name.
 * `run.json` in the run's folder holds the result, so that a resumed run continues with exactly the same settings.
 */
import { ALL_FILTERS } from "../data/filters.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { AdamWOptions } from "../train/optimizer.ts";
import type { BatchSchedule, LearningRateSchedule, Piecewise } from "../train/schedule.ts";
import { checkData, type DataConfig, dataNulls } from "./data-config.ts";

export interface TrainingConfig {
  /** Updates; null where `seconds` decides. */
  readonly steps: number | null;
  /** Wall time of the training loop, from which `steps` is set once the speed is known; null for no limit. */
  readonly seconds: number | null;
  readonly sequenceLength: number;
  readonly batch: BatchSchedule;
  readonly learningRate: LearningRateSchedule;
  readonly optimizer: AdamWOptions;
  readonly mtpWeight: Piecewise;
  readonly balanceAlpha: number;
  readonly biasGamma: Piecewise;
  /** Standard deviation of the initial weights. */
  readonly initStd: number;
  /** Steps between evaluations on the held-out part; the last step is always evaluated. */
  readonly evaluateEvery: number;
  /** Sequences of one evaluation. */
  readonly evaluateSequences: number;
  /** Steps between saved states; the last step is always saved. */
  readonly saveEvery: number;
  /** Saved states to keep. */
  readonly keep: number;
}

export interface RunConfig {
  readonly seed: number;
  readonly vocabSize: number;
  /** An official `config.json` without `vocab_size`, which comes from the tokenizer. */
  readonly model: Readonly<Record<string, unknown>>;
  readonly data: DataConfig;
  readonly training: TrainingConfig;
}

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

/** The preset `name`. @throws ConfigError */
export function preset(name: string): RunConfig {
  if (!Object.hasOwn(presets, name)) {
    throw new ConfigError("no such preset", { name: "preset", expected: Object.keys(presets), found: name });
  }
  return presets[name];
}

type Json = Record<string, unknown>;
const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null && !Array.isArray(v);

/** Keys that a run configuration may leave out of its preset, and that are not checked against it. */
const optional: Readonly<Record<string, readonly string[]>> = {
  "data.filters": Object.keys(ALL_FILTERS),
  "training.optimizer": ["beta1", "beta2", "epsilon", "weightDecay", "clipNorm", "momentDType"],
  "training.batch": ["size", "startSize", "rampFraction"],
  "training.learningRate": ["peak", "warmupSteps", "shape", "finalFraction", "dropsAt", "dropFactor"],
};

/** Keys that null switches off. */
const nullable = new Set([...dataNulls, "training.steps", "training.seconds"]);

/**
 * `base` with the values of `over`, key by key; `model` is taken over whole where it names another `model_type`, and
 * of `steps` and `seconds` the one given replaces the other.
 * @throws ConfigError on a key that a run does not have or a value of another type
 */
export function mergeConfig(base: RunConfig, over: unknown, where = "config"): RunConfig {
  if (!isObject(over))
    throw new ConfigError("a run configuration is an object", {
      where,
      expected: '{"training": {"steps": 300}} and the like',
      found: Array.isArray(over) ? "a list" : JSON.stringify(over),
    });
  const merged = merge(base as unknown as Json, over, where, "") as unknown as RunConfig;
  const given = isObject(over.training) ? over.training : {};
  const { training } = merged;
  if (typeof given.seconds === "number" && given.steps === undefined) {
    return checked({ ...merged, training: { ...training, steps: null } }, where);
  }
  if (typeof given.steps === "number" && given.seconds === undefined) {
    return checked({ ...merged, training: { ...training, seconds: null } }, where);
  }
  return checked(merged, where);
}

/** Refuses numbers that no run can have; what models and tokenizers ask for they check themselves. */
function checked(config: RunConfig, where: string): RunConfig {
  const { steps, seconds, sequenceLength, batch, evaluateEvery, evaluateSequences, saveEvery, keep } =
    config.training;
  const refuse = (name: string, expected: string, found: unknown): never => {
    throw new ConfigError("out of range", { where, name, expected, found });
  };
  const counts = {
    sequenceLength,
    "batch.size": batch.size,
    evaluateEvery,
    evaluateSequences,
    saveEvery,
    keep,
  };
  for (const [name, value] of Object.entries(counts)) {
    if (!(Number.isSafeInteger(value) && value >= 1))
      refuse(`training.${name}`, "an integer, 1 or more", value);
  }
  if (!Number.isSafeInteger(config.seed)) refuse("seed", "an integer", config.seed);
  if (steps !== null && !(Number.isSafeInteger(steps) && steps >= 1)) {
    refuse("training.steps", "an integer, 1 or more, or null", steps);
  }
  if (seconds !== null && !(typeof seconds === "number" && seconds > 0)) {
    refuse("training.seconds", "above 0, or null", seconds);
  }
  if ((steps === null) === (seconds === null)) {
    refuse("training", "either steps or seconds, the other null", `steps ${steps}, seconds ${seconds}`);
  }
  checkData(config.data, where);
  return config;
}

function merge(base: Json, over: Json, where: string, path: string): Json {
  const out: Json = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const name = path === "" ? key : `${path}.${key}`;
    if (name === "preset") continue;
    if (name === "model") {
      if (!isObject(value)) throw new ConfigError("an official config.json", { where, name, found: value });
      const other = value.model_type !== undefined && value.model_type !== (base.model as Json).model_type;
      out.model = other ? value : { ...(base.model as Json), ...value };
      continue;
    }
    const known = Object.hasOwn(base, key) || optional[path]?.includes(key);
    if (!known) {
      throw new ConfigError("no such key", {
        where,
        name,
        expected: [...new Set([...Object.keys(base), ...(optional[path] ?? [])])],
      });
    }
    const old = base[key];
    if (isObject(old)) {
      if (!isObject(value)) throw new ConfigError("an object", { where, name, found: value });
      out[key] = merge(old, value, where, name);
    } else if (value === null && nullable.has(name)) {
      out[key] = null;
    } else if (typeof old === "number" && typeof value !== "number" && !Array.isArray(value)) {
      throw new ConfigError("a number", { where, name, found: value });
    } else if ((typeof old === "boolean" || path === "data.filters") && typeof value !== "boolean") {
      throw new ConfigError("true or false", { where, name, found: value });
    } else out[key] = value;
  }
  return out;
}
