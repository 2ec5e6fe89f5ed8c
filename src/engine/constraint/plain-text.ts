/** Texts under a regular expression as they are, not as JSON writes them: automata over the bytes of their UTF-8. */
import type { Budget, Dfa } from "./automaton.ts";
import { utf8Ranges } from "./json-string.ts";
import { Nfa } from "./nfa.ts";
import { patternDfa } from "./pattern.ts";

/** The texts of `dfa` (over code points): an automaton over bytes. Null if there are none. */
function utf8Dfa(dfa: Dfa, budget: Budget): Dfa | null {
  const nfa = new Nfa(budget);
  const states = Array.from({ length: dfa.size }, () => nfa.state());
  const end = nfa.state();
  // Ends that sequences have in common are one state.
  const shared = new Map<string, number>();
  for (let state = 0; state < dfa.size; state++) {
    if (dfa.accepting[state]) nfa.link(states[state], end);
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
  return nfa.determinise(states[0], end);
}

/** The texts that `pattern` matches from beginning to end. @throws ConfigError for what is not supported, or matches none */
export function matchedTextDfa(pattern: string, budget: Budget): Dfa | null {
  const dfa = patternDfa(`^(?:${pattern})$`, budget);
  return dfa === null ? null : utf8Dfa(dfa, budget);
}
