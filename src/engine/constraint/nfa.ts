/**
 * Nondeterministic automata and their determinization. Symbols that no edge tells apart are treated as one, so that
 * the work depends on the number of different classes in a pattern, not on their ranges. A link may stand under an
 * assertion about all of the input that follows (a lookahead): what is asserted is itself an automaton, and runs along
 * until it accepts whatever comes or refuses. All work is counted against a budget: it can be exponential.
 */
import { Pace, type Slices } from "../../tokenizer/slices.ts";
import { type Budget, type Dfa, DfaBuilder, stepDfa } from "./automaton.ts";

export type Range = readonly [low: number, high: number];

/** Where a link may be taken: anywhere, or only before the first or after the last symbol. */
export type Place = "anywhere" | "begin" | "end";

/** What the rest of the input must be: at the beginning of the input and elsewhere. Null: nothing is. */
export interface Assertion {
  readonly begin: Classified | null;
  readonly inside: Classified | null;
}

/** An automaton and classes of symbols that it does not tell apart. */
export interface Classified {
  readonly dfa: Dfa;
  readonly classes: readonly (readonly Range[])[];
  /** States from which everything is accepted. */
  readonly universal: Uint8Array;
}

/** The assertion depends on whether a letter, digit or underscore stands before; -1 for none. */
type Link = readonly [target: number, place: Place, afterOther: number, afterWord: number];

export const WORD: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const isWord = (code: number) => WORD.some(([low, high]) => code >= low && code <= high);

