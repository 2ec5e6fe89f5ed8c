/**
 * Finite automata over integers, which are bytes or code points: determinisation, intersection and trimming. Edges are
 * ranges, so that classes of a million code points cost nothing. All work is counted against a budget, since patterns
 * come from outside and determinisation can be exponential. Left out: minimisation, complement.
 */
import { ConfigError } from "../../tensor/errors.ts";

/** First symbol, last symbol, target state. */
export type Edge = readonly [low: number, high: number, target: number];

/** A deterministic automaton. State 0 is the start; from every state acceptance can be reached. */
export interface Dfa {
  readonly size: number;
  /** 1 where the input may end. */
  readonly accepting: Uint8Array;
  /** Edges of state s are at offsets[s] up to offsets[s + 1], in order of their symbols, without overlap. */
  readonly offsets: Int32Array;
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  readonly targets: Int32Array;
}

const MOST_STATES = 20_000;
const MOST_STEPS = 5_000_000;

/** Limits what compiling one grammar may cost, and knows for which part of the schema it is spent. */
export class Budget {
  /** JSON pointer of what is being compiled, for errors. */
  pointer = "#";
  #steps = 0;
  readonly #most: number;

  constructor(most = MOST_STEPS) {
    this.#most = most;
  }

  /** @throws ConfigError where the limit is exceeded */
  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > this.#most) this.refuse("the schema", `at most ${this.#most} steps`, this.#steps);
  }

  /** @throws ConfigError where an automaton grows beyond the limit */
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

/** The state after `symbol`, -1 where there is none. */
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

/**
 * An automaton without states that lead nowhere; null where nothing is accepted. `edges[s]` are sorted and do not
 * overlap; state 0 is the start.
 */
export function assembleDfa(edges: readonly (readonly Edge[])[], accepting: readonly boolean[]): Dfa | null {
  const into: number[][] = edges.map(() => []);
  edges.forEach((list, from) => {
    for (const [, , to] of list) into[to].push(from);
  });
  const useful = new Uint8Array(edges.length);
  const open = accepting.flatMap((yes, state) => (yes ? [state] : []));
  for (const state of open) useful[state] = 1;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (const from of into[state]) {
      if (useful[from]) continue;
      useful[from] = 1;
      open.push(from);
    }
  }
  if (!useful[0]) return null;
  const renumbered = new Int32Array(edges.length).fill(-1);
  const order = [0];
  renumbered[0] = 0;
  const kept: Edge[][] = [];
  for (let at = 0; at < order.length; at++) {
    const list: [number, number, number][] = [];
    for (const [low, high, to] of edges[order[at]]) {
      if (!useful[to]) continue;
      if (renumbered[to] < 0) {
        renumbered[to] = order.length;
        order.push(to);
      }
      const last = list[list.length - 1];
      if (last && last[1] === low - 1 && last[2] === renumbered[to]) last[1] = high;
      else list.push([low, high, renumbered[to]]);
    }
    kept.push(list);
  }
  const offsets = new Int32Array(order.length + 1);
  kept.forEach((list, state) => {
    offsets[state + 1] = offsets[state] + list.length;
  });
  const flat = kept.flat();
  return {
    size: order.length,
    accepting: Uint8Array.from(order, (state) => (accepting[state] ? 1 : 0)),
    offsets,
    lows: Int32Array.from(flat, (edge) => edge[0]),
    highs: Int32Array.from(flat, (edge) => edge[1]),
    targets: Int32Array.from(flat, (edge) => edge[2]),
  };
}

/** Where a link may be taken: anywhere, or only before the first or after the last symbol. */
type Place = "anywhere" | "begin" | "end";

