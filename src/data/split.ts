/**
 * Held-out split by file: a hash of the path and a seed decides, so the split does not change when files are
 * added. Files with the same normalised content always fall on the same side; near duplicates are the business
 * of `dedupe.ts`, to be run before.
 */

import { ConfigError } from "../tensor/errors.ts";
import { comparePaths, type TextFile } from "./corpus.ts";
import { normaliseText } from "./dedupe.ts";
import { hashHex, hashUnit } from "./hash.ts";

export interface SplitOptions {
  /** Expected share of files held out, in [0, 1) (default 0.02). */
  readonly fraction?: number;
  /** Hold out at least this many distinct texts where the corpus has more than that (default 1). */
  readonly atLeast?: number;
  readonly seed?: number;
}

/** Whether a path alone is held out: for streams, where `atLeast` and content cannot be looked at. */
export function isHeldOut(path: string, options: SplitOptions = {}): boolean {
  return hashUnit(path, options.seed ?? 0) < checkedFraction(options);
}

/**
 * Splits files into training and held-out parts, each in the given order. At least one text stays in training.
 */
export function splitFiles<T extends TextFile>(
  files: readonly T[],
  options: SplitOptions = {},
): { train: T[]; heldOut: T[] } {
  const keys = files.map((file) => contentKey(normaliseText(file.text)));
  return splitByKey(files, keys, options);
}

/** What stands for a normalised text (see `normaliseText`) when it is gone: its hash. */
export function contentKey(normalText: string): string {
  return hashHex(normalText);
}

/** `splitFiles` for files whose texts are not at hand: `keys[i]` is the content key of `files[i]`. */
export function splitByKey<T extends { readonly path: string }>(
  files: readonly T[],
  keys: readonly string[],
  options: SplitOptions = {},
): { train: T[]; heldOut: T[] } {
  const fraction = checkedFraction(options);
  const atLeast = options.atLeast ?? 1;
  // The smallest path of equal texts speaks for all of them.
  const speaker = new Map<string, string>();
  files.forEach((file, i) => {
    const known = speaker.get(keys[i]);
    if (known === undefined || comparePaths(file.path, known) < 0) speaker.set(keys[i], file.path);
  });
  const ranked = [...speaker]
    .map(([key, path]) => ({ key, path, rank: hashUnit(path, options.seed ?? 0) }))
    .sort((a, b) => a.rank - b.rank || comparePaths(a.path, b.path) || comparePaths(a.key, b.key));
  const byFraction = ranked.filter(({ rank }) => rank < fraction).length;
  const count = Math.min(Math.max(byFraction, atLeast), Math.max(0, ranked.length - 1));
  const chosen = new Set(ranked.slice(0, count).map(({ key }) => key));
  return {
    train: files.filter((_, i) => !chosen.has(keys[i])),
    heldOut: files.filter((_, i) => chosen.has(keys[i])),
  };
}

function checkedFraction(options: SplitOptions): number {
  const fraction = options.fraction ?? 0.02;
  if (!(fraction >= 0 && fraction < 1)) {
    throw new ConfigError("must lie in [0, 1)", { where: "split.fraction", found: fraction });
  }
  return fraction;
}