export class Nfa {
  readonly #links: Link[][] = [];
  readonly #edges: (readonly [set: number, target: number])[][] = [];
  readonly #budget: Budget;
  readonly #sets: (readonly Range[])[] = [];
  readonly #setNumbers = new Map<string, number>();
  readonly #assertions: Assertion[] = [];
  #looksBack = false;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  state(): number {
    this.#budget.size(this.#links.length + 1, "a pattern");
    this.#links.push([]);
    return this.#edges.push([]) - 1;
  }

  /** Allows to go on at `to` without input. */
  link(from: number, to: number, place: Place = "anywhere"): void {
    this.#links[from].push([to, place, -1, -1]);
  }

  /** Allows to go on at `to` without input, where the rest of the input is as asserted, which may differ after a word. */
  assert(from: number, to: number, assertion: Assertion, afterWord = assertion): void {
    const first = this.#assertions.push(assertion) - 1;
    let second = first;
    if (afterWord !== assertion) {
      second = this.#assertions.push(afterWord) - 1;
      this.#looksBack = true;
    }
    this.#links[from].push([to, "anywhere", first, second]);
  }

  /** Allows to go on at `to` with a symbol of `ranges`. */
  edge(from: number, ranges: readonly Range[], to: number): void {
    const key = ranges.join(";");
    let set = this.#setNumbers.get(key);
    if (set === undefined) {
      set = this.#sets.push(ranges) - 1;
      this.#setNumbers.set(key, set);
    }
    this.#edges[from].push([set, to]);
  }

  /** The deterministic automaton of what leads from `start` to `end`; null if nothing does. */
  *determinize(start: number, end: number): Slices<Dfa | null> {
    return (yield* this.classify(start, end, "anywhere", false))?.dfa ?? null;
  }

  /**
   * As `determinize`, with classes of symbols that are not told apart. `place` is where the input begins; `endless`
   * says that `end` reads all input without leaving it.
   */
  *classify(
    start: number,
    end: number,
    place: "begin" | "anywhere",
    endless: boolean,
  ): Slices<Classified | null> {
    const asserted = this.#assertions.flatMap(({ begin, inside }) => [begin, inside]);
    const told = asserted.flatMap((item) => item?.classes ?? []);
    const classes = partition([...this.#sets, ...told, ...(this.#looksBack ? [WORD] : [])], this.#budget);
    const dfa = yield* new Determinizer({
      links: this.#links,
      edges: this.#edges,
      sets: this.#sets.length,
      ...{ asserted, classes, end, endless, looksBack: this.#looksBack },
      budget: this.#budget,
    }).run(start, place);
    if (dfa === null) return null;
    return {
      dfa,
      classes: classes.map(({ ranges }) => ranges),
      universal: yield* universalStates(dfa, classes),
    };
  }
}

interface SymbolClass {
  readonly ranges: readonly Range[];
  /** Numbers of the lists that hold it. */
  readonly lists: readonly number[];
}

/** The symbols of the lists, those together that are in the same ones. */
function partition(lists: readonly (readonly Range[])[], budget: Budget): SymbolClass[] {
  const events = lists.flatMap((ranges, list) =>
    ranges.flatMap(([low, high]) => [
      { at: low, list, opens: true },
      { at: high + 1, list, opens: false },
    ]),
  );
  events.sort((a, b) => a.at - b.at);
  const open = new Map<number, number>();
  const classes = new Map<string, { ranges: Range[]; lists: number[] }>();
  for (let i = 0; i < events.length; ) {
    const low = events[i].at;
    for (; i < events.length && events[i].at === low; i++) {
      const { list, opens } = events[i];
      const count = (open.get(list) ?? 0) + (opens ? 1 : -1);
      if (count === 0) open.delete(list);
      else open.set(list, count);
    }
    if (open.size === 0) continue;
    budget.spend(open.size);
    const members = [...open.keys()].sort((a, b) => a - b);
    const key = members.join();
    const range: Range = [low, events[i].at - 1];
    const known = classes.get(key);
    if (known) known.ranges.push(range);
    else classes.set(key, { ranges: [range], lists: members });
  }
  return [...classes.values()];
}

/** For each state whether it accepts whatever follows. */
function* universalStates(dfa: Dfa, classes: readonly SymbolClass[]): Slices<Uint8Array> {
  const pace = new Pace();
  const universal = Uint8Array.from(dfa.accepting);
  const into: number[][] = Array.from({ length: dfa.size }, () => []);
  const open: number[] = [];
  const symbols = classes.map(({ ranges }) => ranges[0][0]);
  for (let state = 0; state < dfa.size; state++) {
    const targets = universal[state] === 0 ? [] : symbols.map((symbol) => stepDfa(dfa, state, symbol));
    if (pace.due(8 * targets.length + 1)) yield;
    if (universal[state] === 0 || targets.includes(-1)) {
      universal[state] = 0;
      open.push(state);
    } else for (const to of targets) into[to].push(state);
  }
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (const from of into[state]) {
      if (universal[from] === 0) continue;
      universal[from] = 0;
      open.push(from);
    }
  }
  return universal;
}

interface Determination {
  readonly links: readonly (readonly Link[])[];
  readonly edges: readonly (readonly (readonly [set: number, target: number])[])[];
  /** Number of lists of symbols that edges have. */
  readonly sets: number;
  readonly classes: readonly SymbolClass[];
  /** Two for each assertion: of the beginning, of elsewhere. */
  readonly asserted: readonly (Classified | null)[];
  readonly looksBack: boolean;
  readonly end: number;
  readonly endless: boolean;
  readonly budget: Budget;
}

/** One determinization. A thread is a state and the assertions that still run; threads are numbered by both. */
class Determinizer {
  readonly #of: Determination;
  readonly #size: number;
  /** Sets of running assertions, as pairs of automaton and state; the first is empty. */
  readonly #running: (readonly number[])[] = [[]];
  readonly #runningNumbers = new Map<string, number>([["", 0]]);
  readonly #marks: Map<number, number> | Int32Array;
  #mark = 0;

  constructor(of: Determination) {
    this.#of = of;
    this.#size = of.links.length;
    this.#marks = of.asserted.length > 0 ? new Map<number, number>() : new Int32Array(this.#size);
  }

  *run(start: number, place: Place): Slices<Dfa | null> {
    const { classes, sets, looksBack, budget } = this.#of;
    const known = new Map<string, number>();
    const states: { threads: number[]; word: boolean }[] = [];
    const number = (threads: number[], word: boolean): number => {
      const key = word ? `w${threads.join()}` : threads.join();
      let found = known.get(key);
      if (found === undefined) {
        found = states.push({ threads, word }) - 1;
        known.set(key, found);
        budget.size(states.length, "a pattern");
      }
      return found;
    };
    const symbols = classes.map(({ ranges, lists }) => {
      const holds = new Uint8Array(sets);
      for (const list of lists) if (list < sets) holds[list] = 1;
      const symbol = ranges[0][0];
      return { ranges, holds, symbol, word: looksBack && isWord(symbol) };
    });
    const intervals = symbols
      .flatMap(({ ranges }, symbol) => ranges.map(([low, high]) => ({ low, high, symbol })))
      .sort((a, b) => a.low - b.low);
    number(this.#closure([start], place, false), false);
    const out = new DfaBuilder(budget);
    for (let at = 0; at < states.length; at++) {
      const { threads, word: after } = states[at];
      out.begin(this.#accepts(threads, after));
      const targets = symbols.map(({ holds, symbol, word }) => {
        const next = this.#step(threads, holds, symbol);
        return next.length === 0 ? -1 : number(this.#closure(next, "anywhere", word), word);
      });
      for (const { low, high, symbol } of intervals)
        if (targets[symbol] >= 0) out.add(low, high, targets[symbol]);
      budget.spend(intervals.length >> 2);
      if (budget.due()) yield;
    }
    return out.build();
  }

  #interned(pairs: readonly (readonly [index: number, state: number])[]): number {
    if (pairs.length === 0) return 0;
    this.#of.budget.spend(5 * pairs.length + 5);
    const list = [...pairs].sort((a, b) => a[0] - b[0] || a[1] - b[1]).flat();
    const key = list.join();
    let found = this.#runningNumbers.get(key);
    if (found === undefined) {
      found = this.#running.push(list) - 1;
      this.#runningNumbers.set(key, found);
      this.#of.budget.size(found, "the lookaheads of a pattern");
    }
    return found;
  }

  *#pairs(running: number): Generator<[index: number, state: number]> {
    const list = this.#running[running];
    for (let i = 0; i < list.length; i += 2) yield [list[i], list[i + 1]];
  }

  /** The running assertions with one more; -1 if it cannot hold. */
  #with(running: number, assertion: number, place: Place): number {
    const index = 2 * assertion + (place === "begin" ? 0 : 1);
    const item = this.#of.asserted[index];
    if (item === null) return -1;
    if (item.universal[0]) return running;
    const pairs = [...this.#pairs(running)];
    if (pairs.some(([other, state]) => other === index && state === 0)) return running;
    return this.#interned([...pairs, [index, 0]]);
  }

  /** The running assertions after a symbol; -1 if one of them refuses it. */
  #after(running: number, symbol: number): number {
    const next: [number, number][] = [];
    for (const [index, state] of this.#pairs(running)) {
      this.#of.budget.spend(1);
      const { dfa, universal } = this.#of.asserted[index]!;
      const to = stepDfa(dfa, state, symbol);
      if (to < 0) return -1;
      if (!universal[to] && !next.some(([i, s]) => i === index && s === to)) next.push([index, to]);
    }
    return this.#interned(next);
  }

  #step(threads: readonly number[], holds: Uint8Array, symbol: number): number[] {
    const next: number[] = [];
    const after = new Map<number, number>([[0, 0]]);
    let work = threads.length;
    for (const thread of threads) {
      const state = thread % this.#size;
      const running = (thread - state) / this.#size;
      let left = after.get(running);
      if (left === undefined) {
        left = this.#after(running, symbol);
        after.set(running, left);
      }
      if (left < 0) continue;
      const out = this.#of.edges[state];
      work += out.length;
      for (const [set, to] of out) if (holds[set]) next.push(left * this.#size + to);
    }
    this.#of.budget.spend(work);
    return next;
  }

  /** Adds what is reached without input; sorted, without repetition. `word`: whether a word stands before. */
  #closure(threads: readonly number[], place: Place, word: boolean): number[] {
    const { links, end, endless, asserted, budget } = this.#of;
    const all: number[] = [];
    this.#mark++;
    for (const thread of threads) if (this.#isNew(thread)) all.push(thread);
    for (let i = 0; i < all.length; i++) {
      const state = all[i] % this.#size;
      const running = (all[i] - state) / this.#size;
      // Whatever follows is accepted, so that nothing else matters.
      if (endless && all[i] === end) return [end];
      for (const [to, where, afterOther, afterWord] of links[state]) {
        if (where !== "anywhere" && where !== place) continue;
        const assertion = word ? afterWord : afterOther;
        const left = assertion < 0 ? running : this.#with(running, assertion, place);
        const thread = left * this.#size + to;
        if (left >= 0 && this.#isNew(thread)) all.push(thread);
      }
    }
    budget.spend(all.length);
    all.sort((a, b) => a - b);
    if (asserted.length === 0) return all;
    // A thread of which less is asserted stands for those of the same state of which more is.
    const free = new Set(all.filter((thread) => thread < this.#size));
    return all.filter((thread) => thread < this.#size || !free.has(thread % this.#size));
  }

  /** Whether a thread is new to this closure. */
  #isNew(thread: number): boolean {
    const marks = this.#marks;
    if (marks instanceof Map) {
      if (marks.get(thread) === this.#mark) return false;
      marks.set(thread, this.#mark);
    } else {
      if (marks[thread] === this.#mark) return false;
      marks[thread] = this.#mark;
    }
    return true;
  }

  /** Whether what is asserted holds where the input ends here. */
  #settled(thread: number): boolean {
    for (const [index, state] of this.#pairs(Math.floor(thread / this.#size))) {
      if (!this.#of.asserted[index]!.dfa.accepting[state]) return false;
    }
    return true;
  }

  #accepts(threads: readonly number[], word: boolean): boolean {
    const settled = threads.filter((thread) => this.#settled(thread));
    const reached = this.#closure(settled, "end", word);
    return reached.some((thread) => thread % this.#size === this.#of.end && this.#settled(thread));
  }
}
