/**
 * Regular expressions of JSON Schema's `pattern` as automata over code points. As in the standard a pattern may match
 * anywhere unless it is anchored.
 */
import type { Slices } from "../../tokenizer/slices.ts";
import { type Budget, complementDfa, type Dfa } from "./automaton.ts";
import { type Assertion, type Classified, Nfa, type Range, WORD } from "./nfa.ts";
import { type Ast, parsePattern } from "./pattern-syntax.ts";
import { ALL_CHARACTERS, complement } from "./unicode.ts";

const NON_WORD = complement(WORD);

/** Any input, as an automaton needs at its ends. */
function endless(nfa: Nfa): number {
  const state = nfa.state();
  nfa.edge(state, ALL_CHARACTERS, state);
  return state;
}

/** What is left of the input from a lookahead on. */
function* lookahead({ part, negative }: Ast & { kind: "look" }, budget: Budget): Slices<Assertion> {
  function* at(place: "begin" | "anywhere"): Slices<Classified | null> {
    const nfa = new Nfa(budget);
    const start = nfa.state();
    const end = endless(nfa);
    nfa.link(yield* build(nfa, part, start, budget), end);
    const found = yield* nfa.classify(start, end, place, true);
    return negative ? yield* complemented(found, budget) : found;
  }
  return { begin: yield* at("begin"), inside: yield* at("anywhere") };
}

function* complemented(given: Classified | null, budget: Budget): Slices<Classified | null> {
  const dfa = yield* complementDfa(given?.dfa ?? null, ALL_CHARACTERS, budget);
  if (dfa === null) return null;
  const classes = given?.classes ?? [];
  // States of the complement are universal where nothing is missing: if the automaton itself had no more states.
  const universal = Uint8Array.from({ length: dfa.size }, (_, state) => (readsAll(dfa, state) ? 1 : 0));
  return { dfa, classes, universal };
}

/** Whether a state accepts and only leads back to itself, with every character. */
function readsAll({ accepting, offsets, lows, highs, targets }: Dfa, state: number): boolean {
  const edges = ALL_CHARACTERS.map(([low, high], i) => {
    const at = offsets[state] + i;
    return lows[at] === low && highs[at] === high && targets[at] === state;
  });
  return (
    accepting[state] === 1 && offsets[state + 1] - offsets[state] === edges.length && !edges.includes(false)
  );
}

/** That the next character is one of `ranges`, or that there is none if the end counts. */
function* nextIs(ranges: readonly Range[], orEnd: boolean, budget: Budget): Slices<Assertion> {
  const nfa = new Nfa(budget);
  const start = nfa.state();
  const end = endless(nfa);
  nfa.edge(start, ranges, end);
  if (orEnd) nfa.link(start, end, "end");
  const found = yield* nfa.classify(start, end, "anywhere", true);
  return { begin: found, inside: found };
}

function* build(nfa: Nfa, ast: Ast, from: number, budget: Budget): Slices<number> {
  switch (ast.kind) {
    case "set": {
      const to = nfa.state();
      nfa.edge(from, ast.ranges, to);
      return to;
    }
    case "anchor": {
      const to = nfa.state();
      nfa.link(from, to, ast.place);
      return to;
    }
    case "look": {
      const to = nfa.state();
      nfa.assert(from, to, yield* lookahead(ast, budget));
      return to;
    }
    case "boundary": {
      const to = nfa.state();
      const word = yield* nextIs(WORD, false, budget);
      const other = yield* nextIs(NON_WORD, true, budget);
      if (ast.negative) nfa.assert(from, to, other, word);
      else nfa.assert(from, to, word, other);
      return to;
    }
    case "all": {
      let at = from;
      for (const part of ast.parts) at = yield* build(nfa, part, at, budget);
      return at;
    }
    case "any": {
      const to = nfa.state();
      for (const part of ast.parts) {
        const begin = nfa.state();
        nfa.link(from, begin);
        nfa.link(yield* build(nfa, part, begin, budget), to);
      }
      return to;
    }
    case "repeat": {
      let at = from;
      // A state of its own for each copy, so that copies of nothing count against the budget as well.
      function* copy(part: Ast): Slices<void> {
        const begin = nfa.state();
        nfa.link(at, begin);
        at = yield* build(nfa, part, begin, budget);
      }
      for (let i = 0; i < ast.min; i++) yield* copy(ast.part);
      if (ast.max === Number.POSITIVE_INFINITY) {
        const loop = nfa.state();
        nfa.link(at, loop);
        nfa.link(yield* build(nfa, ast.part, loop, budget), loop);
        const to = nfa.state();
        nfa.link(loop, to);
        return to;
      }
      const to = nfa.state();
      for (let i = ast.min; i < ast.max; i++) {
        nfa.link(at, to);
        yield* copy(ast.part);
      }
      nfa.link(at, to);
      return to;
    }
  }
}

function* automaton(ast: Ast, budget: Budget): Slices<Dfa | null> {
  const nfa = new Nfa(budget);
  const start = endless(nfa);
  const end = endless(nfa);
  const first = nfa.state();
  nfa.link(start, first);
  nfa.link(yield* build(nfa, ast, first, budget), end);
  return (yield* nfa.classify(start, end, "begin", true))?.dfa ?? null;
}

/**
 * The automaton, over code points, of the strings that `pattern` matches; null if it matches none.
 * @throws ConfigError with `budget.pointer` for what is not supported or too large
 */
export function patternDfa(pattern: string, budget: Budget): Slices<Dfa | null> {
  return automaton(parsePattern(pattern, budget), budget);
}

/** Strings of an automaton whose lengths are counted apart from it. */
export interface CountedDfa {
  readonly dfa: Dfa | null;
  readonly min: number;
  readonly max: number;
}

/** Repetitions up to here are states of the automaton. */
const FEW = 16;

/** The part of groups around groups. */
function unwrapped(ast: Ast): Ast {
  return ast.kind === "all" && ast.parts.length === 1 ? unwrapped(ast.parts[0]) : ast;
}

/**
 * As `patternDfa`; of patterns that are nothing but one character so and so many times (`^.{1,255}$`) the count is kept
 * apart, so that it costs no states. @throws ConfigError
 */
export function* countedPattern(pattern: string, budget: Budget): Slices<CountedDfa> {
  const ast = parsePattern(pattern, budget);
  const parts = ast.kind === "all" ? ast.parts.map(unwrapped) : [];
  const [first, middle, last] = parts;
  const whole =
    parts.length === 3 &&
    first.kind === "anchor" &&
    first.place === "begin" &&
    last.kind === "anchor" &&
    last.place === "end";
  if (whole && middle.kind === "repeat") {
    const part = unwrapped(middle.part);
    const { min, max } = middle;
    if (part.kind === "set" && (max === Number.POSITIVE_INFINITY ? min : max) > FEW) {
      const any: Ast = { ...middle, min: 0, max: Number.POSITIVE_INFINITY };
      return { dfa: yield* automaton({ kind: "all", parts: [first, any, last] }, budget), min, max };
    }
  }
  return { dfa: yield* automaton(ast, budget), min: 0, max: Number.POSITIVE_INFINITY };
}
