/**
 * The plan of a sweep: which model runs at which budget, and with which rate, batch and number of steps. A run that would be too short
 * to mean anything, or read its data twice, is left out by name.
 */
import { countParameters } from "../models/count.ts";
import { checkRunConfig } from "../runs/checks.ts";
import type { RunConfig } from "../runs/settings.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type ModelMeasures, measureModel } from "./flops.ts";
import { PUBLISHED } from "./hyperparameters.ts";
import { powerLawAt } from "./least-squares.ts";
import type { Law, RungSettings, ScaleSettings } from "./settings.ts";

/** A model of the ladder with its measures. */
export interface Rung extends RungSettings, ModelMeasures {
  readonly parameters: number;
}

export interface LeftOut {
  readonly rung: string;
  readonly compute: number;
  readonly reason: string;
}

export interface ScalePlan {
  readonly format: 1;
  /** Tells sweeps apart, in a queue too. */
  readonly id: string;
  /** The folder of text. */
  readonly source: string;
  readonly settings: ScaleSettings;
  /** The smallest first. */
  readonly rungs: readonly Rung[];
  /** Names of the models at each budget. */
  readonly isoflop: readonly { readonly compute: number; readonly rungs: readonly string[] }[];
  readonly trainTokens: number;
  readonly heldOutTokens: number;
  readonly leftOut: readonly LeftOut[];
}

/** Laws of learning rate and batch in tokens that runs follow. */
export interface RunLaws {
  readonly learningRate: Law;
  readonly batchTokens: Law;
}

/** Updates below which a run is all warm-up. */
const FEWEST_STEPS = 10;

/** Whole sequences for a batch of about so many tokens. */
export function batchSequences(tokens: number, length: number): number {
  return Math.max(1, Math.round(tokens / length));
}

/** C at which a model is expected to be the best: sets the rate and the batch of all its runs, which share their first steps. */
export function ownCompute(
  { flopsPerToken }: Pick<Rung, "flopsPerToken">,
  { coefficient, exponent }: Law,
): number {
  return (flopsPerToken / coefficient) ** (1 / exponent);
}

export function stepsFor(
  compute: number,
  { flopsPerToken }: Pick<Rung, "flopsPerToken">,
  batchTokens: number,
) {
  return Math.max(1, Math.round(compute / (flopsPerToken * batchTokens)));
}

/** Why a run must not be part of a fit; null if it may. */
export function faultOf(steps: number, batchTokens: number, trainTokens: number): string | null {
  if (steps < FEWEST_STEPS) return `${steps} steps of ${batchTokens} tokens, fewer than ${FEWEST_STEPS}`;
  const tokens = steps * batchTokens;
  return tokens > trainTokens
    ? `${tokens} tokens, and the data has ${trainTokens}: some would be read twice`
    : null;
}

/** Whether a ladder is of dense models that `denseModel` makes: then any shape may join it. */
export function isDenseRung({ settings }: Pick<ScalePlan, "settings">): boolean {
  return settings.rungs.every(({ name }) => /^d\d+-l\d+$/.test(name));
}

/** Why a model must not run at a budget; null if it may. */
export function faultOfRun(
  { settings, trainTokens }: Pick<ScalePlan, "settings" | "trainTokens">,
  rung: Rung,
  compute: number,
  laws: RunLaws,
): string | null {
  const { expected, reuse, run } = settings;
  const { sequenceLength } = run.training;
  const tokens = powerLawAt(laws.batchTokens, reuse ? ownCompute(rung, expected) : compute);
  const batch = batchSequences(tokens, sequenceLength) * sequenceLength;
  return faultOf(stepsFor(compute, rung, batch), batch, trainTokens);
}

/** The `config.json` of a model of the ladder: taken whole if it is of another architecture than the run's. */
export function rungModel(run: RunConfig, { model }: RungSettings): Record<string, unknown> {
  const other = model.model_type !== undefined && model.model_type !== run.model.model_type;
  return other ? model : { ...run.model, ...model };
}

/** The ladder with what its models cost, the smallest first. @throws ConfigError for a model that cannot be */
export function measuredRungs({ run, rungs }: Pick<ScaleSettings, "run" | "rungs">, where: string): Rung[] {
  const measured = rungs.map(({ name, model }): Rung => {
    // Also bounds what is described: a model of a billion layers would never be.
    const config = checkRunConfig(
      { ...run, model: rungModel(run, { name, model }) },
      `${where}: ladder.${name}`,
    );
    const { total, mtp } = countParameters(config);
    return { name, model, ...measureModel(config, run.training.sequenceLength), parameters: total + mtp };
  });
  return measured.sort((a, b) => a.flopsPerToken - b.flopsPerToken);
}

/**
 * Chooses the sizes of each budget: those whose M is nearest to where the optimum is expected, as far as they may run.
 * @throws ConfigError for a budget that fewer than three sizes are left of
 */
export function planSweep(
  settings: ScaleSettings,
  data: {
    readonly id: string;
    readonly source: string;
    readonly trainTokens: number;
    readonly heldOutTokens: number;
  },
  where: string,
): ScalePlan {
  const rungs = measuredRungs(settings, where);
  const { budgets, sizesPerBudget, expected, hyperparameters } = settings;
  const laws = hyperparameters === "fit" ? PUBLISHED : hyperparameters;
  const leftOut: LeftOut[] = [];
  const isoflop = budgets.map((compute) => {
    const center = powerLawAt(expected, compute);
    const distance = (rung: Rung) => Math.abs(Math.log(rung.flopsPerToken / center));
    const near = rungs.toSorted((a, b) => distance(a) - distance(b)).slice(0, sizesPerBudget);
    const kept = near.filter((rung) => {
      const reason = faultOfRun({ settings, trainTokens: data.trainTokens }, rung, compute, laws);
      if (reason !== null) leftOut.push({ rung: rung.name, compute, reason });
      return reason === null;
    });
    if (kept.length < 3) {
      const out = leftOut.filter((each) => each.compute === compute);
      throw new ConfigError("a budget needs three sizes for its parabola", {
        ...{
          where,
          name: `budgets ${compute.toExponential()}`,
          expected: "3 sizes or more",
          found: kept.length,
        },
        hint:
          out.length === 0
            ? "Add models to the ladder."
            : `Left out: ${out.map(({ rung, reason }) => `${rung} (${reason})`).join("; ")}.`,
      });
    }
    const names = new Set(kept.map(({ name }) => name));
    return { compute, rungs: rungs.filter(({ name }) => names.has(name)).map(({ name }) => name) };
  });
  return { format: 1, ...data, settings, rungs, isoflop, leftOut };
}
