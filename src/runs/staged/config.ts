/**
 * Settings of a run in stages of a model that sees: which parts are trained on which mixture for how long. A file passed
 * with `--stages` has them; `run.json` holds the result.
 */
import { WORLD_STREAMS, type WorldStream } from "../../data/world/generator.ts";
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  refuseValue,
} from "../../tensor/check-value.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import {
  LATENT_CHOICES,
  type LatentChoice,
  TIME_DISTRIBUTIONS,
  type TimeDistribution,
} from "../../train/objectives/flow.ts";
import { type AdamWOptions, checkAdamW } from "../../train/optimizer.ts";
import { checkTrainedParts, type TrainedParts } from "../../train/rates.ts";
import {
  type BatchSchedule,
  checkBatch,
  checkLearningRate,
  checkPiecewise,
  FRACTION,
  type LearningRateSchedule,
  MOST_STEPS,
  type Piecewise,
  WEIGHT,
} from "../../train/schedule.ts";

/** Where samples come from. */
export type SourceConfig =
  | {
      /** A JSON Lines file of conversations. */
      readonly data: string;
      /** What its images' paths are relative to; default: the file's folder. */
      readonly images?: string;
      /** Whether images may lie anywhere. */
      readonly allowAbsolute?: boolean;
      /** Whether pictures with a caption are drawn for it; else the caption is their answer. Default: where the model draws. */
      readonly draw?: boolean;
    }
  /** A file of plain text. */
  | { readonly text: string }
  /** A stream of the picture world. */
  | {
      readonly world: WorldStream;
      readonly faint?: boolean;
      readonly size?: number;
      /** Of `captions`: whether pictures are drawn for them; default false. */
      readonly draw?: boolean;
    };

export type MixtureEntry = SourceConfig & { readonly weight?: number };

export type LearnedText = "answers" | "all";

export interface StageConfig extends TrainedParts {
  readonly name: string;
  readonly mixture: readonly MixtureEntry[];
  /** Whether each step takes images or text alone; default true. */
  readonly grouped?: boolean;
  readonly textShare?: number;
  readonly textWarmup?: number;
  /** One of both; null or absent: the other. */
  readonly steps?: number | null;
  readonly seconds?: number | null;
  readonly batch: BatchSchedule;
  readonly learningRate: LearningRateSchedule;
  readonly optimizer?: AdamWOptions;
  readonly loss: LearnedText;
  readonly balanceAlpha?: number;
  readonly biasGamma?: Piecewise;
  /** Part of the captions that are left out, so that guidance has what to guide from; default 0.1. */
  readonly dropped?: number;
  /** JanusFlow: where on the way from noise to picture it learns: by name, or `{ mean, deviation }`. Default logit-normal. */
  readonly times?: TimeDistribution;
  /** JanusFlow: whether latents are drawn from their distributions (the default) or are its means. */
  readonly latents?: LatentChoice;
  /** JanusFlow: weight of representation alignment (1), and blocks before it (a quarter of them). */
  readonly alignment?: number;
  readonly alignAfter?: number;
  /** Keeps a moving average of the weights, which the model has at the end if it is the last stage. */
  readonly averageDecay?: number;
}

/** How frozen weights are stored. */
export const FROZEN_FORMATS = ["auto", "f32", "bf16", "f16", "q8", "q4"] as const;

export interface StagedConfig {
  readonly kind: "stages";
  readonly seed: number;
  readonly model: {
    /** Its folder. */
    readonly folder: string;
    /** Whether it begins with the folder's weights or with random ones. */
    readonly start: "weights" | "random";
    /** Storage of what no stage trains; `auto`: as in the files. */
    readonly frozen: (typeof FROZEN_FORMATS)[number];
    /** Standard deviation of random weights. */
    readonly initStd: number;
    /** JanusFlow: the autoencoder that it draws with; default: the folder `vae` in the model's, else the hub's cache. */
    readonly vae?: string;
  };
  /** Most tokens of a sample. */
  readonly sequenceLength: number;
  /** Most tokens that run at once: larger batches run in pieces. */
  readonly tokensAtOnce: number;
  readonly stages: readonly StageConfig[];
  readonly saveEvery: number;
  readonly keep: number;
  /** Samples of each source that are scored and never learned: at most so many, and a tenth of a file; default 0. */
  readonly heldOut?: number;
  /** Steps between two scores; default `saveEvery`. The end of a stage is scored too. */
  readonly evaluateEvery?: number;
}

/** Most samples held out of one source: each score reads them all. */
const MOST_HELD_OUT = 10_000;

/** Most stages, and sources of one. */
const MOST = 100;

