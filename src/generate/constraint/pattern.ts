/**
 * Regular expressions of JSON Schema's `pattern` (ECMA-262) as automata over code points: literals, escapes, `.`,
 * classes, groups, alternation, quantifiers, `^` and `$`. As in the standard a pattern may match anywhere unless it is
 * anchored. Refused by name, since no small automaton stands for them: lookaround, back references, word boundaries,
 * `\p{...}`, `\c`, lone surrogates. Lazy quantifiers match the same strings and are taken as greedy ones.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { type Budget, type Dfa, Nfa } from "./automaton.ts";

export type Range = readonly [low: number, high: number];

type Ast =
  | { readonly kind: "set"; readonly ranges: readonly Range[] }
  | { readonly kind: "all"; readonly parts: readonly Ast[] }
  | { readonly kind: "any"; readonly parts: readonly Ast[] }
  | { readonly kind: "anchor"; readonly place: "begin" | "end" }
  | { readonly kind: "repeat"; readonly part: Ast; readonly min: number; readonly max: number };

/** Every code point that UTF-8 can write. */
export const ALL_CHARACTERS: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];
const LONGEST = 4096;
const DEEPEST = 64;

const DIGITS: readonly Range[] = [[0x30, 0x39]];
const WORD: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACES: readonly Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const NAMED: Readonly<Record<string, readonly Range[]>> = {
  d: DIGITS,
  w: WORD,
  s: SPACES,
  D: complement(DIGITS),
  W: complement(WORD),
  S: complement(SPACES),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };

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

class Parser {
  readonly #chars: readonly string[];
  readonly #source: string;
  readonly #pointer: string;
  #at = 0;

  constructor(source: string, pointer: string) {
    this.#chars = [...source];
    this.#source = source;
    this.#pointer = pointer;
  }

