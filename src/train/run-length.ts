/** How many steps fit in the time that a run is given, from the speed of its first steps. */
import { MOST_STEPS } from "./schedule.ts";

/** What is known when the length is set. */
export interface MeasuredSpeed {
  /** Seconds of each step so far. */
  readonly durations: readonly number[];
  /** Seconds since training began. */
  readonly elapsed: number;
  /** Steps made, those before a resume included. */
  readonly step: number;
}

/** What the rest of the run consists of. */
export interface RunBudget {
  /** Seconds for the whole run. */
  readonly seconds: number;
  readonly batchSize: number;
  /** Sequences of one evaluation; each comes after this many steps, and once at the end. */
  readonly evaluateSequences: number;
  readonly evaluateEvery: number;
}

/**
 * Steps of the run in total, at least one more than were made, so that its steps and evaluations end within the budget:
 * a step takes the median of the later half of those measured (the first ones compile kernels), an evaluation a third
 * of a step per batch, because it consists of forward passes alone.
 */
export function stepsWithin(budget: RunBudget, { durations, elapsed, step }: MeasuredSpeed): number {
  const settled = durations.slice(durations.length >> 1).sort((a, b) => a - b);
  const perStep = settled[settled.length >> 1];
  const perEvaluation = (budget.evaluateSequences / budget.batchSize) * (perStep / 3);
  const left = Math.max(0, budget.seconds - elapsed - perEvaluation);
  const more = Math.max(1, Math.floor(left / (perStep + perEvaluation / budget.evaluateEvery)));
  return Math.min(MOST_STEPS, step + more);
}