function checkMixture(place: Place, value: unknown): asserts value is readonly MixtureEntry[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST) {
    refuseValue(place, "mixture", `a list of 1 to ${MOST} sources`, value);
  }
  value.forEach((entry: unknown, i) => {
    const { fields, at } = checkSection(place, `mixture[${i}]`, entry);
    const kinds = { data: ["images", "allowAbsolute", "draw"], text: [], world: ["faint", "size", "draw"] };
    const given = (Object.keys(kinds) as (keyof typeof kinds)[]).filter((kind) => fields[kind] !== undefined);
    if (given.length !== 1) {
      refuseValue(place, `mixture[${i}]`, "one of data, text and world", entry);
    }
    const [kind] = given;
    checkKeys(at, fields, [kind, "weight", ...kinds[kind]]);
    if (fields.weight !== undefined) checkNumber(at, "weight", fields.weight, { min: 0 });
    if (kind === "world") checkChoice(at, "world", fields.world, Object.keys(WORLD_STREAMS));
    else if (typeof fields[kind] !== "string" || fields[kind] === "")
      refuseValue(at, kind, "a path", fields[kind]);
    if (fields.images !== undefined && typeof fields.images !== "string") {
      refuseValue(at, "images", "a folder", fields.images);
    }
    for (const name of ["allowAbsolute", "faint", "draw"]) {
      const choice = fields[name];
      if (choice !== undefined && typeof choice !== "boolean") refuseValue(at, name, "true or false", choice);
    }
    if (fields.draw === true && kind === "world" && fields.world !== "captions") {
      refuseValue(at, "draw", "false: only captions are drawn", true);
    }
    if (fields.size !== undefined)
      checkNumber(at, "size", fields.size, { integer: true, min: 64, max: 1024 });
  });
}

const STAGE_KEYS = [
  ...[
    "name",
    "trained",
    "rates",
    "mixture",
    "grouped",
    "textShare",
    "textWarmup",
    "steps",
    "seconds",
    "batch",
  ],
  ...["learningRate", "optimizer", "loss", "balanceAlpha", "biasGamma"],
  ...["dropped", "times", "latents", "alignment", "alignAfter", "averageDecay"],
];

/** Far beyond what leaves any time between 0 and 1. */
const MOST_LOGIT = 20;

function checkTimes(place: Place, value: unknown): void {
  if (typeof value !== "object" || value === null) {
    checkChoice(place, "times", value, TIME_DISTRIBUTIONS);
    return;
  }
  const { fields, at } = checkSection(place, "times", value);
  checkKeys(at, fields, ["mean", "deviation"]);
  checkNumber(at, "mean", fields.mean, { min: -MOST_LOGIT, max: MOST_LOGIT });
  checkNumber(at, "deviation", fields.deviation, { above: 0, max: MOST_LOGIT });
}

function checkStage(place: Place, name: string, value: unknown): void {
  const { fields, at } = checkSection(place, name, value);
  checkKeys(at, fields, STAGE_KEYS);
  if (typeof fields.name !== "string" || !/^[\w.-]{1,60}$/.test(fields.name)) {
    refuseValue(at, "name", "a short word", fields.name);
  }
  checkTrainedParts(at, fields);
  checkMixture(at, fields.mixture);
  if (fields.grouped !== undefined && typeof fields.grouped !== "boolean") {
    refuseValue(at, "grouped", "true or false", fields.grouped);
  }
  for (const key of ["textShare", "textWarmup"]) {
    if (fields[key] !== undefined) checkNumber(at, key, fields[key], FRACTION);
  }
  const lengths = [fields.steps ?? null, fields.seconds ?? null].filter((each) => each !== null);
  if (lengths.length === 0 || (lengths.length === 2 && fields.steps === undefined)) {
    refuseValue(at, "steps", "a number of steps, or seconds", fields.steps);
  }
  if (fields.steps != null)
    checkNumber(at, "steps", fields.steps, { integer: true, min: 1, max: MOST_STEPS });
  if (fields.seconds != null) checkNumber(at, "seconds", fields.seconds, { above: 0, max: 1e8 });
  checkBatch(at, "batch", fields.batch);
  checkLearningRate(at, "learningRate", fields.learningRate);
  if (fields.optimizer !== undefined) checkAdamW(at, "optimizer", fields.optimizer);
  checkChoice(at, "loss", fields.loss, ["answers", "all"]);
  if (fields.balanceAlpha !== undefined) checkNumber(at, "balanceAlpha", fields.balanceAlpha, WEIGHT);
  if (fields.biasGamma !== undefined) checkPiecewise(at, "biasGamma", fields.biasGamma, FRACTION);
  for (const key of ["dropped", "averageDecay"]) {
    if (fields[key] !== undefined) checkNumber(at, key, fields[key], FRACTION);
  }
  if (fields.times !== undefined) checkTimes(at, fields.times);
  if (fields.latents !== undefined) checkChoice(at, "latents", fields.latents, LATENT_CHOICES);
  if (fields.alignment !== undefined) checkNumber(at, "alignment", fields.alignment, WEIGHT);
  if (fields.alignAfter !== undefined) {
    checkNumber(at, "alignAfter", fields.alignAfter, { integer: true, min: 1, max: 1024 });
  }
}

