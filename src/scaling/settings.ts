/**
 * What a sweep is asked for: a JSON file, checked by name. What it leaves out follows DeepSeek LLM (arXiv 2401.02954, section 3): grids of
 * learning rate and batch around the published laws, sizes around the published optimum.
 */
import { mergeConfig, preset, presets } from "../runs/config.ts";
import type { RunConfig } from "../runs/settings.ts";
import { checkKeys, checkNumber, checkSection, type Place, refuseValue } from "../tensor/check-value.ts";
import { PUBLISHED } from "./hyperparameters.ts";
import { type DenseShape, denseModel, ladder } from "./ladder.ts";
import type { PowerLaw } from "./least-squares.ts";

export type Law = Pick<PowerLaw, "coefficient" | "exponent">;

/** A model of the ladder. */
export interface RungSettings {
  readonly name: string;
  /** Keys of its `config.json` that differ from the run's model. */
  readonly model: Readonly<Record<string, unknown>>;
}

export interface GridSettings {
  /** C of each grid. */
  readonly budgets: readonly number[];
  /** Factors of what the published laws give. */
  readonly learningRates: readonly number[];
  readonly batches: readonly number[];
  /** A seed that the sweep does not use. */
  readonly seed: number;
}

export interface ScaleSettings {
  /** Settings of every run: vocabulary, data, sequence length, optimizer. */
  readonly run: RunConfig;
  readonly seeds: readonly number[];
  readonly rungs: readonly RungSettings[];
  /** C in FLOPs, rising. */
  readonly budgets: readonly number[];
  readonly sizesPerBudget: number;
  /** Where the optimal M is expected over C; it only chooses sizes. */
  readonly expected: Law;
  /** "fit": the grids decide. */
  readonly hyperparameters: "fit" | { readonly learningRate: Law; readonly batchTokens: Law };
  readonly grid: GridSettings | null;
  /** Whether runs of a size share the steps before the first drop of the rate. */
  readonly reuse: boolean;
  readonly warmupSteps: number;
}

const MOST_BUDGETS = 40;
const MOST_SEEDS = 100;
const MOST_FACTORS = 12;
const COMPUTE = { above: 0, max: 1e30 };
/** Tokens that an evaluation reads unless the file says otherwise: below that its noise hides the effect. */
const EVALUATED_TOKENS = 1_000_000;

function checkList(
  place: Place,
  name: string,
  value: unknown,
  most: number,
  check: (name: string, each: unknown) => void,
): asserts value is number[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > most) {
    refuseValue(place, name, `a list of 1 to ${most} numbers`, value);
  }
  for (const [i, each] of value.entries()) check(`${name}[${i}]`, each);
  if (new Set(value).size < value.length) refuseValue(place, name, "numbers that differ", value);
}

function checkLaw(place: Place, name: string, value: unknown): asserts value is Law {
  const { fields, at } = checkSection(place, name, value);
  checkKeys(at, fields, ["coefficient", "exponent"]);
  checkNumber(at, "coefficient", fields.coefficient, { above: 0, max: 1e30 });
  checkNumber(at, "exponent", fields.exponent, { min: -3, max: 3 });
}

function rungsOf(place: Place, value: unknown, length: number): RungSettings[] {
  if (!Array.isArray(value)) {
    const { fields, at } = checkSection(place, "ladder", value);
    checkKeys(at, fields, ["from", "to", "spacing"]);
    for (const name of ["from", "to"]) checkNumber(at, name, fields[name], COMPUTE);
    if (fields.spacing !== undefined) checkNumber(at, "spacing", fields.spacing, { min: 1.05, max: 10 });
    const { from, to, spacing } = fields as { from: number; to: number; spacing?: number };
    return ladder({ from, to, spacing, length }).map(denseRung);
  }
  if (value.length === 0 || value.length > 100) refuseValue(place, "ladder", "1 to 100 models", value.length);
  const rungs = value.map((each, i): RungSettings => {
    const { fields, at } = checkSection(place, `ladder[${i}]`, each);
    if (fields.model === undefined) {
      checkKeys(at, fields, ["width", "layers"]);
      checkNumber(at, "width", fields.width, { integer: true, min: 8, max: 65_536 });
      checkNumber(at, "layers", fields.layers, { integer: true, min: 1, max: 1000 });
      return denseRung(fields as unknown as DenseShape);
    }
    checkKeys(at, fields, ["name", "model"]);
    const { name, model } = fields;
    if (typeof name !== "string" || !/^[a-z0-9][a-z0-9.-]{0,39}$/.test(name)) {
      refuseValue(at, "name", "up to 40 small letters, digits, dots and hyphens", name);
    }
    checkSection(at, "model", model);
    return { name, model: model as Record<string, unknown> };
  });
  if (new Set(rungs.map(({ name }) => name)).size < rungs.length) {
    refuseValue(place, "ladder", "models with different names", rungs.map(({ name }) => name).join(", "));
  }
  return rungs;
}

function denseRung(shape: DenseShape): RungSettings {
  return { name: `d${shape.width}-l${shape.layers}`, model: denseModel(shape) };
}

