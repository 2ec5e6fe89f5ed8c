/**
 * Reads regular expressions of JSON Schema's `pattern` (ECMA-262 with the flag u): literals, escapes, `.`, classes,
 * Unicode properties, groups, alternation, quantifiers, `^`, `$`, lookaheads, word boundaries. Refused by name, since no
 * automaton stands for them or none of bounded size: lookbehind, back references, lone surrogates. Lazy quantifiers
 * match the same strings and are taken as greedy ones.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { Budget } from "./automaton.ts";
import { type Range, WORD } from "./nfa.ts";
import { complement, propertyRanges } from "./unicode.ts";

export type Ast =
  | { readonly kind: "set"; readonly ranges: readonly Range[] }
  | { readonly kind: "all"; readonly parts: readonly Ast[] }
  | { readonly kind: "any"; readonly parts: readonly Ast[] }
  | { readonly kind: "anchor"; readonly place: "begin" | "end" }
  /** What follows must match, or must not. */
  | { readonly kind: "look"; readonly negative: boolean; readonly part: Ast }
  /** A word begins or ends here, or does not. */
  | { readonly kind: "boundary"; readonly negative: boolean }
  | { readonly kind: "repeat"; readonly part: Ast; readonly min: number; readonly max: number };

const LONGEST = 4096;
const DEEPEST = 64;

const DIGITS: readonly Range[] = [[0x30, 0x39]];
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

/** The only character of ranges; null if they have others. */
const single = (ranges: readonly Range[]) =>
  ranges.length === 1 && ranges[0][0] === ranges[0][1] ? ranges[0][0] : null;

class Parser {
  readonly #chars: readonly string[];
  readonly #source: string;
  readonly #budget: Budget;
  #at = 0;
  #looking = 0;

  constructor(source: string, budget: Budget) {
    this.#chars = [...source.slice(0, 2 * LONGEST)];
    this.#source = source;
    this.#budget = budget;
  }

  parse(): Ast {
    if (this.#chars.length > LONGEST) this.#refuse(`more than ${LONGEST} characters`);
    const ast = this.#choice(0);
    if (this.#at < this.#chars.length) this.#refuse("a closing parenthesis without an opening one");
    return ast;
  }

  #refuse(what: string): never {
    throw new ConfigError(`${what} in a pattern is not supported`, {
      where: "constraint",
      name: this.#budget.pointer,
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
    if (!/^[*+?{]$/.test(this.#chars[this.#at] ?? "")) return part;
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
    if (part.kind === "look") this.#refuse("a quantifier after a lookahead");
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
      case "\\": {
        const letter = this.#chars[this.#at];
        if (letter !== "b" && letter !== "B") return { kind: "set", ranges: this.#escape(false) };
        this.#at++;
        if (this.#looking > 0) this.#refuse(`the word boundary \\${letter} inside a lookahead`);
        return { kind: "boundary", negative: letter === "B" };
      }
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
    const look = ahead.startsWith("?=") || ahead.startsWith("?!");
    if (look || ahead.startsWith("?:")) this.#at += 2;
    else if (/^\?<[^=!]/.test(ahead)) {
      const close = this.#chars.indexOf(">", this.#at);
      if (close < 0) this.#refuse("a group name without an end");
      this.#at = close + 1;
    } else if (ahead.startsWith("?")) {
      this.#refuse(`${ahead.startsWith("?<") ? "the lookbehind" : "the group"} (${ahead}`);
    }
    if (look) this.#looking++;
    const part = this.#choice(depth + 1);
    if (look) this.#looking--;
    if (this.#chars[this.#at++] !== ")") this.#refuse("an opening parenthesis without a closing one");
    return look ? { kind: "look", negative: ahead[1] === "!", part } : part;
  }

  /** The characters of \p{..}, or \P{..}. */
  #property(negated: boolean): readonly Range[] {
    const close = this.#chars.indexOf("}", this.#at);
    const name = this.#chars.slice(this.#at + 1, Math.max(close, this.#at + 1)).join("");
    const letter = negated ? "P" : "p";
    if (this.#chars[this.#at] !== "{" || close < 0) this.#refuse(`the escape \\${letter} without {..}`);
    const ranges = propertyRanges(name);
    if (ranges === null) this.#refuse(`the unknown property \\${letter}{${name.slice(0, 40)}}`);
    this.#budget.spend(100 + ranges.length);
    this.#at = close + 1;
    return negated ? complement(ranges) : ranges;
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
    if (char === "p" || char === "P") return this.#property(char === "P");
    let code: number | undefined;
    if (char === "u") code = this.#unicode();
    else if (char === "x") code = this.#hex(2);
    else if (char === "b" && inClass) code = 8;
    else if (char === "c" && /^[A-Za-z]$/.test(this.#chars[this.#at] ?? "")) {
      code = this.#chars[this.#at++].charCodeAt(0) & 31;
    } else if (char === "0" && /\d/.test(this.#chars[this.#at] ?? "")) this.#refuse("an octal escape");
    else if (Object.hasOwn(CONTROLS, char)) code = CONTROLS[char];
    if (code !== undefined) return [[code, code]];
    if (/[A-Za-z0-9]/.test(char)) {
      const what = /\d|k/.test(char) ? "the back reference" : "the escape";
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
      ranges.push(...first);
      if (this.#chars[this.#at] !== "-") continue;
      const next = this.#chars[this.#at + 1];
      if (next === "]" || next === undefined) continue;
      this.#at += 2;
      const last = next === "\\" ? this.#escape(true) : this.#literal(next);
      const [low, high] = [single(first), single(last)];
      if (low === null || high === null) {
        // Beside a class like \w a hyphen is one.
        ranges.push([0x2d, 0x2d], ...last);
        continue;
      }
      if (high < low) this.#refuse("a range whose end comes before its beginning");
      ranges.push([low, high]);
    }
    if (negated) return complement(ranges);
    // A range may run across the surrogates, which no string holds.
    return complement(complement(ranges));
  }
}

/** The tree of a pattern. @throws ConfigError with `budget.pointer` for what is not supported */
export function parsePattern(pattern: string, budget: Budget): Ast {
  return new Parser(pattern, budget).parse();
}