/** A nondeterministic automaton under construction. */
export class Nfa {
  readonly #free: (readonly [target: number, place: Place])[][] = [];
  readonly #edges: Edge[][] = [];
  readonly #budget: Budget;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  state(): number {
    this.#budget.size(this.#free.length + 1, "a pattern");
    this.#free.push([]);
    return this.#edges.push([]) - 1;
  }

  /** Allows to go on at `to` without input. */
  link(from: number, to: number, place: Place = "anywhere"): void {
    this.#free[from].push([to, place]);
  }

  edge(from: number, low: number, high: number, to: number): void {
    this.#edges[from].push([low, high, to]);
  }

  #closure(states: Iterable<number>, place: Place): number[] {
    const all = new Set(states);
    for (const state of all) {
      for (const [next, where] of this.#free[state]) {
        if (where === "anywhere" || where === place) all.add(next);
      }
    }
    this.#budget.spend(all.size);
    return [...all].sort((a, b) => a - b);
  }

  /** The deterministic automaton of what leads from `start` to `end`; null where nothing does. */
  determinise(start: number, end: number): Dfa | null {
    const numbers = new Map<string, number>();
    const sets: number[][] = [];
    const number = (set: number[]): number => {
      const key = set.join();
      let found = numbers.get(key);
      if (found === undefined) {
        found = sets.push(set) - 1;
        numbers.set(key, found);
        this.#budget.size(sets.length, "a pattern");
      }
      return found;
    };
    number(this.#closure([start], "begin"));
    const edges: Edge[][] = [];
    for (let at = 0; at < sets.length; at++) edges.push(this.#outgoing(sets[at], number));
    return assembleDfa(
      edges,
      sets.map((set) => this.#closure(set, "end").includes(end)),
    );
  }

  #outgoing(set: readonly number[], number: (set: number[]) => number): Edge[] {
    const events: [at: number, target: number, change: number][] = [];
    for (const state of set) {
      for (const [low, high, to] of this.#edges[state]) events.push([low, to, 1], [high + 1, to, -1]);
    }
    events.sort((a, b) => a[0] - b[0]);
    this.#budget.spend(events.length);
    const active = new Map<number, number>();
    const out: Edge[] = [];
    for (let i = 0; i < events.length; ) {
      const low = events[i][0];
      for (; i < events.length && events[i][0] === low; i++) {
        const [, target, change] = events[i];
        const count = (active.get(target) ?? 0) + change;
        if (count === 0) active.delete(target);
        else active.set(target, count);
      }
      if (active.size > 0)
        out.push([low, events[i][0] - 1, number(this.#closure(active.keys(), "anywhere"))]);
    }
    return out;
  }
}

/** What both automata accept; null where that is nothing. */
export function intersectDfa(a: Dfa, b: Dfa, budget: Budget): Dfa | null {
  const numbers = new Map<number, number>([[0, 0]]);
  const pairs: [number, number][] = [[0, 0]];
  const edges: Edge[][] = [];
  for (let at = 0; at < pairs.length; at++) {
    const [s, t] = pairs[at];
    const list: Edge[] = [];
    let i = a.offsets[s];
    let j = b.offsets[t];
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
        list.push([low, high, found]);
      }
      if (a.highs[i] < b.highs[j]) i++;
      else j++;
    }
    budget.spend(list.length + 1);
    edges.push(list);
  }
  return assembleDfa(
    edges,
    pairs.map(([s, t]) => a.accepting[s] === 1 && b.accepting[t] === 1),
  );
}

/** The automaton of a step function over named states, one symbol of `alphabet` at a time. */
export function exploreDfa<S>(
  start: S,
  alphabet: readonly number[],
  step: (state: S, symbol: number) => S | null,
  accepts: (state: S) => boolean,
  budget: Budget,
): Dfa | null {
  const symbols = [...alphabet].sort((a, b) => a - b);
  const numbers = new Map<string, number>([[JSON.stringify(start), 0]]);
  const states = [start];
  const edges: Edge[][] = [];
  for (let at = 0; at < states.length; at++) {
    const list: Edge[] = [];
    for (const symbol of symbols) {
      const next = step(states[at], symbol);
      if (next === null) continue;
      const key = JSON.stringify(next);
      let found = numbers.get(key);
      if (found === undefined) {
        found = states.push(next) - 1;
        numbers.set(key, found);
        budget.size(states.length, "a restriction");
      }
      list.push([symbol, symbol, found]);
    }
    budget.spend(symbols.length);
    edges.push(list);
  }
  return assembleDfa(edges, states.map(accepts));
}

/** The automaton of a finite set of inputs: their prefix tree. Null for no inputs. */
export function literalsDfa(inputs: readonly ArrayLike<number>[]): Dfa | null {
  const children: Map<number, number>[] = [new Map()];
  const accepting = [false];
  for (const input of inputs) {
    let state = 0;
    for (let i = 0; i < input.length; i++) {
      let next = children[state].get(input[i]);
      if (next === undefined) {
        next = children.push(new Map()) - 1;
        accepting.push(false);
        children[state].set(input[i], next);
      }
      state = next;
    }
    accepting[state] = true;
  }
  const edges = children.map((map) =>
    [...map].sort((a, b) => a[0] - b[0]).map(([symbol, to]): Edge => [symbol, symbol, to]),
  );
  return assembleDfa(edges, accepting);
}
