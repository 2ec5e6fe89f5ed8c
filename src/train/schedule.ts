/**
 * Schedules as plain functions of the step: learning rate with warm-up (DeepSeek's multi-step drops, cosine, linear,
 * constant), batch size ramp, and piecewise constants such as gamma and the MTP weight (DeepSeek-V3 report 4.2).
 */
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  type Range,
  refuseValue,
} from "../tensor/check-value.ts";

/** Steps of the longest run: names of saved states have eight digits. */
export const MOST_STEPS = 99_999_999;

/** Ranges of settings: a part of something, and a factor of a loss. */
export const FRACTION: Range = { min: 0, max: 1 };
export const WEIGHT: Range = { min: 0, max: 1000 };

export interface LearningRateSchedule {
  /** Peak, reached at the end of the warm-up. */
  readonly peak: number;
  /** Steps of linear warm-up from 0. */
  readonly warmupSteps: number;
  readonly shape: "constant" | "step" | "cosine" | "linear";
  /** For `cosine` and `linear`: what is left of the peak at the end (0.1). */
  readonly finalFraction?: number;
  /** For `step`: fractions of the run at which the rate is multiplied by `dropFactor` (0.8 and 0.9). */
  readonly dropsAt?: readonly number[];
  /** For `step`: 1/sqrt(10) if not given, so that two drops leave a tenth. */
  readonly dropFactor?: number;
}

/** Keys of a learning rate schedule that not every shape has. */
const SHAPE_KEYS = {
  ...{ constant: [], cosine: ["finalFraction"], linear: ["finalFraction"] },
  step: ["dropsAt", "dropFactor"],
} as const;

/** The shapes of learning rate schedules. */
export const SHAPES = Object.keys(SHAPE_KEYS) as (keyof typeof SHAPE_KEYS)[];

/** `schedule` without the keys that belong to other shapes than its own. */
export function withoutOtherShapes(schedule: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const others = foreignKeys(schedule.shape as LearningRateSchedule["shape"]);
  return Object.fromEntries(Object.entries(schedule).filter(([key]) => !others.includes(key)));
}

/** Keys of other shapes that `shape` does not have. */
function foreignKeys(shape: LearningRateSchedule["shape"]): string[] {
  const own: readonly string[] = SHAPE_KEYS[shape] ?? [];
  const all = SHAPES.flatMap((each): readonly string[] => SHAPE_KEYS[each]);
  return [...new Set(all)].filter((key) => !own.includes(key));
}

/** @throws ConfigError */
export function checkLearningRate(
  place: Place,
  name: string,
  value: unknown,
): asserts value is LearningRateSchedule {
  const { fields, at } = checkSection(place, name, value);
  const { shape, dropsAt } = fields;
  checkChoice(at, "shape", shape, SHAPES);
  const misplaced = foreignKeys(shape).find((key) => fields[key] !== undefined);
  if (misplaced !== undefined) {
    const owners = SHAPES.filter((each) => (SHAPE_KEYS[each] as readonly string[]).includes(misplaced));
    const expected = `nothing: only the shape ${owners.map((each) => `"${each}"`).join(" or ")} has it`;
    refuseValue(at, misplaced, expected, fields[misplaced]);
  }
  checkKeys(at, fields, ["peak", "warmupSteps", "shape", ...SHAPE_KEYS[shape]]);
  checkNumber(at, "peak", fields.peak, { above: 0, max: 1 });
  checkNumber(at, "warmupSteps", fields.warmupSteps, { integer: true, min: 0, max: MOST_STEPS });
  if (fields.finalFraction !== undefined) checkNumber(at, "finalFraction", fields.finalFraction, FRACTION);
  if (fields.dropFactor !== undefined) checkNumber(at, "dropFactor", fields.dropFactor, { above: 0, max: 1 });
  if (dropsAt !== undefined) {
    if (!Array.isArray(dropsAt)) refuseValue(at, "dropsAt", "a list of fractions of the run", dropsAt);
    for (const [i, drop] of dropsAt.entries()) checkNumber(at, `dropsAt[${i}]`, drop, FRACTION);
  }
}

/** Learning rate of step `step` (from 0) of a run of `totalSteps`. @throws ConfigError */
export function learningRateAt(schedule: LearningRateSchedule, step: number, totalSteps: number): number {
  checkLearningRate({ where: "learningRateAt" }, "learningRate", schedule);
  const { peak, warmupSteps, shape } = schedule;
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  switch (shape) {
    case "constant":
      return peak;
    case "step": {
      const drops = schedule.dropsAt ?? [0.8, 0.9];
      const passed = drops.filter((at) => step >= Math.floor(at * totalSteps)).length;
      return peak * (schedule.dropFactor ?? 1 / Math.sqrt(10)) ** passed;
    }
    case "cosine":
    case "linear": {
      const final = schedule.finalFraction ?? 0.1;
      const span = Math.max(1, totalSteps - warmupSteps);
      const progress = Math.min(1, (step - warmupSteps) / span);
      const left = shape === "linear" ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
      return peak * (final + (1 - final) * left);
    }
  }
}

/** A value that changes at fractions of the run: `[[0, 0.3], [0.67, 0.1]]` is 0.3, then 0.1 from 67 %. */
export type Piecewise = number | readonly (readonly [from: number, value: number])[];

/** @throws ConfigError if `value` is neither a number in `range` nor `[[from, value], ..]` in rising order */
export function checkPiecewise(
  place: Place,
  name: string,
  value: unknown,
  range: Range = WEIGHT,
): asserts value is Piecewise {
  if (!Array.isArray(value)) {
    checkNumber(place, name, value, range);
    return;
  }
  let before = -1;
  for (const [i, part] of value.entries()) {
    const at = `${name}[${i}]`;
    if (!Array.isArray(part) || part.length !== 2) refuseValue(place, at, "[from, value]", part);
    checkNumber(place, `${at}[0]`, part[0], FRACTION);
    checkNumber(place, `${at}[1]`, part[1], range);
    if (part[0] <= before)
      refuseValue(place, `${at}[0]`, `a fraction above the one before it, ${before}`, part[0]);
    before = part[0];
  }
  if (value.length === 0) refuseValue(place, name, "a number or at least one [from, value]", value);
}

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

/** @throws ConfigError */
export function checkBatch(place: Place, name: string, value: unknown): asserts value is BatchSchedule {
  const { fields, at } = checkSection(place, name, value);
  const { size, startSize, rampFraction } = fields;
  checkKeys(at, fields, ["size", "startSize", "rampFraction"]);
  checkNumber(at, "size", size, { integer: true, min: 1, max: 1_000_000 });
  if (startSize !== undefined) checkNumber(at, "startSize", startSize, { integer: true, min: 1, max: size });
  if (rampFraction !== undefined) checkNumber(at, "rampFraction", rampFraction, FRACTION);
  if ((startSize === undefined) !== (rampFraction === undefined)) {
    const [missing, given] =
      startSize === undefined ? ["startSize", "rampFraction"] : ["rampFraction", "startSize"];
    refuseValue(at, missing, `a value: ${given} alone does nothing`, undefined);
  }
}

/** Sequences of step `step`; at least one. */
export function batchSizeAt(schedule: BatchSchedule, step: number, totalSteps: number): number {
  const start = schedule.startSize ?? schedule.size;
  const ramp = (schedule.rampFraction ?? 0) * totalSteps;
  if (step >= ramp) return schedule.size;
  return Math.max(1, Math.round(start + ((schedule.size - start) * step) / ramp));
}
