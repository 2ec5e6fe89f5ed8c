/**
 * Translates the regular expressions of `tokenizer.json` (Oniguruma syntax, as the Rust `tokenizers` library
 * compiles them) to JavaScript's. The two differ silently: `\s` (U+0085 and U+FEFF trade places), `\d` and `\w`
 * (Unicode in Oniguruma), `.`, identity escapes. `^` and `$` mean the ends of the piece, as the DeepSeek
 * tokenizers use them; Oniguruma would also stop at a line feed, which their first stage has split off before.
 * Of inline flags there is `(?i:..)` around letters, `|` and what has no case, as Llama 3 and Qwen write it.
 * Left out and refused by name: other inline flags, possessive quantifiers, atomic groups, back references, nested
 * and POSIX classes, `\b`.
 */
import { FormatError } from "../tensor/errors.ts";

/** The part of a file that most patterns stand in. */
const WHERE = "tokenizer.json pre_tokenizer";
const LAST = 0x10ffff;
const SPACE: readonly (readonly [number, number])[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0x85, 0x85],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
];

function literal(code: number): string {
  const char = String.fromCodePoint(code);
  return /[A-Za-z0-9]/.test(char) ? char : `\\u{${code.toString(16).toUpperCase()}}`;
}

/** A class of what equals a letter but for its case, by Unicode's simple folding (`s` equals the long s too). */
function anyCase(char: string): string {
  if (!/^[A-Za-z]$/.test(char)) return literal(char.codePointAt(0)!);
  const folded = new RegExp(`^${char}$`, "iu");
  // Code points beyond ASCII that fold to an ASCII letter: the long s and the sign of Kelvin.
  const others = ["\u017F", "\u212A"].filter((other) => folded.test(other));
  return `[${[char.toLowerCase(), char.toUpperCase(), ...others].map((c) => literal(c.codePointAt(0)!)).join("")}]`;
}

function ranges(list: readonly (readonly [number, number])[]): string {
  return list.map(([a, b]) => (a === b ? literal(a) : `${literal(a)}-${literal(b)}`)).join("");
}

function complement(list: readonly (readonly [number, number])[]): [number, number][] {
  const out: [number, number][] = [];
  let from = 0;
  for (const [a, b] of list) {
    if (a > from) out.push([from, a - 1]);
    from = b + 1;
  }
  if (from <= LAST) out.push([from, LAST]);
  return out;
}

/** Bodies of the shorthand classes, to be written between brackets. */
const SHORTHAND: Readonly<Record<string, string>> = {
  s: ranges(SPACE),
  S: ranges(complement(SPACE)),
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  h: "0-9A-Fa-f",
};
const CONTROL: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };

/** One atom of a pattern: a single code point, or the body of a character class. */
type Atom = { code: number } | { body: string };

/**
 * The JavaScript source (for the flags `gu`) of an Oniguruma pattern. @throws FormatError naming the construct
 * if the pattern is malformed or uses something that has no faithful translation.
 */
