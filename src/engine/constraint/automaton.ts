/**
 * Finite deterministic automata over integers, which are bytes or code points: intersection, complement and trimming.
 * Edges are ranges, so that classes of a million code points cost nothing. All work is counted against a budget, since
 * schemas come from outside and products can be large. Left out: minimization.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { Pace, type Slices } from "../../tokenizer/slices.ts";

/** A deterministic automaton. State 0 is the start; from every state acceptance can be reached. */
export interface Dfa {
  readonly size: number;
  /** 1 if the input may end. */
  readonly accepting: Uint8Array;
  /** Edges of state s are at offsets[s] up to offsets[s + 1], in order of their symbols, without overlap. */
  readonly offsets: Int32Array;
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  readonly targets: Int32Array;
}

const MOST_STATES = 50_000;
const MOST_EDGES = 1_000_000;
const MOST_STEPS = 5_000_000;
const STEPS_PER_SLICE = 4000;

/** Limits what compiling one grammar may cost, and knows for which part of the schema it is spent. */
export class Budget {
  /** JSON pointer of what is being compiled, for errors. */
  pointer = "#";
  #steps = 0;
  readonly #most: number;
  /** Steps at the last pause. */
  #paused = 0;

  constructor(most = MOST_STEPS) {
    this.#most = most;
  }

  /** Whether it is time to pause: after a few thousand steps, about a millisecond. */
  due(): boolean {
    if (this.#steps - this.#paused < STEPS_PER_SLICE) return false;
    this.#paused = this.#steps;
    return true;
  }

  /** @throws ConfigError if the limit is exceeded */
  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > this.#most) this.refuse("the schema", `at most ${this.#most} steps`, this.#steps);
  }

  /** @throws ConfigError if an automaton grows beyond the limit */
  size(states: number, what: string): void {
    if (states > MOST_STATES) this.refuse(what, `at most ${MOST_STATES} states`, `${states} or more`);
  }

  refuse(what: string, expected: unknown, found: unknown): never {
    throw new ConfigError(`${what} is too large to compile`, {
      where: "constraint",
      name: this.pointer,
      expected,
      found,
    });
  }
}

/** The state after `symbol`, -1 if there is none. */
export function stepDfa(dfa: Dfa, state: number, symbol: number): number {
  let from = dfa.offsets[state];
  let to = dfa.offsets[state + 1];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (symbol > dfa.highs[middle]) from = middle + 1;
    else if (symbol < dfa.lows[middle]) to = middle;
    else return dfa.targets[middle];
  }
  return -1;
}

/** Whether the automaton accepts the whole input. */
export function acceptsDfa(dfa: Dfa, symbols: Iterable<number>): boolean {
  let state = 0;
  for (const symbol of symbols) {
    state = stepDfa(dfa, state, symbol);
    if (state < 0) return false;
  }
  return dfa.accepting[state] === 1;
}

/** An automaton under construction, edges in flat arrays. States are numbered as they are begun; state 0 is the start. */
export class DfaBuilder {
  readonly #budget: Budget | null;
  readonly #starts: number[] = [];
  readonly #accepting: boolean[] = [];
  #edges = new Int32Array(3 * 64);
  #used = 0;

  /** @param budget none for what is small for certain */
  constructor(budget: Budget | null) {
    this.#budget = budget;
  }

  /** Begins the next state; edges that are added are its own. */
  begin(accepting: boolean): void {
    this.#starts.push(this.#used);
    this.#accepting.push(accepting);
  }

  /** An edge of the present state; edges come in the order of their symbols and do not overlap. */
  add(low: number, high: number, target: number): void {
    const edges = this.#edges;
    const last = this.#used - 3;
    if (
      last >= this.#starts[this.#starts.length - 1] &&
      edges[last + 1] === low - 1 &&
      edges[last + 2] === target
    ) {
      edges[last + 1] = high;
      return;
    }
    if (this.#used === edges.length) {
      if (this.#used > 3 * MOST_EDGES) {
        this.#budget?.refuse("an automaton", `at most ${MOST_EDGES} edges`, "more");
      }
      this.#edges = new Int32Array(2 * edges.length);
      this.#edges.set(edges);
    }
    this.#edges[this.#used++] = low;
    this.#edges[this.#used++] = high;
    this.#edges[this.#used++] = target;
  }

