/** The fit of a sweep's folder, and profiles of runs that were made elsewhere. */
import { join } from "node:path";
import { readJson } from "../runs/json-file.ts";
import { geometricMean } from "../statistics/sample.ts";
import { checkKeys, checkNumber, checkSection, type Place, refuseValue } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { gridChains, isoflopChains } from "./chains.ts";
import { type FitOptions, fitProfiles, type ProfilesFit } from "./fit-profiles.ts";
import type { HyperparameterFit } from "./hyperparameters.ts";
import type { IsoflopProfile, IsoflopRun } from "./isoflop.ts";
import type { RunLaws, ScalePlan } from "./plan.ts";
import type { RunOutcome } from "./results.ts";
import { fitGrids, lawsOf, outcomesOf } from "./sweep.ts";

export interface SweepFit extends ProfilesFit {
  /** Laws of rate and batch that the runs followed; null before the grids are done. */
  readonly laws: RunLaws | null;
  /** Of the grids; null without them, or while runs of them are missing. */
  readonly hyperparameters: HyperparameterFit | null;
  readonly profiles: readonly IsoflopProfile[];
  readonly runs: number;
  /** Runs that are planned and not there yet. */
  readonly missing: number;
  /** Names of size and budget of runs that diverged. */
  readonly diverged: readonly string[];
  /** CPU seconds of steps at one thread each, as far as they were made for one run alone. */
  readonly seconds: number;
}

/** Runs of each budget with the losses of their seeds; C is what was spent, which whole steps move a little. */
export function profilesOf(outcomes: readonly RunOutcome[]): IsoflopProfile[] {
  const ended = outcomes.filter(({ bitsPerByte }) => bitsPerByte !== null);
  const budgets = [...new Set(ended.map(({ compute }) => compute))].sort((a, b) => a - b);
  return budgets.map((budget) => {
    const members = ended.filter(({ compute }) => compute === budget);
    const rungs = [...new Set(members.map(({ rung }) => rung))];
    const runs = rungs.map((rung): IsoflopRun => {
      const seeds = members.filter((each) => each.rung === rung);
      const [{ flopsPerToken, tokens }] = seeds;
      return { flopsPerToken, tokens, losses: seeds.map(({ bitsPerByte }) => bitsPerByte!) };
    });
    runs.sort((a, b) => a.flopsPerToken - b.flopsPerToken);
    return { compute: geometricMean(members.map(({ spent }) => spent)), runs };
  });
}

/** Fits what a sweep has so far. @throws ConfigError, FormatError if its results are damaged */
export async function fitSweep(folder: string, plan: ScalePlan, options: FitOptions = {}): Promise<SweepFit> {
  const { chains } = gridChains(plan);
  const grid = await outcomesOf(folder, plan, chains);
  const laws = await lawsOf(folder, plan);
  const hyperparameters =
    chains.length > 0 && grid.missing === 0 && new Set(grid.outcomes.map(({ compute }) => compute)).size > 1
      ? fitGrids(grid.outcomes)
      : null;
  const sweep =
    laws === null ? { outcomes: [], missing: 0 } : await outcomesOf(folder, plan, isoflopChains(plan, laws));
  const all = [...grid.outcomes, ...sweep.outcomes];
  const profiles = profilesOf(sweep.outcomes);
  return {
    ...fitProfiles(profiles, options),
    ...{ laws, hyperparameters, profiles, runs: all.length, missing: grid.missing + sweep.missing },
    diverged: all.flatMap(({ bitsPerByte, rung, compute, seed }) =>
      bitsPerByte === null ? [`${rung} at ${compute.toExponential()}, seed ${seed}`] : [],
    ),
    seconds: all.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

const MOST_RUNS = 100_000;

function runOf(place: Place, name: string, json: unknown): IsoflopRun {
  const { fields, at } = checkSection(place, name, json);
  checkKeys(at, fields, ["flops_per_token", "tokens", "losses"]);
  const { flops_per_token: flopsPerToken, tokens, losses } = fields;
  checkNumber(at, "flops_per_token", flopsPerToken, { above: 0 });
  checkNumber(at, "tokens", tokens, { above: 0 });
  if (!Array.isArray(losses) || losses.length === 0)
    refuseValue(at, "losses", "a loss for each seed", losses);
  for (const [i, loss] of losses.entries()) checkNumber(at, `losses[${i}]`, loss, { above: 0 });
  return { flopsPerToken, tokens, losses };
}

/**
 * Profiles of a file in the form of `test/fixtures/scaling`: {"profiles": [{"compute", "runs": [{"flops_per_token", "tokens", "losses"}]}]}.
 * @throws ConfigError, FormatError naming the place
 */
export async function readProfiles(path: string): Promise<IsoflopProfile[]> {
  const place = { where: path };
  const json = await readJson(path, "fit takes the folder of a sweep or a JSON file of runs.");
  const { fields } = checkSection(place, "runs", json);
  const { profiles } = fields;
  if (!Array.isArray(profiles) || profiles.length === 0) {
    refuseValue(place, "profiles", "a list of budgets with runs", profiles);
  }
  let count = 0;
  return profiles.map((each, i) => {
    const { fields, at } = checkSection(place, `profiles[${i}]`, each);
    checkKeys(at, fields, ["compute", "runs"]);
    const { compute, runs } = fields;
    checkNumber(at, "compute", compute, { above: 0 });
    if (!Array.isArray(runs)) refuseValue(at, "runs", "a list", runs);
    count += runs.length;
    if (count > MOST_RUNS) {
      throw new ConfigError("too many runs", { where: path, expected: `at most ${MOST_RUNS}`, found: count });
    }
    return { compute, runs: runs.map((run, k) => runOf(at, `runs[${k}]`, run)) };
  });
}

/** The file in a sweep's folder that a fit is kept in. */
export const fitPath = (folder: string) => join(folder, "fit.json");
