/**
 * Held-out split by file: a hash of the path and a seed decides, so the split does not change when files are
 * added. Files above a tenth of the corpus are divided by position instead: their ends are held out. Files with the
 * same normalized content always fall on the same side; near duplicates are the business of `dedupe.ts`, to be run
 * before.
 */

import { ConfigError } from "../tensor/errors.ts";
import { utf8Length } from "../text/utf8-length.ts";
import { comparePaths, type TextFile } from "./corpus.ts";
import { normalizeText } from "./dedupe.ts";
import { hashHex, hashUnit } from "./hash.ts";

export interface SplitOptions {
  /** Expected share of files, and of long files' text, that is held out, in [0, 1) (default 0.02). */
  readonly fraction?: number;
  /** Hold out at least this many distinct texts if the corpus has more than that (default 1). */
  readonly atLeast?: number;
  readonly seed?: number;
}

/** Whether a path alone is held out: for streams, where `atLeast` and content cannot be looked at. */
export function isHeldOut(path: string, options: SplitOptions = {}): boolean {
  return hashUnit(path, options.seed ?? 0) < checkedFraction(options);
}

/**
 * Splits files into training and held-out parts, each in the given order. At least one text stays in training. A text
 * that would be too much to hold out whole gives its end only, so that one long file is a corpus.
 */
export function splitFiles<T extends TextFile>(
  files: readonly T[],
  options: SplitOptions = {},
): { train: T[]; heldOut: T[] } {
  const plan = planSplit(
    files.map((file) => ({
      path: file.path,
      section: file.section,
      bytes: utf8Length(file.text),
      key: contentKey(normalizeText(file.text)),
    })),
    options,
  );
  const [train, heldOut]: T[][] = [[], []];
  files.forEach((file, i) => {
    const share = plan[i];
    if (share === 0) train.push(file);
    else if (share === 1) heldOut.push(file);
    else {
      const cut = cutAt(file.text, share);
      if (cut > 0) train.push({ ...file, text: file.text.slice(0, cut) });
      if (cut < file.text.length) heldOut.push({ ...file, text: file.text.slice(cut) });
    }
  });
  return { train, heldOut };
}

/** What stands for a normalized text (see `normalizeText`) when it is gone: its hash. */
export function contentKey(normalText: string): string {
  return hashHex(normalText);
}

/** What is known of a text when its split is decided. */
export interface SplitItem extends Pick<TextFile, "path" | "section"> {
  /** UTF-8 bytes. */
  readonly bytes: number;
  /** See `contentKey`. */
  readonly key: string;
}

/** A file above this share of the corpus is divided, not held out or learned whole. */
const LONG_SHARE = 0.1;
/** Shorter ones are not, unless there is nothing else. */
const LONG_BYTES = 4096;
const LEAST_BYTES = 64;

/** For each text the share at its end that is held out: 0 for training, 1 for the whole, between for a divided one. */
export function planSplit(items: readonly SplitItem[], options: SplitOptions = {}): number[] {
  const fraction = checkedFraction(options);
  const atLeast = options.atLeast ?? 1;
  // The smallest path of equal texts speaks for all of them.
  const speakers = new Map<string, SplitItem>();
  for (const item of items) {
    const known = speakers.get(item.key);
    if (known === undefined || comparePaths(item.path, known.path) < 0) speakers.set(item.key, item);
  }
  const files = new Map<string, SplitItem[]>();
  for (const item of speakers.values()) {
    const file = item.section?.file ?? item.path;
    const parts = files.get(file);
    if (parts) parts.push(item);
    else files.set(file, [item]);
  }
  const bytesOf = (parts: readonly SplitItem[]) => parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const limit = Math.max(fraction, LONG_SHARE) * bytesOf([...speakers.values()]);
  const isLong = (parts: readonly SplitItem[]) => bytesOf(parts) > Math.max(limit, LONG_BYTES - 1);
  let long: SplitItem[][] = fraction > 0 ? [...files.values()].filter(isLong) : [];
  const short = [...files.values()].filter((parts) => !long.includes(parts)).flat();

  const shares = new Map<string, number>();
  const seed = options.seed ?? 0;
  const ranked = short
    .map((item) => ({ ...item, rank: hashUnit(item.section?.file ?? item.path, seed) }))
    .sort((a, b) => a.rank - b.rank || comparePaths(a.path, b.path) || comparePaths(a.key, b.key));
  const byFraction = ranked.filter(({ rank }) => rank < fraction).length;
  const most = long.length > 0 ? ranked.length : Math.max(0, ranked.length - 1);
  const count = Math.min(Math.max(byFraction, atLeast - long.length), most);
  for (const { key } of ranked.slice(0, Math.max(0, count))) shares.set(key, 1);

  if (fraction > 0 && atLeast > 0 && shares.size === 0 && long.length === 0) {
    long = [...files.values()].filter((parts) => bytesOf(parts) >= LEAST_BYTES).slice(0, 1);
  }
  for (const parts of long) {
    let left = fraction * bytesOf(parts);
    for (const { key, bytes } of [...parts].sort((a, b) => indexOf(b) - indexOf(a))) {
      if (left <= 0) break;
      shares.set(key, Math.min(1, left / bytes));
      left -= bytes;
    }
  }
  return items.map(({ key }) => shares.get(key) ?? 0);
}

const indexOf = ({ section }: SplitItem) => section?.index ?? 0;

/**
 * Where a text is cut whose last `share` is held out: at the beginning of a line near by, if there is one, and never
 * inside a character.
 */
export function cutAt(text: string, share: number): number {
  const { length } = text;
  const held = Math.max(1, Math.round(length * share));
  const target = length - held;
  const before = text.lastIndexOf("\n", target - 1) + 1;
  if (before > 0 && length - before <= 2 * held) return before;
  const after = text.indexOf("\n", target) + 1;
  if (after > 0 && after < length && length - after >= held / 2) return after;
  const low = text.charCodeAt(target) & 0xfc00;
  const high = text.charCodeAt(target - 1) & 0xfc00;
  return low === 0xdc00 && high === 0xd800 ? target - 1 : target;
}

function checkedFraction(options: SplitOptions): number {
  const fraction = options.fraction ?? 0.02;
  if (!(fraction >= 0 && fraction < 1)) {
    throw new ConfigError("must lie in [0, 1)", { where: "split.fraction", found: fraction });
  }
  return fraction;
}
