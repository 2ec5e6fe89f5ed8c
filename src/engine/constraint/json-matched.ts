/**
 * Strings that an automaton over code points accepts, as JSON writes them. They are written in one way: `"`, `\` and
 * control characters escaped, everything else as it is. The automaton is followed while bytes are read, one item for
 * what may still come: neither the spellings of characters nor counted lengths are states of it.
 */
import { Pace, type Slices } from "../../tokenizer/slices.ts";
import { type Budget, type Dfa, stepDfa } from "./automaton.ts";
import { type Cell, type Item, Terminal } from "./grammar.ts";

/** Characters that are escaped, by how. */
const ESCAPES: readonly (readonly [code: number, text: string])[] = [
  ...Array.from({ length: 0x20 }, (_, code) => code),
  0x22,
  0x5c,
].map((code) => [code, JSON.stringify(String.fromCharCode(code)).slice(1, -1)]);

/** Most entries of the table of reachable lengths. */
const MOST_ENTRIES = 4_000_000;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** State of the automaton, and the fewest and most characters that may still come. */
type Place = readonly [state: number, min: number, max: number];

/** Fewest and most characters to the end from each state. */
interface Shape {
  readonly shortest: Int32Array;
  readonly longest: Float64Array;
}

class MatchedStrings {
  readonly #dfa: Dfa;
  readonly #shortest: Int32Array;
  readonly #longest: Float64Array;
  /** The largest of the shortest. */
  readonly #furthest: number;
  readonly #endless: boolean;
  /** Whether every window between least and most length holds a length for whatever is long enough. */
  readonly #wide: boolean;
  /** Where it is not: for each count of characters, the states from which exactly so many lead to the end. */
  readonly #exact: Uint8Array;
  readonly #items = new Map<string, Terminal>();

  private constructor(dfa: Dfa, shape: Shape, wide: boolean, exact: Uint8Array) {
    this.#dfa = dfa;
    this.#shortest = shape.shortest;
    this.#longest = shape.longest;
    this.#furthest = this.#shortest.reduce((a, b) => Math.max(a, b), 0);
    this.#endless = this.#longest.every((length) => length === Number.POSITIVE_INFINITY);
    this.#wide = wide;
    this.#exact = exact;
  }

  static *of(dfa: Dfa, min: number, max: number, budget: Budget): Slices<MatchedStrings> {
    const pace = new Pace();
    const targets: number[][] = [];
    for (let state = 0; state < dfa.size; state++) {
      const edges = dfa.targets.subarray(dfa.offsets[state], dfa.offsets[state + 1]);
      targets.push([...new Set(edges)]);
      if (pace.due(4 * edges.length + 1)) yield;
    }
    const into: number[][] = targets.map(() => []);
    targets.forEach((list, from) => {
      for (const to of list) into[to].push(from);
    });
    budget.spend(2 * dfa.targets.length + dfa.size);
    const shape = { shortest: shortest(dfa, into), longest: longest(dfa, targets, into) };
    const wide = max - min >= dfa.size;
    const exact = wide ? new Uint8Array(0) : yield* exactLengths(dfa, targets, max, budget);
    return new MatchedStrings(dfa, shape, wide, exact);
  }

