/** Sets of strings as automata over code points, in addition to those of patterns: by length, and all but some. */
import { type Budget, type Dfa, DfaBuilder } from "./automaton.ts";
import type { Range } from "./nfa.ts";
import { ALL_CHARACTERS, complement } from "./unicode.ts";

/** Strings of `min` to `max` code points. */
export function lengthDfa(min: number, max: number, budget: Budget): Dfa | null {
  const last = max === Number.POSITIVE_INFINITY ? min : max;
  budget.size(last + 1, "a length beside a pattern or format");
  const out = new DfaBuilder(budget);
  for (let n = 0; n <= last; n++) {
    out.begin(n >= min);
    const next = n < last ? n + 1 : max === last ? -1 : last;
    for (const [low, high] of next < 0 ? [] : ALL_CHARACTERS) out.add(low, high, next);
  }
  return out.build();
}

/** All strings but `names`. */
export function otherThanDfa(names: readonly string[], budget: Budget): Dfa {
  const children: Map<number, number>[] = [new Map()];
  const taken = new Set<number>();
  for (const name of names) {
    let state = 0;
    for (const char of name) {
      const code = char.codePointAt(0)!;
      let next = children[state].get(code);
      if (next === undefined) {
        next = children.push(new Map()) - 1;
        budget.size(next, "the names of properties");
        children[state].set(code, next);
      }
      state = next;
    }
    taken.add(state);
  }
  const other = children.length;
  const out = new DfaBuilder(budget);
  [...children, new Map<number, number>()].forEach((map, state) => {
    out.begin(!taken.has(state));
    const own = [...map].map(([code, to]) => [code, code, to] as const);
    const rest = complement([...map.keys()].map((code): Range => [code, code]));
    const edges = [...own, ...rest.map(([low, high]) => [low, high, other] as const)];
    for (const edge of edges.sort((a, b) => a[0] - b[0])) out.add(...edge);
  });
  return out.build()!;
}
