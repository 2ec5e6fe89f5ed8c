/**
 * Settings of a run that goes on with a language model: fine-tuning (`sft`) and preferences (`dpo`). `run.json` holds them all, so
 * that a resumed run has exactly the same.
 */
import { checkAdapterSettings } from "../../models/adapted-model.ts";
import type { LowRankSettings } from "../../nn/low-rank-adapters.ts";
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  refuseValue,
} from "../../tensor/check-value.ts";
import { FormatError } from "../../tensor/errors.ts";
import { checkPreferenceOptions, type PreferenceOptions } from "../../train/objectives/preference.ts";
import type { AdamWOptions } from "../../train/optimizer.ts";
import { type BatchSchedule, type LearningRateSchedule, MOST_STEPS } from "../../train/schedule.ts";
import { checkTrainOptions } from "../../train/trainer.ts";

/** The model that a run begins with. */
export interface TunedBase {
  /** What the user called it. */
  readonly name: string;
  /** Its folder, or the folder of its GGUF file. */
  readonly folder: string;
  readonly gguf: string | null;
  /** Prediction layers that its files hold. */
  readonly mtpLayers: number;
  /** Of configuration and weights: a run does not begin with another model than it was prepared for. */
  readonly fingerprint: string;
}

/** Where rows are from, and which are held out. */
export interface TunedData {
  readonly names: readonly string[];
  readonly split?: string;
  readonly subset?: string;
  /** Share of rows that are scored and never learned, and most of them. */
  readonly heldOut: { readonly share: number; readonly most: number };
}

export interface TunedTraining {
  /** Updates; null if `seconds` decides. */
  readonly steps: number | null;
  readonly seconds: number | null;
  /** Rows, or pairs, of an update. */
  readonly batch: BatchSchedule;
  readonly learningRate: LearningRateSchedule;
  readonly optimizer: AdamWOptions;
  /** Weight of the balance loss of experts; their router biases stay. */
  readonly balanceAlpha: number;
  readonly evaluateEvery: number;
  readonly saveEvery: number;
  /** Saved states to keep. */
  readonly keep: number;
}

/** Storage of the resulting model's floats. */
export const RESULT_DTYPES = ["F32", "BF16", "F16"] as const;

/** Storage of the weights below adapters. */
export const ADAPTER_BASES = ["f32", "bf16", "f16", "q8", "q4"] as const;

/** Adapters in place of all weights. */
export interface TunedAdapter extends LowRankSettings {
  readonly base: (typeof ADAPTER_BASES)[number];
  /** Whether the values inside blocks are made again in the backward pass: less memory, a third more time. */
  readonly recompute: boolean;
}

/** What all kinds of fine-tuning have. */
export interface TunedSettings {
  readonly seed: number;
  readonly model: TunedBase;
  readonly data: TunedData;
  /** Most tokens of a row. */
  readonly sequenceLength: number;
  /** Most tokens that run at once: larger batches run in parts. */
  readonly tokensAtOnce: number;
  readonly training: TunedTraining;
  readonly dtype: (typeof RESULT_DTYPES)[number];
  /** Absent: all weights are trained. */
  readonly lora?: TunedAdapter;
}

export interface SftConfig extends TunedSettings {
  readonly kind: "sft";
  readonly learn: "answers" | "all";
  /** What becomes of a row that is longer than `sequenceLength`. */
  readonly overlong: "cut" | "drop";
}

export interface DpoConfig extends TunedSettings {
  readonly kind: "dpo";
  readonly preference: PreferenceOptions;
  readonly overlong: "cut" | "drop";
}

export type TunedConfig = SftConfig | DpoConfig;

/** Kinds of runs in `run.json`. */
export const TUNED_KINDS = ["sft", "dpo"] as const;

const COMMON = [
  "kind",
  "seed",
  "model",
  "data",
  "sequenceLength",
  "tokensAtOnce",
  "training",
  "dtype",
  "lora",
];

/** @throws ConfigError */
export function checkBase(place: Place, value: unknown): void {
  const { fields, at } = checkSection(place, "model", value);
  checkKeys(at, fields, ["name", "folder", "gguf", "mtpLayers", "fingerprint"]);
  for (const name of ["name", "folder", "fingerprint"] as const) {
    if (typeof fields[name] !== "string") refuseValue(at, name, "a text", fields[name]);
  }
  if (fields.gguf !== null && typeof fields.gguf !== "string") {
    refuseValue(at, "gguf", "a file's name or null", fields.gguf);
  }
  checkNumber(at, "mtpLayers", fields.mtpLayers, { integer: true, min: 0, max: 16 });
}