  /** Whether `min` to `max` more characters can lead from `state` to the end. */
  reaches(state: number, min: number, max: number): boolean {
    if (max < this.#shortest[state]) return false;
    if (min <= 0) return true;
    // What is long enough can be cut to a length within the window, by loops of at most all states.
    if (this.#wide) return this.#longest[state] >= min;
    for (let length = min; length <= max; length++)
      if (this.#exact[length * this.#dfa.size + state]) return true;
    return false;
  }

  /** Whether a character from `low` to `high` may come. */
  takes([state, min, max]: Place, low: number, high: number): boolean {
    const { offsets, lows, highs, targets } = this.#dfa;
    let from = offsets[state];
    let to = offsets[state + 1];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (highs[middle] < low) from = middle + 1;
      else to = middle;
    }
    for (; from < offsets[state + 1] && lows[from] <= high; from++) {
      if (this.reaches(targets[from], min - 1, max - 1)) return true;
    }
    return false;
  }

  ends(state: number): boolean {
    return this.#dfa.accepting[state] === 1;
  }

  /** The item after a character; null if it may not come. */
  after([state, min, max]: Place, code: number): Terminal | null {
    const to = stepDfa(this.#dfa, state, code);
    return to >= 0 && this.reaches(to, min - 1, max - 1) ? this.body([to, min - 1, max - 1]) : null;
  }

  body([state, min, max]: Place): Terminal {
    const at: Place = [state, Math.max(0, min), max];
    return this.#item(at.join(), () => new Body(this, at));
  }

  /** Inside a character of at least `least`: `prefix` are its first bits, `left` times six more are to come. */
  partial(at: Place, prefix: number, left: number, least: number): Terminal | null {
    const size = 2 ** (6 * left);
    // Small code points in more bytes than they need, and what is beyond Unicode, are no UTF-8.
    const low = Math.max(least, prefix * size);
    const high = Math.min(0x10ffff, (prefix + 1) * size - 1);
    if (low > high || !this.takes(at, low, high)) return null;
    return this.#item(`${at},${prefix},${left},${least}`, () => new Partial(this, at, prefix, left, least));
  }

  /** Inside an escape of which `text` was read. */
  escape(at: Place, text: string): Terminal | null {
    const possible = ESCAPES.some(([code, whole]) => whole.startsWith(text) && this.takes(at, code, code));
    return possible ? this.#item(`${at},${text}`, () => new Escape(this, at, text)) : null;
  }

  #item(key: string, make: () => Terminal): Terminal {
    let item = this.#items.get(key);
    if (item === undefined) {
      item = make();
      this.#items.set(key, item);
    }
    return item;
  }

  /** A place that is the same for whatever comes within the next `most` characters. */
  alike([state, min, max]: Place, most: number): Place {
    if (!this.#wide) return [state, min, max];
    const least = this.#endless ? Math.min(min, most + 1) : min;
    return [state, least, max > most + this.#furthest ? Number.POSITIVE_INFINITY : max];
  }
}

/** What is left of a string at some place. */
abstract class Rest extends Terminal {
  readonly final = false;
  readonly reads = true;
  protected readonly of: MatchedStrings;
  protected readonly at: Place;

  constructor(of: MatchedStrings, at: Place) {
    super();
    this.of = of;
    this.at = at;
  }
}

/** From before one of its characters to its closing quote. */
class Body extends Rest {
  step(byte: number, rest: Cell): Cell | null {
    const { of, at } = this;
    if (byte === QUOTE) return at[1] === 0 && of.ends(at[0]) ? rest : null;
    const next = this.#next(byte);
    return next && rest.push(next);
  }

  #next(byte: number): Terminal | null {
    const { of, at } = this;
    if (byte === BACKSLASH) return of.escape(at, "\\");
    if (byte < 0x80) return byte < 0x20 ? null : of.after(at, byte);
    if (byte < 0xc0 || byte > 0xf4) return null;
    if (byte < 0xe0) return of.partial(at, byte & 0x1f, 1, 0x80);
    return byte < 0xf0 ? of.partial(at, byte & 0x0f, 2, 0x800) : of.partial(at, byte & 0x07, 3, 0x10000);
  }

  override alike(most: number): Terminal {
    return this.of.body(this.of.alike(this.at, most));
  }
}

/** From inside a character. */
class Partial extends Rest {
  readonly #prefix: number;
  readonly #left: number;
  readonly #least: number;

  constructor(of: MatchedStrings, at: Place, prefix: number, left: number, least: number) {
    super(of, at);
    this.#prefix = prefix;
    this.#left = left;
    this.#least = least;
  }

  step(byte: number, rest: Cell): Cell | null {
    if ((byte & 0xc0) !== 0x80) return null;
    const code = (this.#prefix << 6) | (byte & 0x3f);
    const left = this.#left - 1;
    const next = left > 0 ? this.of.partial(this.at, code, left, this.#least) : this.of.after(this.at, code);
    return next && rest.push(next);
  }
}

/** From inside an escape. */
class Escape extends Rest {
  readonly #text: string;

  constructor(of: MatchedStrings, at: Place, text: string) {
    super(of, at);
    this.#text = text;
  }

  step(byte: number, rest: Cell): Cell | null {
    const text = this.#text + String.fromCharCode(byte);
    const whole = ESCAPES.find(([, spelled]) => spelled === text);
    const next = whole ? this.of.after(this.at, whole[0]) : this.of.escape(this.at, text);
    return next && rest.push(next);
  }
}

/** Fewest symbols from each state to the end. */
function shortest(dfa: Dfa, into: readonly (readonly number[])[]): Int32Array {
  const lengths = new Int32Array(dfa.size).fill(-1);
  const open: number[] = [];
  for (let state = 0; state < dfa.size; state++) {
    if (!dfa.accepting[state]) continue;
    lengths[state] = 0;
    open.push(state);
  }
  for (let at = 0; at < open.length; at++) {
    for (const from of into[open[at]]) {
      if (lengths[from] >= 0) continue;
      lengths[from] = lengths[open[at]] + 1;
      open.push(from);
    }
  }
  return lengths;
}

/** Most symbols from each state to the end; infinite if a loop is on the way. */
function longest(dfa: Dfa, targets: readonly (readonly number[])[], into: readonly (readonly number[])[]) {
  const lengths = new Float64Array(dfa.size).fill(Number.POSITIVE_INFINITY);
  const waiting = targets.map((list) => list.length);
  const open = [...waiting.keys()].filter((state) => waiting[state] === 0);
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    // Every state leads to the end, so that there is a longest way.
    lengths[state] = targets[state].reduce((most, to) => Math.max(most, lengths[to] + 1), 0);
    for (const from of into[state]) if (--waiting[from] === 0) open.push(from);
  }
  return lengths;
}

/** For each count up to `max`, one row: 1 for states from which exactly so many symbols lead to the end. */
function* exactLengths(
  dfa: Dfa,
  targets: readonly (readonly number[])[],
  max: number,
  budget: Budget,
): Slices<Uint8Array> {
  const { size } = dfa;
  if (size * (max + 1) > MOST_ENTRIES) {
    const what = "minLength and maxLength beside a pattern";
    budget.refuse(what, `at most ${MOST_ENTRIES} for states times lengths`, size * (max + 1));
  }
  const rows = new Uint8Array(size * (max + 1));
  rows.set(dfa.accepting);
  const edges = targets.reduce((sum, list) => sum + list.length, size);
  for (let length = 1; length <= max; length++) {
    budget.spend(edges >> 3);
    if (budget.due()) yield;
    const before = (length - 1) * size;
    targets.forEach((list, state) => {
      if (list.some((to) => rows[before + to])) rows[length * size + state] = 1;
    });
  }
  return rows;
}

/**
 * The rest of a string behind its opening quote: what `dfa` (over code points) accepts, of `min` to `max` characters;
 * null if there is no such string. @throws ConfigError if the lengths are too many to follow
 */
export function* matchedBody(dfa: Dfa, min: number, max: number, budget: Budget): Slices<Item | null> {
  if (min > max) return null;
  const strings = yield* MatchedStrings.of(dfa, min, max, budget);
  return strings.reaches(0, min, max) ? strings.body([0, min, max]) : null;
}
