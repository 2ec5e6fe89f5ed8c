/**
 * Strings as JSON writes them: automata over bytes that accept valid UTF-8 only. A string without a pattern may use
 * every escape of JSON (surrogates only in pairs, which count as one character, as everywhere in JSON Schema). Strings
 * under a pattern: see `json-matched.ts`.
 */
import { finish } from "../../tokenizer/slices.ts";
import { type Budget, type Dfa, stepDfa } from "./automaton.ts";
import { type Cell, DfaFamily, type Item, Terminal } from "./grammar.ts";
import { Nfa, type Range } from "./nfa.ts";
import { complement } from "./unicode.ts";

type ByteRanges = readonly Range[];

/** The byte sequences of the code points from `low` to `high`, as sequences of byte ranges. Surrogates are left out. */
export function utf8Ranges(low: number, high: number): ByteRanges[] {
  if (low > high) return [];
  if (low <= 0xdfff && high >= 0xd800) return [...utf8Ranges(low, 0xd7ff), ...utf8Ranges(0xe000, high)];
  for (const limit of [0x7f, 0x7ff, 0xffff]) {
    if (low <= limit && high > limit) return [...utf8Ranges(low, limit), ...utf8Ranges(limit + 1, high)];
  }
  const following = low <= 0x7f ? 0 : low <= 0x7ff ? 1 : low <= 0xffff ? 2 : 3;
  // Split until every byte but the first differing one runs over its whole range.
  for (let i = following; i > 0; i--) {
    const mask = (1 << (6 * i)) - 1;
    if (low >> (6 * i) === high >> (6 * i)) continue;
    if ((low & mask) !== 0) return [...utf8Ranges(low, low | mask), ...utf8Ranges((low | mask) + 1, high)];
    if ((high & mask) !== mask) {
      return [...utf8Ranges(low, (high & ~mask) - 1), ...utf8Ranges(high & ~mask, high)];
    }
  }
  const bytes = (code: number) =>
    Array.from({ length: following + 1 }, (_, i) => {
      const part = code >> (6 * (following - i));
      if (i > 0) return 0x80 | (part & 0x3f);
      return following === 0 ? part : ((0xff00 >> (following + 1)) & 0xff) | part;
    });
  const [first, last] = [bytes(low), bytes(high)];
  return [first.map((byte, i) => [byte, last[i]] as const)];
}

/** Adds paths for byte sequences, sharing what they have in common toward their end. */
class Paths {
  readonly nfa: Nfa;
  readonly #known = new Map<string, number>();

  constructor(nfa: Nfa) {
    this.nfa = nfa;
  }

  add(from: number, sequence: ByteRanges, to: number): void {
    let target = to;
    for (let i = sequence.length - 1; i > 0; i--) {
      const key = `${sequence[i]};${target}`;
      let state = this.#known.get(key);
      if (state === undefined) {
        state = this.nfa.state();
        this.nfa.edge(state, [sequence[i]], target);
        this.#known.set(key, state);
      }
      target = state;
    }
    this.nfa.edge(from, [sequence[0]], target);
  }
}

const utf8 = new TextEncoder();
const PLAIN: readonly Range[] = complement([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);

const text = (string: string): Range[] => Array.from(utf8.encode(string), (byte) => [byte, byte] as const);
const HEX: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x46],
  [0x61, 0x66],
];

/** One character inside a JSON string, in any of its spellings. */
function anySpelling(budget: Budget): Dfa {
  const nfa = new Nfa(budget);
  const paths = new Paths(nfa);
  const [start, end] = [nfa.state(), nfa.state()];
  for (const [low, high] of PLAIN) for (const way of utf8Ranges(low, high)) paths.add(start, way, end);
  for (const letter of '"\\/bfnrt') paths.add(start, text(`\\${letter}`), end);
  const spell = (from: number, to: number, ...digits: (readonly Range[])[]) => {
    let at = nfa.state();
    paths.add(from, text("\\u"), at);
    digits.forEach((ranges, i) => {
      const next = i === digits.length - 1 ? to : nfa.state();
      nfa.edge(at, ranges, next);
      at = next;
    });
  };
  const D: readonly Range[] = [
    [0x44, 0x44],
    [0x64, 0x64],
  ];
  const notD: readonly Range[] = [
    [0x30, 0x39],
    [0x41, 0x43],
    [0x45, 0x46],
    [0x61, 0x63],
    [0x65, 0x66],
  ];
  spell(start, end, notD, HEX, HEX, HEX);
  spell(start, end, D, [[0x30, 0x37]], HEX, HEX);
  const high = nfa.state();
  const high8toB: Range[] = [
    [0x38, 0x39],
    [0x41, 0x42],
    [0x61, 0x62],
  ];
  const lowCtoF: Range[] = [
    [0x43, 0x46],
    [0x63, 0x66],
  ];
  spell(start, high, D, high8toB, HEX, HEX);
  spell(high, end, D, lowCtoF, HEX, HEX);
  return finish(nfa.determinize(start, end))!;
}

/** The parts that plain strings are made of, one set for a grammar. */
export class StringItems {
  readonly #characters: DfaFamily;
  readonly #bodies = new Map<string, StringBody>();

  constructor(budget: Budget) {
    this.#characters = new DfaFamily(anySpelling(budget));
  }

  /** The automaton of one character. */
  get character(): Dfa {
    return this.#characters.dfa;
  }

  /** The rest of a string after `count` characters less: `min` to `max` characters and the closing quote. */
  body(min: number, max: number): StringBody {
    const key = `${min},${max}`;
    let body = this.#bodies.get(key);
    if (body === undefined) {
      body = new StringBody(this, min, max);
      this.#bodies.set(key, body);
    }
    return body;
  }

  /** What is left of a character in `state`. */
  remainder(state: number): Item {
    return this.#characters.at(state);
  }
}

export class StringBody extends Terminal {
  readonly final = false;
  readonly reads = true;
  readonly min: number;
  readonly max: number;
  readonly #items: StringItems;

  constructor(items: StringItems, min: number, max: number) {
    super();
    this.#items = items;
    this.min = min;
    this.max = max;
  }

  step(byte: number, rest: Cell): Cell | null {
    if (byte === 0x22) return this.min === 0 ? rest : null;
    if (this.max === 0) return null;
    const { character } = this.#items;
    const to = stepDfa(character, 0, byte);
    if (to < 0) return null;
    const below = rest.push(this.#items.body(Math.max(0, this.min - 1), this.max - 1));
    return character.accepting[to] ? below : below.push(this.#items.remainder(to));
  }
}

/** Any valid UTF-8 text, of any length. */
export function freeTextDfa(budget: Budget): Dfa {
  const nfa = new Nfa(budget);
  const paths = new Paths(nfa);
  const start = nfa.state();
  for (const way of utf8Ranges(0, 0x10ffff)) paths.add(start, way, start);
  return finish(nfa.determinize(start, start))!;
}
