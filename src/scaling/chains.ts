/**
 * The runs of a plan as chains: runs of one size, seed, rate and batch that share their first steps, or single runs. A chain is
 * trained by one process at a time, from the shortest run to the longest.
 */
import type { RunConfig } from "../runs/settings.ts";
import type { LearningRateSchedule } from "../train/schedule.ts";
import { PUBLISHED } from "./hyperparameters.ts";
import { powerLawAt } from "./least-squares.ts";
import {
  batchSequences,
  faultOf,
  type LeftOut,
  ownCompute,
  type Rung,
  type RunLaws,
  rungModel,
  type ScalePlan,
  stepsFor,
} from "./plan.ts";

export type Stage = "grid" | "isoflop" | "target";

/** Parts of a run after which the rate drops to 0.316 and 0.1 of its peak (DeepSeek LLM, section 2.3). */
export const DROPS = [0.8, 0.9] as const;

export interface ChainRun {
  /** Of its folder and its result. */
  readonly name: string;
  readonly stage: Stage;
  /** C that was planned; the whole steps spend a little more or less. */
  readonly compute: number;
  readonly steps: number;
}

export interface Chain {
  readonly name: string;
  readonly rung: Rung;
  readonly seed: number;
  readonly learningRate: number;
  /** Sequences. */
  readonly batch: number;
  readonly warmupSteps: number;
  /** The shortest first. */
  readonly runs: readonly ChainRun[];
}

/** "3e12", as names of runs have it. */
export const computeName = (compute: number) => compute.toExponential().replace("+", "");

/** Steps of a run before its first drop, which longer runs of its chain share. */
export function trunkSteps({ steps }: Pick<ChainRun, "steps">): number {
  return Math.floor(DROPS[0] * steps);
}

/** Settings of a run of a chain; `null` for its trunk, which has no end. */
export function chainConfig(run: RunConfig, chain: Chain, steps: number | null, trunk = 1): RunConfig {
  const { learningRate: peak, batch, warmupSteps, rung, seed } = chain;
  const learningRate: LearningRateSchedule =
    steps === null
      ? { peak, warmupSteps, shape: "constant" }
      : { peak, warmupSteps, shape: "step", dropsAt: DROPS };
  const length = steps ?? trunk;
  const saved = Math.max(50, Math.ceil(length / 5));
  return {
    ...run,
    seed,
    model: rungModel(run, rung),
    training: {
      ...run.training,
      ...{ steps: length, seconds: null, batch: { size: batch }, learningRate },
      ...{ evaluateEvery: length, saveEvery: saved, keep: 1 },
      // The trunk's rate is still high: its loss says little.
      ...(steps === null && { evaluateSequences: 1 }),
    },
  };
}

/**
 * The grids of learning rate and batch, each run a chain of its own, and what is left out of them. Batches that round to the same
 * number count once.
 */
export function gridChains({ settings, rungs, trainTokens }: ScalePlan): {
  readonly chains: Chain[];
  readonly leftOut: LeftOut[];
} {
  const { grid, expected, run, warmupSteps } = settings;
  const chains: Chain[] = [];
  const leftOut: LeftOut[] = [];
  const { sequenceLength } = run.training;
  for (const compute of grid?.budgets ?? []) {
    const center = powerLawAt(expected, compute);
    const distance = ({ flopsPerToken }: Rung) => Math.abs(Math.log(flopsPerToken / center));
    const rung = rungs.reduce((best, each) => (distance(each) < distance(best) ? each : best));
    const tokens = powerLawAt(PUBLISHED.batchTokens, compute);
    const batches = grid!.batches.map((factor) => batchSequences(factor * tokens, sequenceLength));
    for (const batch of new Set(batches)) {
      const steps = stepsFor(compute, rung, batch * sequenceLength);
      const reason = faultOf(steps, batch * sequenceLength, trainTokens);
      if (reason !== null) {
        leftOut.push({ rung: rung.name, compute, reason });
        continue;
      }
      for (const [i, factor] of grid!.learningRates.entries()) {
        const learningRate = factor * powerLawAt(PUBLISHED.learningRate, compute);
        const name = `grid-${computeName(compute)}-r${i + 1}-b${batch}`;
        const runs: ChainRun[] = [{ name, stage: "grid", compute, steps }];
        chains.push({ name, rung, seed: grid!.seed, learningRate, batch, warmupSteps, runs });
      }
    }
  }
  return { chains, leftOut };
}

/** The IsoFLOP runs under laws of rate and batch; those of one size and seed share a trunk if the plan says so. */
export function isoflopChains({ settings, rungs, isoflop }: ScalePlan, laws: RunLaws): Chain[] {
  const { expected, run, seeds, reuse, warmupSteps } = settings;
  const { sequenceLength } = run.training;
  return rungs.flatMap((rung) => {
    const budgets = isoflop.filter((each) => each.rungs.includes(rung.name)).map(({ compute }) => compute);
    if (budgets.length === 0) return [];
    return seeds.flatMap((seed) => {
      const chain = (name: string, at: number, members: readonly number[]): Chain => {
        const batch = batchSequences(powerLawAt(laws.batchTokens, at), sequenceLength);
        const runs = members.map(
          (compute): ChainRun => ({
            name: `${rung.name}-${computeName(compute)}-s${seed}`,
            stage: "isoflop",
            compute,
            steps: stepsFor(compute, rung, batch * sequenceLength),
          }),
        );
        const learningRate = powerLawAt(laws.learningRate, at);
        return { name, rung, seed, learningRate, batch, warmupSteps, runs };
      };
      if (reuse) return [chain(`${rung.name}-s${seed}`, ownCompute(rung, expected), budgets)];
      return budgets.map((each) => chain(`${rung.name}-${computeName(each)}-s${seed}`, each, [each]));
    });
  });
}

/** FLOPs that a chain costs, with its shared steps once, and without sharing. */
export function chainCost({ rung, batch, runs }: Chain, length: number): { shared: number; alone: number } {
  const step = rung.flopsPerToken * batch * length;
  const alone = runs.reduce((sum, { steps }) => sum + steps, 0);
  if (runs.length === 1) return { shared: step * alone, alone: step * alone };
  const trunk = Math.max(...runs.map(trunkSteps));
  const ends = runs.reduce((sum, run) => sum + run.steps - trunkSteps(run), 0);
  return { shared: step * (trunk + ends), alone: step * alone };
}
