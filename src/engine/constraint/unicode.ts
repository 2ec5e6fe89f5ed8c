/** Sets of characters: all that UTF-8 can write, what is outside a set, and the Unicode properties of the runtime. */
import type { Range } from "./nfa.ts";

/** Every code point that UTF-8 can write. */
export const ALL_CHARACTERS: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** The characters outside `ranges`. */
export function complement(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges, [0xd800, 0xdfff] as const].sort((a, b) => a[0] - b[0]);
  const out: Range[] = [];
  let next = 0;
  for (const [low, high] of sorted) {
    if (low > next) out.push([next, low - 1]);
    next = Math.max(next, high + 1);
  }
  if (next <= 0x10ffff) out.push([next, 0x10ffff]);
  return out;
}

const properties = new Map<string, readonly Range[] | null>();

/**
 * The characters with a property as regular expressions name it (`L`, `Script=Greek`), found by asking the runtime's
 * own for all of them once; null if it knows no such property.
 */
export function propertyRanges(name: string): readonly Range[] | null {
  // A value that cannot be the end of the escape, and of which there are not too many to keep.
  if (!/^[A-Za-z0-9_]{1,64}(=[A-Za-z0-9_]{1,64})?$/.test(name)) return null;
  let ranges = properties.get(name);
  if (ranges === undefined) {
    try {
      ranges = matchedRanges(new RegExp(`\\p{${name}}+`, "gu"));
    } catch {
      return null;
    }
    properties.set(name, ranges);
  }
  return ranges;
}

/** Characters looked at together: a text of all of them would take megabytes. */
const STRIDE = 0x4000;
/** All characters, by how many units of UTF-16 they are. */
const BY_UNITS = [
  [0, 0xd7ff, 1],
  [0xe000, 0xffff, 1],
  [0x10000, 0x10ffff, 2],
] as const;

function matchedRanges(runs: RegExp): Range[] {
  const out: [number, number][] = [];
  for (const [first, last, units] of BY_UNITS) {
    for (let from = first; from <= last; from += STRIDE) {
      const to = Math.min(last, from + STRIDE - 1);
      const text = String.fromCodePoint(...Array.from({ length: to - from + 1 }, (_, i) => from + i));
      for (const { 0: run, index } of text.matchAll(runs)) {
        const low = from + index / units;
        const high = low + run.length / units - 1;
        const before = out[out.length - 1];
        if (before !== undefined && before[1] === low - 1) before[1] = high;
        else out.push([low, high]);
      }
    }
  }
  return out;
}