export function translateOniguruma(pattern: string, where = WHERE): string {
  const chars = Array.from(pattern);
  let at = 0;
  /** For each open group, whether case counts for nothing in it. */
  const caseless: boolean[] = [false];

  function refuse(what: string): never {
    throw new FormatError("regular expression not supported", {
      where,
      name: what,
      found: pattern,
      hint: `Rewrite the pattern without ${what}`,
    });
  }

  function property(negated: boolean): string {
    const close = chars.indexOf("}", at);
    if (chars[at] !== "{" || close < 0) refuse("\\p without braces");
    let name = chars.slice(at + 1, close).join("");
    at = close + 1;
    let negate = negated;
    if (name.startsWith("^")) {
      negate = !negate;
      name = name.slice(1);
    }
    const letter = negate ? "P" : "p";
    for (const body of [name, `Script=${name}`]) {
      try {
        new RegExp(`\\p{${body}}`, "u");
        return `\\${letter}{${body}}`;
      } catch {
        // Not a property of this spelling: the next one, or the refusal below.
      }
    }
    return refuse(`\\p{${name}}`);
  }

  function hexadecimal(digits: string): number {
    if (!/^[0-9A-Fa-f]+$/.test(digits)) refuse(`\\x${digits}`);
    const code = Number.parseInt(digits, 16);
    if (code > LAST) refuse(`\\x{${digits}}`);
    return code;
  }

  /** Reads the escape after a backslash. */
  function readEscape(): Atom {
    const char = chars[at++];
    if (char === undefined) refuse("a backslash at the end");
    if (char in CONTROL) return { code: CONTROL[char] };
    if (char in SHORTHAND) return { body: SHORTHAND[char] };
    if (char === "w") return { body: "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" };
    if (char === "p" || char === "P") return { body: property(char === "P") };
    if (char === "x" && chars[at] === "{") {
      const close = chars.indexOf("}", at);
      if (close < 0) refuse("\\x{ without }");
      const code = hexadecimal(chars.slice(at + 1, close).join(""));
      at = close + 1;
      return { code };
    }
    if (char === "x" || char === "u") {
      const width = char === "x" ? 2 : 4;
      const digits = chars.slice(at, at + width).join("");
      if (digits.length < width) refuse(`\\${char}${digits}`);
      at += width;
      return { code: hexadecimal(digits) };
    }
    if (/[A-Za-z0-9]/.test(char)) refuse(`\\${char}`);
    return { code: char.codePointAt(0)! };
  }

  function classAtom(): Atom {
    const char = chars[at++];
    if (char === undefined) refuse("[ without ]");
    if (char === "[") refuse(chars[at] === ":" ? "a POSIX class" : "a class inside a class");
    if (char === "&" && chars[at] === "&") refuse("&& in a class");
    if (char === "\\") return readEscape();
    return { code: char.codePointAt(0)! };
  }

  /** Reads a class after its opening bracket. */
  function characterClass(): string {
    let body = "";
    const negated = chars[at] === "^";
    if (negated) at++;
    for (let first = true; first || chars[at] !== "]"; first = false) {
      const from = classAtom();
      const isRange = chars[at] === "-" && chars[at + 1] !== undefined && chars[at + 1] !== "]";
      if ("body" in from || !isRange) {
        body += "body" in from ? from.body : literal(from.code);
        continue;
      }
      at++;
      const to = classAtom();
      if ("body" in to) refuse("a range that ends in a class");
      if (to.code < from.code) refuse(`the empty range U+${from.code.toString(16)}-${to.code.toString(16)}`);
      body += `${literal(from.code)}-${literal(to.code)}`;
    }
    at++;
    return `[${negated ? "^" : ""}${body}]`;
  }

  function group(): string {
    const inherited = caseless.at(-1)!;
    if (chars.slice(at, at + 3).join("") === "?i:") {
      at += 3;
      caseless.push(true);
      return "(?:";
    }
    caseless.push(inherited);
    if (chars[at] !== "?") return "(";
    const opening = /^\?(?::|=|!|<=|<!)/.exec(chars.slice(at, at + 3).join(""));
    if (!opening) refuse(`(${chars.slice(at, at + 2).join("")}`);
    at += opening[0].length;
    return `(${opening[0]}`;
  }

  function quantifier(): string {
    const rest = chars.slice(at, at + 16).join("");
    const found = /^(?:[*+?]|\{(\d*)(,?)(\d*)\})/.exec(rest);
    if (!found || (found[0].startsWith("{") && !found[1] && !found[3])) return "";
    at += found[0].length;
    if (chars[at] === "+") refuse(`the possessive quantifier ${found[0]}+`);
    let source = found[0].startsWith("{") && !found[1] ? `{0,${found[3]}}` : found[0];
    if (chars[at] === "?") {
      if (/^\{\d+\}$/.test(found[0])) refuse(`the quantifier ${found[0]}?`);
      source += "?";
      at++;
    }
    if (chars[at] === "*" || chars[at] === "+" || chars[at] === "?") refuse("a quantifier on a quantifier");
    return source;
  }

  let source = "";
  while (at < chars.length) {
    const char = chars[at++];
    if (char === "(") {
      source += group();
      continue;
    }
    if (char === "|" || char === "^" || char === "$") source += char;
    else if (char === ")") {
      if (caseless.length > 1) caseless.pop();
      source += ")";
    } else if (char === "[") {
      if (caseless.at(-1)) refuse("a class under (?i");
      source += characterClass();
    } else if (char === ".") source += "[^\\n]";
    else if (char === "\\") {
      const atom = readEscape();
      const folds = caseless.at(-1)!;
      if ("body" in atom) {
        if (folds && /\{L[^}]/.test(atom.body)) refuse("a class of one case under (?i");
        source += `[${atom.body}]`;
      } else source += folds ? anyCase(String.fromCodePoint(atom.code)) : literal(atom.code);
    } else if (char === "*" || char === "+" || char === "?") refuse(`the quantifier ${char} of nothing`);
    else if (!caseless.at(-1)) source += literal(char.codePointAt(0)!);
    else if (/[^\0-\x7F]/.test(char)) refuse("a letter beyond ASCII under (?i");
    else source += anyCase(char);
    source += quantifier();
  }
  return source;
}

/**
 * White space at the end of a text, a stage of DeepSeek LLM and V2. Its leftmost match begins where a run of white space
 * does; tried at every place within a run that other text follows, it would take time as the square of the run.
 */
const SPACE_AT_END = translateOniguruma("\\s+$");
const SPACE_BEFORE = `(?<![${SHORTHAND.s}])`;

/** A global `u` RegExp for an Oniguruma pattern (see translateOniguruma). */
export function compileOniguruma(pattern: string, where = WHERE): RegExp {
  let source = translateOniguruma(pattern, where);
  if (source === SPACE_AT_END) source = SPACE_BEFORE + source;
  try {
    return new RegExp(source, "gu");
  } catch (cause) {
    throw new FormatError("regular expression is malformed", {
      where,
      found: pattern,
      cause,
    });
  }
}