/** @throws ConfigError naming the setting that no run can have */
export function checkStaged(config: unknown, where: string): asserts config is StagedConfig {
  const place = { where };
  const { fields } = checkSection(place, "", config);
  const known = [
    "kind",
    "seed",
    "model",
    "sequenceLength",
    "tokensAtOnce",
    "stages",
    "saveEvery",
    "keep",
    "heldOut",
    "evaluateEvery",
  ];
  checkKeys(place, fields, known);
  checkNumber(place, "seed", fields.seed, { integer: true, min: 0, max: 2 ** 32 - 1 });
  const model = checkSection(place, "model", fields.model);
  checkKeys(model.at, model.fields, ["folder", "start", "frozen", "initStd", "vae"]);
  if (model.fields.vae !== undefined && typeof model.fields.vae !== "string") {
    refuseValue(model.at, "vae", "a folder, a file or a name on the hub", model.fields.vae);
  }
  if (typeof model.fields.folder !== "string") refuseValue(model.at, "folder", "a path", model.fields.folder);
  checkChoice(model.at, "start", model.fields.start, ["weights", "random"]);
  checkChoice(model.at, "frozen", model.fields.frozen, FROZEN_FORMATS);
  checkNumber(model.at, "initStd", model.fields.initStd, { min: 0, max: 10 });
  checkNumber(place, "sequenceLength", fields.sequenceLength, { integer: true, min: 2, max: 1e6 });
  checkNumber(place, "tokensAtOnce", fields.tokensAtOnce, { integer: true, min: 2, max: 1e8 });
  checkNumber(place, "saveEvery", fields.saveEvery, { integer: true, min: 1, max: MOST_STEPS });
  checkNumber(place, "keep", fields.keep, { integer: true, min: 1, max: 1000 });
  if (fields.heldOut !== undefined) {
    checkNumber(place, "heldOut", fields.heldOut, { integer: true, min: 0, max: MOST_HELD_OUT });
  }
  if (fields.evaluateEvery !== undefined) {
    checkNumber(place, "evaluateEvery", fields.evaluateEvery, { integer: true, min: 1, max: MOST_STEPS });
  }
  const { stages } = fields;
  if (!Array.isArray(stages) || stages.length === 0 || stages.length > MOST) {
    refuseValue(place, "stages", `a list of 1 to ${MOST} stages`, stages);
  }
  for (const [i, stage] of stages.entries()) checkStage(place, `stages[${i}]`, stage);
  const names = stages.map(({ name }) => name as string);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) refuseValue(place, "stages", "stages of different names", twice);
}

/** Whether the contents of a `run.json` are those of a run in stages. */
export function isStaged(json: unknown): boolean {
  return (json as { kind?: unknown } | null)?.kind === "stages";
}

/** The settings in a `run.json`. @throws FormatError, ConfigError */
export function savedStaged(json: unknown, where: string): StagedConfig {
  if (!isStaged(json)) throw new FormatError("not the settings of a run in stages", { where });
  checkStaged(json, where);
  return json;
}

/** Settings of stages that leave out what others have. */
export interface StageDefaults {
  readonly batch: BatchSchedule;
  readonly learningRate: LearningRateSchedule;
  readonly optimizer: AdamWOptions;
  readonly loss: LearnedText;
}

/**
 * The stages of a file's JSON: a list, or `stages` beside defaults for all of them.
 * @throws ConfigError naming the setting
 */
export function stagesOf(json: unknown, defaults: StageDefaults, where: string): StageConfig[] {
  const outer = Array.isArray(json) ? { stages: json } : json;
  const { fields } = checkSection({ where }, "", outer);
  const { stages, ...common } = fields;
  checkKeys(
    { where },
    common,
    STAGE_KEYS.filter((key) => key !== "name"),
  );
  if (!Array.isArray(stages)) {
    throw new ConfigError("no list of stages", { where, expected: '[{"name": .., "mixture": ..}, ..]' });
  }
  return stages.map((stage: unknown, i) => {
    const { fields: own } = checkSection({ where }, `stages[${i}]`, stage);
    return { ...defaults, ...common, ...own } as unknown as StageConfig;
  });
}