function runOf(value: unknown, where: string): RunConfig {
  const { fields } = checkSection({ where }, "run", value);
  const name = fields.preset ?? "llm-small";
  if (typeof name !== "string") refuseValue({ where }, "run.preset", Object.keys(presets).join(" | "), name);
  const base = preset(name);
  const config = mergeConfig(base, fields, where);
  const given = (fields.training ?? {}) as Record<string, unknown>;
  for (const name of ["steps", "seconds", "learningRate"]) {
    if (given[name] !== undefined) {
      refuseValue({ where }, `run.training.${name}`, "nothing: budgets and laws decide it", given[name]);
    }
  }
  if (config.training.batch.rampFraction !== undefined) {
    refuseValue(
      { where },
      "run.training.batch.rampFraction",
      "nothing: a law decides the batch",
      config.training.batch,
    );
  }
  const evaluateSequences = Math.ceil(EVALUATED_TOKENS / config.training.sequenceLength);
  if (given.evaluateSequences !== undefined) return config;
  return { ...config, training: { ...config.training, evaluateSequences } };
}

/** @throws ConfigError naming the setting */
export function scaleSettings(json: unknown, where: string): ScaleSettings {
  const place = { where };
  const { fields } = checkSection(place, "scaling", json);
  const known = [
    "run",
    "seeds",
    "ladder",
    "budgets",
    "sizesPerBudget",
    "expected",
    "hyperparameters",
    "grid",
  ];
  checkKeys(place, fields, [...known, "reuse", "warmupSteps"]);
  const run = runOf(fields.run ?? {}, where);
  const seeds = fields.seeds ?? [1, 2, 3];
  checkList(place, "seeds", seeds, MOST_SEEDS, (name, each) =>
    checkNumber(place, name, each, { integer: true, min: 0, max: 2 ** 31 }),
  );
  const { budgets } = fields;
  checkList(place, "budgets", budgets, MOST_BUDGETS, (name, each) => checkNumber(place, name, each, COMPUTE));
  const sizesPerBudget = fields.sizesPerBudget ?? 7;
  checkNumber(place, "sizesPerBudget", sizesPerBudget, { integer: true, min: 3, max: 100 });
  const expected = fields.expected ?? PUBLISHED.model;
  checkLaw(place, "expected", expected);
  const warmupSteps = fields.warmupSteps ?? 20;
  checkNumber(place, "warmupSteps", warmupSteps, { integer: true, min: 0, max: 1_000_000 });
  const reuse = fields.reuse ?? true;
  if (typeof reuse !== "boolean") refuseValue(place, "reuse", "true or false", reuse);
  const rising = [...budgets].sort((a, b) => a - b);
  const grid = gridOf(place, fields.grid, seeds);
  const { learningRate, batchTokens } = PUBLISHED;
  const hyperparameters = fields.hyperparameters ?? (grid === null ? { learningRate, batchTokens } : "fit");
  checkHyperparameters(place, hyperparameters, grid);
  if (reuse) checkShared(place, run);
  if (fields.ladder === undefined) refuseValue(place, "ladder", "{from, to} or a list of models", undefined);
  const rungs = rungsOf(place, fields.ladder, run.training.sequenceLength);
  return {
    ...{
      run,
      seeds,
      rungs,
      budgets: rising,
      sizesPerBudget,
      expected,
      hyperparameters,
      grid,
      reuse,
      warmupSteps,
    },
  };
}

function gridOf(place: Place, value: unknown, seeds: readonly number[]): GridSettings | null {
  if (value === undefined || value === null) return null;
  const { fields, at } = checkSection(place, "grid", value);
  checkKeys(at, fields, ["budgets", "learningRates", "batches", "seed"]);
  const { budgets } = fields;
  checkList(at, "budgets", budgets, MOST_BUDGETS, (name, each) => checkNumber(at, name, each, COMPUTE));
  const factor = (name: string, each: unknown) => checkNumber(at, name, each, { above: 0, max: 1000 });
  const learningRates = fields.learningRates ?? [0.5, Math.SQRT1_2, 1, Math.SQRT2, 2];
  checkList(at, "learningRates", learningRates, MOST_FACTORS, factor);
  const batches = fields.batches ?? [0.25, 0.5, 1, 2, 4];
  checkList(at, "batches", batches, MOST_FACTORS, factor);
  const seed = fields.seed ?? 0;
  checkNumber(at, "seed", seed, { integer: true, min: 0, max: 2 ** 31 });
  if (seeds.includes(seed)) refuseValue(at, "seed", "a seed that the sweep does not use", seed);
  return { budgets, learningRates, batches, seed };
}

function checkHyperparameters(
  place: Place,
  value: unknown,
  grid: GridSettings | null,
): asserts value is ScaleSettings["hyperparameters"] {
  if (value === "fit") {
    if (grid === null || grid.budgets.length < 2) {
      refuseValue(place, "hyperparameters", "laws, or a grid of two budgets or more to fit them to", value);
    }
    return;
  }
  const { fields, at } = checkSection(place, "hyperparameters", value);
  checkKeys(at, fields, ["learningRate", "batchTokens"]);
  checkLaw(at, "learningRate", fields.learningRate);
  checkLaw(at, "batchTokens", fields.batchTokens);
}

/** What changes at parts of a run is not the same in runs of different length. */
function checkShared(place: Place, { training }: RunConfig): void {
  for (const name of ["mtpWeight", "biasGamma"] as const) {
    if (typeof training[name] !== "number") {
      refuseValue(place, `run.training.${name}`, "one number, or reuse: false", training[name]);
    }
  }
}
