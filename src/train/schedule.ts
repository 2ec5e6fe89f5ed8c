/**
 * Schedules as plain functions of the step: learning rate with warm-up (DeepSeek's multi-step drops, cosine,
 * constant), batch size ramp, and piecewise constants such as gamma and the MTP weight (DeepSeek-V3 report 4.2).
 */
import { ConfigError } from "../tensor/errors.ts";

export interface LearningRateSchedule {
  /** Peak, reached at the end of the warm-up. */
  readonly peak: number;
  /** Steps of linear warm-up from 0. */
  readonly warmupSteps: number;
  readonly shape: "constant" | "step" | "cosine";
  /** For `cosine`: what is left of the peak at the end (0.1). */
  readonly finalFraction?: number;
  /** For `step`: fractions of the run at which the rate is multiplied by `dropFactor` (0.8 and 0.9). */
  readonly dropsAt?: readonly number[];
  /** For `step`: 1/sqrt(10) where not given, so that two drops leave a tenth. */
  readonly dropFactor?: number;
}

/** Learning rate of step `step` (from 0) of a run of `totalSteps`. @throws ConfigError */
export function learningRateAt(schedule: LearningRateSchedule, step: number, totalSteps: number): number {
  const { peak, warmupSteps, shape } = schedule;
  if (!(peak > 0))
    throw new ConfigError("a positive learning rate", { name: "learningRate.peak", found: peak });
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  switch (shape) {
    case "constant":
      return peak;
    case "step": {
      const drops = schedule.dropsAt ?? [0.8, 0.9];
      const passed = drops.filter((at) => step >= Math.floor(at * totalSteps)).length;
      return peak * (schedule.dropFactor ?? 1 / Math.sqrt(10)) ** passed;
    }
    case "cosine": {
      const final = schedule.finalFraction ?? 0.1;
      const span = Math.max(1, totalSteps - warmupSteps);
      const progress = Math.min(1, (step - warmupSteps) / span);
      return peak * (final + (1 - final) * 0.5 * (1 + Math.cos(Math.PI * progress)));
    }
    default:
      throw new ConfigError("unknown learning rate schedule", {
        name: "learningRate.shape",
        expected: ["constant", "step", "cosine"],
        found: shape,
      });
  }
}

/** A value that changes at fractions of the run: `[[0, 0.3], [0.67, 0.1]]` is 0.3, then 0.1 from 67 %. */
export type Piecewise = number | readonly (readonly [from: number, value: number])[];

/** Value of a piecewise constant at `step` of `totalSteps`. */
export function piecewiseAt(schedule: Piecewise, step: number, totalSteps: number): number {
  if (typeof schedule === "number") return schedule;
  let value = 0;
  for (const [from, next] of schedule) if (step >= Math.floor(from * totalSteps)) value = next;
  return value;
}

export interface BatchSchedule {
  /** Sequences in a step once the ramp is over. */
  readonly size: number;
  /** Sequences at the first step; default: no ramp. */
  readonly startSize?: number;
  /** Fraction of the run over which the batch grows linearly. */
  readonly rampFraction?: number;
}

/** Sequences of step `step`; at least one. */
export function batchSizeAt(schedule: BatchSchedule, step: number, totalSteps: number): number {
  const start = schedule.startSize ?? schedule.size;
  const ramp = (schedule.rampFraction ?? 0) * totalSteps;
  if (step >= ramp) return schedule.size;
  return Math.max(1, Math.round(start + ((schedule.size - start) * step) / ramp));
}
