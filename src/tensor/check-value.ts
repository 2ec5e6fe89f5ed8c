/** Checks of settings: every refusal names the setting, its range or choices, and what was found. */
import { ConfigError } from "./errors.ts";

/** Where a setting stands: a file or a class, and the words before its name. */
export interface Place {
  readonly where: string;
  /** Prefix of names, such as `training.`. */
  readonly prefix?: string;
}

export interface Range {
  readonly integer?: boolean;
  /** Smallest value allowed. */
  readonly min?: number;
  /** All values above this one. */
  readonly above?: number;
  /** Largest value allowed. */
  readonly max?: number;
  /** All values below this one. */
  readonly below?: number;
}

/** "an integer from 1 to 10", "a number above 0 and below 1". */
export function rangeText({ integer = false, min, above, max, below }: Range): string {
  const kind = integer ? "an integer" : "a number";
  if (min !== undefined && max !== undefined) return `${kind} from ${min} to ${max}`;
  const low = min !== undefined ? `of at least ${min}` : above !== undefined ? `above ${above}` : null;
  const high = max !== undefined ? `at most ${max}` : below !== undefined ? `below ${below}` : null;
  if (low === null && high === null) return integer ? kind : "a finite number";
  return `${kind} ${[low, high].filter((part) => part !== null).join(" and ")}`;
}

/** A value as an error shows it, cut if it is long. */
export function shownValue(value: unknown): string {
  if (value === undefined) return "nothing";
  const text =
    typeof value === "number" || typeof value === "bigint"
      ? String(value)
      : (JSON.stringify(value) ?? typeof value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}..`;
}

export function refuseValue(
  place: Place,
  name: string,
  expected: string,
  found: unknown,
  hint?: string,
): never {
  throw new ConfigError("invalid setting", {
    where: place.where,
    name: `${place.prefix ?? ""}${name}`,
    expected,
    found: shownValue(found),
    hint,
  });
}

/** @throws ConfigError if `value` is not a finite number in `range` */
export function checkNumber(
  place: Place,
  name: string,
  value: unknown,
  range: Range,
): asserts value is number {
  const { integer, min, above, max, below } = range;
  const valid =
    typeof value === "number" &&
    Number.isFinite(value) &&
    (!integer || Number.isSafeInteger(value)) &&
    (min === undefined || value >= min) &&
    (above === undefined || value > above) &&
    (max === undefined || value <= max) &&
    (below === undefined || value < below);
  if (!valid) refuseValue(place, name, rangeText(range), value);
}

/** The fields of an object and the place of its own settings. @throws ConfigError if `value` is not an object */
export function checkSection(
  place: Place,
  name: string,
  value: unknown,
): { readonly fields: Readonly<Record<string, unknown>>; readonly at: Place } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuseValue(place, name, "an object", value);
  }
  const at = { where: place.where, prefix: `${place.prefix ?? ""}${name}.` };
  return { fields: value as Record<string, unknown>, at };
}

/** @throws ConfigError if `value` is none of `choices` */
export function checkChoice<T extends string>(
  place: Place,
  name: string,
  value: unknown,
  choices: readonly T[],
): asserts value is T {
  if (choices.includes(value as T)) return;
  const near = typeof value === "string" ? nearestName(value, choices) : null;
  refuseValue(place, name, choices.join(" | "), value, near === null ? undefined : `Did you mean ${near}?`);
}

/** @throws ConfigError naming the first key of `value` that is not in `known` */
export function checkKeys(place: Place, value: object, known: readonly string[], what = "setting"): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const near = nearestName(key, known);
    throw new ConfigError(`no such ${what}`, {
      where: place.where,
      name: `${place.prefix ?? ""}${key}`,
      ...(near === null && { expected: known.join(", ") }),
      hint: near === null ? undefined : `Did you mean ${place.prefix ?? ""}${near}?`,
    });
  }
}

/** Single letters to change, insert, drop or swap with the next one, to get from `a` to `b`. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    before = row;
    row = next;
  }
  return row[b.length];
}

const wordsOf = (name: string) => new Set(name.toLowerCase().split(/[-_ .]+/));

/**
 * The one of `names` that was meant by `given`: one that differs in a third of its letters at most, else the shortest
 * that has all its words; null if none is near.
 */
export function nearestName(given: string, names: readonly string[]): string | null {
  // Long texts are not misspelled names.
  if (given.length > 100) return null;
  const plain = (name: string) => name.toLowerCase().replaceAll(/[-_ ]/g, "");
  let best: { name: string; distance: number } | null = null;
  for (const name of names) {
    const distance = editDistance(plain(given), plain(name));
    if (
      distance <= Math.max(1, plain(given).length / 3) &&
      distance < (best?.distance ?? Number.POSITIVE_INFINITY)
    ) {
      best = { name, distance };
    }
  }
  if (best) return best.name;
  const words = [...wordsOf(given)];
  const holding = names.filter((name) => words.every((word) => word.length > 1 && wordsOf(name).has(word)));
  return holding.sort((a, b) => a.length - b.length)[0] ?? null;
}
