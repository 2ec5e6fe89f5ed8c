/** Texts under a regular expression as they are, not as JSON writes them: automata over the bytes of their UTF-8. */
import { Pace, type Slices } from "../../tokenizer/slices.ts";
import type { Budget, Dfa } from "./automaton.ts";
import { utf8Ranges } from "./json-string.ts";
import { Nfa } from "./nfa.ts";
import { patternDfa } from "./pattern.ts";

/** What an edge costs, in the characters of `Pace`. */
const PLACE = 8;

/** The texts of `dfa` (over code points): an automaton over bytes. Null if there are none. */
function* utf8Dfa(dfa: Dfa, budget: Budget): Slices<Dfa | null> {
  const nfa = new Nfa(budget);
  const pace = new Pace();
  const states = Array.from({ length: dfa.size }, () => nfa.state());
  const end = nfa.state();
  // Ends that sequences have in common are one state.
  const shared = new Map<string, number>();
  for (let state = 0; state < dfa.size; state++) {
    if (dfa.accepting[state]) nfa.link(states[state], end);
    if (pace.due(PLACE * (dfa.offsets[state + 1] - dfa.offsets[state] + 1))) yield;
    for (let i = dfa.offsets[state]; i < dfa.offsets[state + 1]; i++) {
      for (const bytes of utf8Ranges(dfa.lows[i], dfa.highs[i])) {
        let target = states[dfa.targets[i]];
        for (let at = bytes.length - 1; at > 0; at--) {
          const key = `${bytes[at]};${target}`;
          let before = shared.get(key);
          if (before === undefined) {
            before = nfa.state();
            nfa.edge(before, [bytes[at]], target);
            shared.set(key, before);
          }
          target = before;
        }
        nfa.edge(states[state], [bytes[0]], target);
      }
    }
  }
  return yield* nfa.determinize(states[0], end);
}

/** The texts that `pattern` matches from beginning to end. @throws ConfigError for what is not supported, or matches none */
export function* matchedTextDfa(pattern: string, budget: Budget): Slices<Dfa | null> {
  const dfa = yield* patternDfa(`^(?:${pattern})$`, budget);
  return dfa === null ? null : yield* utf8Dfa(dfa, budget);
}