  parse(): Ast {
    if (this.#chars.length > LONGEST) this.#refuse(`a pattern of ${this.#chars.length} characters`);
    const ast = this.#choice(0);
    if (this.#at < this.#chars.length) this.#refuse("a closing parenthesis without an opening one");
    return ast;
  }

  #refuse(what: string): never {
    throw new ConfigError(`${what} in a pattern is not supported`, {
      where: "constraint",
      name: this.#pointer,
      found: this.#source.slice(0, 200),
    });
  }

  #choice(depth: number): Ast {
    if (depth > DEEPEST) this.#refuse(`nesting deeper than ${DEEPEST}`);
    const parts = [this.#sequence(depth)];
    while (this.#chars[this.#at] === "|") {
      this.#at++;
      parts.push(this.#sequence(depth));
    }
    return parts.length === 1 ? parts[0] : { kind: "any", parts };
  }

  #sequence(depth: number): Ast {
    const parts: Ast[] = [];
    while (this.#at < this.#chars.length && this.#chars[this.#at] !== "|" && this.#chars[this.#at] !== ")") {
      parts.push(this.#quantified(this.#atom(depth)));
    }
    return { kind: "all", parts };
  }

  #quantified(part: Ast): Ast {
    const rest = this.#chars.slice(this.#at, this.#at + 24).join("");
    const braces = /^\{(\d{1,7})(,(\d{1,7})?)?\}/.exec(rest);
    let min: number;
    let max: number;
    if (braces) {
      min = Number(braces[1]);
      max =
        braces[2] === undefined
          ? min
          : braces[3] === undefined
            ? Number.POSITIVE_INFINITY
            : Number(braces[3]);
      this.#at += braces[0].length;
    } else if (rest[0] === "*" || rest[0] === "+" || rest[0] === "?") {
      min = rest[0] === "+" ? 1 : 0;
      max = rest[0] === "?" ? 1 : Number.POSITIVE_INFINITY;
      this.#at++;
    } else return part;
    if (max < min) this.#refuse(`a quantifier from ${min} to ${max}`);
    if (this.#chars[this.#at] === "?") this.#at++;
    if (/^([*+?]|\{\d+(,\d*)?\})/.test(this.#chars.slice(this.#at, this.#at + 24).join(""))) {
      this.#refuse("a quantifier after a quantifier");
    }
    return { kind: "repeat", part, min, max };
  }

  #atom(depth: number): Ast {
    const char = this.#chars[this.#at++];
    switch (char) {
      case "(":
        return this.#group(depth);
      case "[":
        return { kind: "set", ranges: this.#class() };
      case ".":
        return { kind: "set", ranges: complement(LINE_ENDS) };
      case "^":
        return { kind: "anchor", place: "begin" };
      case "$":
        return { kind: "anchor", place: "end" };
      case "\\":
        return { kind: "set", ranges: this.#escape(false) };
      case "*":
      case "+":
      case "?":
        return this.#refuse(`the quantifier ${char} without anything before it`);
      default:
        return { kind: "set", ranges: this.#literal(char) };
    }
  }

  #literal(char: string): Range[] {
    const code = char.codePointAt(0)!;
    if (code >= 0xd800 && code <= 0xdfff) this.#refuse("a lone surrogate");
    return [[code, code]];
  }

  #group(depth: number): Ast {
    const ahead = this.#chars.slice(this.#at, this.#at + 3).join("");
    if (ahead.startsWith("?:")) this.#at += 2;
    else if (/^\?<[^=!]/.test(ahead)) {
      const close = this.#chars.indexOf(">", this.#at);
      if (close < 0) this.#refuse("a group name without an end");
      this.#at = close + 1;
    } else if (ahead.startsWith("?")) this.#refuse(`the group (${ahead}`);
    const inner = this.#choice(depth + 1);
    if (this.#chars[this.#at++] !== ")") this.#refuse("an opening parenthesis without a closing one");
    return inner;
  }

  #hex(digits: number): number {
    const text = this.#chars.slice(this.#at, this.#at + digits).join("");
    if (!new RegExp(`^[0-9a-fA-F]{${digits}}$`).test(text)) this.#refuse("a malformed \\u or \\x escape");
    this.#at += digits;
    return Number.parseInt(text, 16);
  }

  #unicode(): number {
    if (this.#chars[this.#at] === "{") {
      const close = this.#chars.indexOf("}", this.#at);
      const text = this.#chars.slice(this.#at + 1, Math.max(close, this.#at + 1)).join("");
      const code = /^[0-9a-fA-F]{1,6}$/.test(text) ? Number.parseInt(text, 16) : 0x110000;
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) this.#refuse("a malformed \\u escape");
      this.#at = close + 1;
      return code;
    }
    const code = this.#hex(4);
    if (code < 0xd800 || code > 0xdfff) return code;
    if (code > 0xdbff || this.#chars[this.#at] !== "\\" || this.#chars[this.#at + 1] !== "u") {
      this.#refuse("a lone surrogate");
    }
    this.#at += 2;
    const low = this.#hex(4);
    if (low < 0xdc00 || low > 0xdfff) this.#refuse("a lone surrogate");
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }

  #escape(inClass: boolean): readonly Range[] {
    const char = this.#chars[this.#at++];
    if (char === undefined) this.#refuse("a backslash at the end");
    const named = Object.hasOwn(NAMED, char) ? NAMED[char] : undefined;
    if (named) return named;
    let code: number | undefined;
    if (char === "u") code = this.#unicode();
    else if (char === "x") code = this.#hex(2);
    else if (char === "b" && inClass) code = 8;
    else if (char === "0" && /\d/.test(this.#chars[this.#at] ?? "")) this.#refuse("an octal escape");
    else if (Object.hasOwn(CONTROLS, char)) code = CONTROLS[char];
    if (code !== undefined) return [[code, code]];
    if (/[A-Za-z0-9]/.test(char)) {
      const what = /\d|k/.test(char)
        ? "the back reference"
        : /b/i.test(char)
          ? "the word boundary"
          : "the escape";
      this.#refuse(`${what} \\${char}`);
    }
    return this.#literal(char);
  }

  #class(): Range[] {
    const negated = this.#chars[this.#at] === "^";
    if (negated) this.#at++;
    const ranges: Range[] = [];
    for (;;) {
      const char = this.#chars[this.#at++];
      if (char === undefined) this.#refuse("a class without an end");
      if (char === "]") break;
      const first = char === "\\" ? this.#escape(true) : this.#literal(char);
      const dash = this.#chars[this.#at] === "-" && this.#chars[this.#at + 1] !== "]";
      const single = first.length === 1 && first[0][0] === first[0][1];
      if (!dash || this.#chars[this.#at + 1] === undefined) {
        ranges.push(...first);
        continue;
      }
      this.#at++;
      const next = this.#chars[this.#at++];
      const last = next === "\\" ? this.#escape(true) : this.#literal(next);
      if (!single || last.length !== 1 || last[0][0] !== last[0][1]) this.#refuse("a range between classes");
      if (last[0][0] < first[0][0]) this.#refuse("a range whose end comes before its beginning");
      ranges.push([first[0][0], last[0][0]]);
    }
    if (negated) return complement(ranges);
    // A range may run across the surrogates, which no string holds.
    return complement(complement(ranges));
  }
}

function build(nfa: Nfa, ast: Ast, from: number): number {
  switch (ast.kind) {
    case "set": {
      const to = nfa.state();
      for (const [low, high] of ast.ranges) nfa.edge(from, low, high, to);
      return to;
    }
    case "anchor": {
      const to = nfa.state();
      nfa.link(from, to, ast.place);
      return to;
    }
    case "all":
      return ast.parts.reduce((at, part) => build(nfa, part, at), from);
    case "any": {
      const to = nfa.state();
      for (const part of ast.parts) {
        const begin = nfa.state();
        nfa.link(from, begin);
        nfa.link(build(nfa, part, begin), to);
      }
      return to;
    }
    case "repeat": {
      let at = from;
      // A state of its own for each copy, so that copies of nothing count against the budget as well.
      const copy = () => {
        const begin = nfa.state();
        nfa.link(at, begin);
        at = build(nfa, ast.part, begin);
      };
      for (let i = 0; i < ast.min; i++) copy();
      if (ast.max === Number.POSITIVE_INFINITY) {
        const loop = nfa.state();
        nfa.link(at, loop);
        nfa.link(build(nfa, ast.part, loop), loop);
        const to = nfa.state();
        nfa.link(loop, to);
        return to;
      }
      const to = nfa.state();
      for (let i = ast.min; i < ast.max; i++) {
        nfa.link(at, to);
        copy();
      }
      nfa.link(at, to);
      return to;
    }
  }
}

/**
 * The automaton, over code points, of the strings that `pattern` matches; null where it matches none.
 * @throws ConfigError with `budget.pointer` for what is not supported or too large
 */
export function patternDfa(pattern: string, budget: Budget): Dfa | null {
  const ast = new Parser(pattern, budget.pointer).parse();
  const nfa = new Nfa(budget);
  const start = nfa.state();
  const end = nfa.state();
  for (const state of [start, end]) {
    for (const [low, high] of ALL_CHARACTERS) nfa.edge(state, low, high, state);
  }
  const first = nfa.state();
  nfa.link(start, first);
  nfa.link(build(nfa, ast, first), end);
  return nfa.determinise(start, end);
}