function checkTunedData(place: Place, value: unknown): void {
  const { fields, at } = checkSection(place, "data", value);
  checkKeys(at, fields, ["names", "split", "subset", "heldOut"]);
  const { names } = fields;
  if (!Array.isArray(names) || names.length === 0 || !names.every((name) => typeof name === "string")) {
    refuseValue(at, "names", "a list of files, folders or data sets", names);
  }
  for (const name of ["split", "subset"] as const) {
    if (fields[name] !== undefined && typeof fields[name] !== "string")
      refuseValue(at, name, "a text", fields[name]);
  }
  const held = checkSection(at, "heldOut", fields.heldOut);
  checkKeys(held.at, held.fields, ["share", "most"]);
  checkNumber(held.at, "share", held.fields.share, { min: 0, below: 1 });
  checkNumber(held.at, "most", held.fields.most, { integer: true, min: 0, max: 1_000_000 });
}

function checkTraining(place: Place, value: unknown): void {
  const { fields, at } = checkSection(place, "training", value);
  const { seconds, evaluateEvery, saveEvery, keep, ...options } = fields;
  for (const [name, count] of Object.entries({ evaluateEvery, saveEvery })) {
    checkNumber(at, name, count, { integer: true, min: 1, max: MOST_STEPS });
  }
  checkNumber(at, "keep", keep, { integer: true, min: 1, max: 1000 });
  if (seconds !== null) checkNumber(at, "seconds", seconds, { above: 0, max: 1e9 });
  if (options.steps === null && seconds === null)
    refuseValue(place, "training", "steps or seconds", "neither");
  checkTrainOptions(at, options);
}

/** @throws ConfigError */
export function checkAdapter(place: Place, value: unknown): void {
  const { fields, at } = checkSection(place, "lora", value);
  checkKeys(at, fields, ["rank", "alpha", "targets", "rankStabilized", "base", "recompute"]);
  checkAdapterSettings(at, fields as unknown as TunedAdapter);
  checkChoice(at, "base", fields.base, ADAPTER_BASES);
  for (const name of ["rankStabilized", "recompute"] as const) {
    const found = fields[name];
    if (found !== undefined && typeof found !== "boolean") refuseValue(at, name, "true or false", found);
  }
}

/** @throws ConfigError naming the setting; `where` is the file or command that it is from */
export function checkTuned(value: unknown, where: string): asserts value is TunedConfig {
  const place = { where };
  const { fields } = checkSection(place, "", value);
  checkChoice(place, "kind", fields.kind, TUNED_KINDS);
  const own = fields.kind === "sft" ? ["learn", "overlong"] : ["preference", "overlong"];
  checkKeys(place, fields, [...COMMON, ...own]);
  checkNumber(place, "seed", fields.seed, { integer: true, min: 0, max: 2 ** 32 - 1 });
  checkBase(place, fields.model);
  checkTunedData(place, fields.data);
  checkNumber(place, "sequenceLength", fields.sequenceLength, { integer: true, min: 2, max: 2 ** 24 });
  checkNumber(place, "tokensAtOnce", fields.tokensAtOnce, { integer: true, min: 2, max: 1e8 });
  checkChoice(place, "dtype", fields.dtype, RESULT_DTYPES);
  checkChoice(place, "overlong", fields.overlong, ["cut", "drop"]);
  checkTraining(place, fields.training);
  if (fields.lora !== undefined) checkAdapter(place, fields.lora);
  if (fields.kind === "sft") checkChoice(place, "learn", fields.learn, ["answers", "all"]);
  else {
    const preference = checkSection(place, "preference", fields.preference);
    checkPreferenceOptions(preference.at, preference.fields);
  }
}

/** Whether the contents of a `run.json` are those of such a run. */
export function isTuned(json: unknown): boolean {
  const kind = (json as { kind?: unknown } | null)?.kind;
  return TUNED_KINDS.some((each) => each === kind);
}

/** The settings in a `run.json`. @throws FormatError, ConfigError */
export function savedTuned(json: unknown, where: string): TunedConfig {
  if (!isTuned(json)) throw new FormatError("not the settings of such a run", { where });
  checkTuned(json, where);
  return json;
}
