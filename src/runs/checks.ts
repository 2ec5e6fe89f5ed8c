/**
 * Everything that can be wrong with the settings of a training run, found before anything is prepared: names, ranges,
 * choices, shapes of schedules, and sizes that do not fit each other.
 */
import { type LanguageConfig, parseOwnConfig } from "../models/config.ts";
import { PRECISIONS } from "../nn/precision.ts";
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  refuseValue,
} from "../tensor/check-value.ts";
import { SMALLEST_VOCABULARY } from "../tokenizer/train-bpe.ts";
import { checkTrainOptions } from "../train/trainer.ts";
import { checkData } from "./data-config.ts";
import type { RunConfig, TrainingConfig } from "./settings.ts";

const COUNT = { integer: true, min: 1, max: 1_000_000_000 } as const;
/** Far beyond what one machine trains; smaller than what would fill memory by being described. */
const MOST = { layers: 10_000, width: 1_000_000, experts: 100_000 } as const;

function checkTraining(place: Place, value: unknown): asserts value is TrainingConfig {
  const { fields, at } = checkSection(place, "training", value);
  const {
    seconds,
    sequenceLength,
    evaluateEvery,
    evaluateSequences,
    saveEvery,
    keep,
    precision,
    initStd,
    ...options
  } = fields;
  for (const [name, count] of Object.entries({
    ...{ sequenceLength, evaluateEvery, evaluateSequences, saveEvery, keep },
  })) {
    checkNumber(at, name, count, COUNT);
  }
  checkChoice(at, "precision", precision, PRECISIONS);
  checkNumber(at, "initStd", initStd, { above: 0, max: 10 });
  if (seconds !== null) checkNumber(at, "seconds", seconds, { above: 0, max: 1e9 });
  // Both are there once the speed has set the number of steps.
  if (options.steps === null && seconds === null) {
    refuseValue(place, "training", "steps or seconds", "neither");
  }
  checkTrainOptions(at, options);
}

/** The network that the settings describe. @throws ConfigError */
function checkModel(place: Place, config: RunConfig): LanguageConfig {
  const { fields } = checkSection(place, "model", config.model);
  const at = { where: place.where, prefix: "model." };
  const sizes = {
    num_hidden_layers: MOST.layers,
    num_nextn_predict_layers: 16,
    n_routed_experts: MOST.experts,
    n_shared_experts: MOST.experts,
    ...Object.fromEntries(
      [
        ...["hidden_size", "intermediate_size", "moe_intermediate_size", "num_attention_heads", "head_dim"],
        ...["num_key_value_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"],
        "v_head_dim",
      ].map((key) => [key, MOST.width]),
    ),
    max_position_embeddings: 100_000_000,
  };
  for (const [key, max] of Object.entries(sizes)) {
    const value = fields[key];
    if (value !== undefined && value !== null) checkNumber(at, key, value, { integer: true, min: 0, max });
  }
  if (fields.vocab_size !== undefined) {
    refuseValue(
      at,
      "vocab_size",
      "no value: vocabSize says how many tokens the tokenizer learns",
      fields.vocab_size,
    );
  }
  // A trained tokenizer begins with these two.
  for (const [key, id] of Object.entries({ bos_token_id: 0, eos_token_id: 1 })) {
    const value = fields[key];
    if (value !== undefined && value !== null && value !== id) {
      refuseValue(at, key, `${id}, the id that the trained tokenizer gives it, or no value`, value);
    }
  }
  if (fields.quantization_config !== undefined && fields.quantization_config !== null) {
    refuseValue(
      at,
      "quantization_config",
      "no value: training holds its weights in float32",
      fields.quantization_config,
    );
  }
  return parseOwnConfig({ ...config.model, vocab_size: config.vocabSize }, place.where, "model.");
}

/**
 * Checks all settings, alone and against each other, and returns the network that they describe.
 * @param where the file or option that they come from @throws ConfigError naming the setting
 */
export function checkRunConfig(config: RunConfig, where: string): LanguageConfig {
  const place = { where };
  checkKeys(place, config, ["seed", "vocabSize", "model", "data", "training"]);
  checkNumber(place, "seed", config.seed, { integer: true });
  checkNumber(place, "vocabSize", config.vocabSize, {
    ...{ integer: true, min: SMALLEST_VOCABULARY, max: 10_000_000 },
  });
  checkData(place, config.data);
  checkTraining(place, config.training);
  const model = checkModel(place, config);
  const { sequenceLength } = config.training;
  if (sequenceLength > model.maxPositions) {
    const expected = `at most model.max_position_embeddings = ${model.maxPositions}`;
    refuseValue(place, "training.sequenceLength", expected, sequenceLength);
  }
  if (model.mtpLayers > 0 && sequenceLength <= model.mtpLayers) {
    const expected = `more than model.num_nextn_predict_layers = ${model.mtpLayers}`;
    refuseValue(place, "training.sequenceLength", expected, sequenceLength);
  }
  const { precision } = config.training;
  if (precision !== "f32" && model.moe !== null) {
    const expected = "f32: products of routed experts know no other precision";
    refuseValue(place, "training.precision", expected, precision);
  }
  return model;
}
