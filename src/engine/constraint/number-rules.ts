/** What a schema says of numbers, and exact answers to it: bounds, steps and listed values at any length and size. */
import type { JsonNumber } from "../../json/index.ts";
import type { Budget } from "./automaton.ts";

export interface Bound {
  readonly value: JsonNumber;
  readonly exclusive: boolean;
}

export interface NumberRules {
  readonly integer: boolean;
  readonly minima: readonly Bound[];
  readonly maxima: readonly Bound[];
  readonly steps: readonly JsonNumber[];
  /** Steps of which it is not a multiple: 1 for what is not whole. */
  readonly notSteps: readonly JsonNumber[];
  /** Values that it does not have. */
  readonly excluded: readonly JsonNumber[];
}

/** Most digits on either side of the point that bounds may ask for. */
export const MOST_DIGITS = 400;

/** How many digits a number has before and after the point. */
export function digitCounts({ decimal: { digits, point } }: JsonNumber): { whole: number; fraction: number } {
  return { whole: Math.max(1, point), fraction: Math.max(0, digits.length - point) };
}

/** The bounds that matter to numbers of a writable length. @throws ConfigError if no such number is within them */
export function writableBounds({ minima, maxima }: NumberRules, budget: Budget) {
  const keep = (list: readonly Bound[], upper: boolean) =>
    list.filter(({ value }) => {
      const { whole, fraction } = digitCounts(value);
      if (whole <= MOST_DIGITS && fraction <= MOST_DIGITS) return true;
      // Beyond all that can be written: either no limit, or one that leaves nothing.
      if (whole > MOST_DIGITS && upper === !value.decimal.negative) return false;
      return budget.refuse("a bound", `at most ${MOST_DIGITS} digits on a side of the point`, value.text);
    });
  return { minima: keep(minima, false), maxima: keep(maxima, true) };
}

/** Whether a number satisfies `rules`, exactly. */
export function fitsNumber(value: JsonNumber, rules: NumberRules): boolean {
  const { integer, minima, maxima, steps, notSteps, excluded } = rules;
  if (integer && !value.isInteger) return false;
  const above = minima.every(({ value: low, exclusive }) => value.compare(low) >= (exclusive ? 1 : 0));
  const below = maxima.every(({ value: high, exclusive }) => value.compare(high) <= (exclusive ? -1 : 0));
  if (!above || !below) return false;
  return (
    steps.every((step) => value.isMultipleOf(step)) &&
    !notSteps.some((step) => value.isMultipleOf(step)) &&
    !excluded.some((other) => value.equals(other))
  );
}