  /** The automaton without states that lead nowhere or are not reached; null if nothing is accepted. */
  build(): Dfa | null {
    const size = this.#starts.length;
    const edges = this.#edges;
    const startOf = (state: number) => (state < size ? this.#starts[state] : this.#used);
    const useful = this.#useful(startOf);
    if (!useful[0]) return null;
    const numbers = new Int32Array(size).fill(-1);
    const order = [0];
    numbers[0] = 0;
    const final = new DfaBuilder(null);
    for (let at = 0; at < order.length; at++) {
      final.begin(this.#accepting[order[at]]);
      for (let i = startOf(order[at]); i < startOf(order[at] + 1); i += 3) {
        const to = edges[i + 2];
        if (!useful[to]) continue;
        if (numbers[to] < 0) {
          numbers[to] = order.length;
          order.push(to);
        }
        final.add(edges[i], edges[i + 1], numbers[to]);
      }
    }
    return final.#finished();
  }

  /** States from which acceptance can be reached. */
  #useful(startOf: (state: number) => number): Uint8Array {
    const size = this.#starts.length;
    const edges = this.#edges;
    const into = new Int32Array(size + 1);
    for (let i = 2; i < this.#used; i += 3) into[edges[i] + 1]++;
    for (let state = 0; state < size; state++) into[state + 1] += into[state];
    const from = new Int32Array(this.#used / 3);
    const filled = Int32Array.from(into);
    for (let state = 0; state < size; state++) {
      for (let i = startOf(state); i < startOf(state + 1); i += 3) from[filled[edges[i + 2]]++] = state;
    }
    const useful = Uint8Array.from(this.#accepting, (yes) => (yes ? 1 : 0));
    const open = [...useful.keys()].filter((state) => useful[state] === 1);
    for (let state = open.pop(); state !== undefined; state = open.pop()) {
      for (let i = into[state]; i < into[state + 1]; i++) {
        if (useful[from[i]]) continue;
        useful[from[i]] = 1;
        open.push(from[i]);
      }
    }
    return useful;
  }

  #finished(): Dfa {
    const column = (at: number) =>
      Int32Array.from({ length: this.#used / 3 }, (_, i) => this.#edges[3 * i + at]);
    return {
      size: this.#starts.length,
      accepting: Uint8Array.from(this.#accepting, (yes) => (yes ? 1 : 0)),
      offsets: Int32Array.from([...this.#starts, this.#used], (start) => start / 3),
      lows: column(0),
      highs: column(1),
      targets: column(2),
    };
  }
}

/** What both automata accept; null if that is nothing. */
export function* intersectDfa(a: Dfa, b: Dfa, budget: Budget): Slices<Dfa | null> {
  const numbers = new Map<number, number>([[0, 0]]);
  const pairs: [number, number][] = [[0, 0]];
  const out = new DfaBuilder(budget);
  for (let at = 0; at < pairs.length; at++) {
    const [s, t] = pairs[at];
    out.begin(a.accepting[s] === 1 && b.accepting[t] === 1);
    let i = a.offsets[s];
    let j = b.offsets[t];
    budget.spend(a.offsets[s + 1] - i + b.offsets[t + 1] - j + 1);
    if (budget.due()) yield;
    while (i < a.offsets[s + 1] && j < b.offsets[t + 1]) {
      const low = Math.max(a.lows[i], b.lows[j]);
      const high = Math.min(a.highs[i], b.highs[j]);
      if (low <= high) {
        const key = a.targets[i] * b.size + b.targets[j];
        let found = numbers.get(key);
        if (found === undefined) {
          found = pairs.push([a.targets[i], b.targets[j]]) - 1;
          numbers.set(key, found);
          budget.size(pairs.length, "a combination of keywords");
        }
        out.add(low, high, found);
      }
      if (a.highs[i] < b.highs[j]) i++;
      else j++;
    }
  }
  return out.build();
}

/** What all of the automata accept; null for nothing, undefined for no automata at all. */
export function* intersectAll(
  parts: readonly (Dfa | null)[],
  budget: Budget,
): Slices<Dfa | null | undefined> {
  let all: Dfa | null | undefined;
  for (const part of parts) {
    all = all === undefined ? part : all && part && (yield* intersectDfa(all, part, budget));
  }
  return all;
}

/** What of all inputs over `alphabet` (sorted ranges) is not accepted; null if that is nothing. */
export function* complementDfa(
  dfa: Dfa | null,
  alphabet: readonly (readonly [low: number, high: number])[],
  budget: Budget,
): Slices<Dfa | null> {
  const out = new DfaBuilder(budget);
  const other = dfa === null ? 0 : dfa.size;
  for (let state = 0; dfa !== null && state < dfa.size; state++) {
    out.begin(dfa.accepting[state] === 0);
    let at = dfa.offsets[state];
    const last = dfa.offsets[state + 1];
    budget.spend(last - at + 1);
    if (budget.due()) yield;
    for (const [low, high] of alphabet) {
      let next = low;
      for (; at < last && dfa.lows[at] <= high; at++) {
        if (dfa.lows[at] > next) out.add(next, dfa.lows[at] - 1, other);
        out.add(dfa.lows[at], dfa.highs[at], dfa.targets[at]);
        next = dfa.highs[at] + 1;
      }
      if (next <= high) out.add(next, high, other);
    }
  }
  out.begin(true);
  for (const [low, high] of alphabet) out.add(low, high, other);
  return out.build();
}

/** The automaton of a step function over named states, one symbol of `alphabet` at a time. */
export function* exploreDfa<S>(
  start: S,
  alphabet: readonly number[],
  step: (state: S, symbol: number) => S | null,
  accepts: (state: S) => boolean,
  budget: Budget,
): Slices<Dfa | null> {
  const symbols = [...alphabet].sort((a, b) => a - b);
  const numbers = new Map<string, number>([[String(start), 0]]);
  const states = [start];
  const out = new DfaBuilder(budget);
  for (let at = 0; at < states.length; at++) {
    out.begin(accepts(states[at]));
    budget.spend(2 * symbols.length);
    if (budget.due()) yield;
    for (const symbol of symbols) {
      const next = step(states[at], symbol);
      if (next === null) continue;
      const key = String(next);
      let found = numbers.get(key);
      if (found === undefined) {
        found = states.push(next) - 1;
        numbers.set(key, found);
        budget.size(states.length, "a restriction");
      }
      out.add(symbol, symbol, found);
    }
  }
  return out.build();
}

/** The order of inputs, symbol by symbol. */
function compareInputs(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/**
 * The automaton of a finite set of inputs: their prefix tree, level by level. A state is a range of the sorted inputs,
 * those that begin alike; arrays keep it small for texts of a megabyte. Null for no inputs.
 */
export function* literalsDfa(inputs: readonly Uint8Array[]): Slices<Dfa | null> {
  if (inputs.length === 0) return null;
  const sorted = [...inputs].sort(compareInputs);
  const most = sorted.reduce((sum, { length }) => sum + length, 1);
  const accepting = new Uint8Array(most);
  const offsets = new Int32Array(most + 1);
  const symbols = new Int32Array(most);
  const [from, to, depths] = [new Int32Array(most), new Int32Array(most), new Int32Array(most)];
  to[0] = sorted.length;
  const pace = new Pace();
  let size = 1;
  for (let state = 0; state < size; state++) {
    const depth = depths[state];
    offsets[state] = size - 1;
    let at = from[state];
    // Inputs that end here come first.
    for (; at < to[state] && sorted[at].length === depth; at++) accepting[state] = 1;
    while (at < to[state]) {
      const symbol = sorted[at][depth];
      symbols[size - 1] = symbol;
      depths[size] = depth + 1;
      from[size] = at;
      while (at < to[state] && sorted[at][depth] === symbol) at++;
      to[size++] = at;
    }
    if (pace.due(1 + to[state] - from[state])) yield;
  }
  offsets[size] = size - 1;
  const lows = symbols.slice(0, size - 1);
  // Each edge leads to the next state.
  const targets = new Int32Array(size - 1);
  for (let edge = 0; edge < targets.length; edge++) targets[edge] = edge + 1;
  return {
    ...{ size, lows, highs: lows, targets },
    accepting: accepting.slice(0, size),
    offsets: offsets.slice(0, size + 1),
  };
}
