/**
 * Cuts a template into text and tokens, as jinja2's lexer does with `trim_blocks` and `lstrip_blocks`: a line break
 * behind a block is dropped, white space between a line's beginning and a block too, `-` strips all white space on its
 * side, `+` keeps it. Line ends become `\n`, and one at the very end is dropped.
 */
import { SPACE, stripBounds } from "./chars.ts";
import { TemplateError } from "./errors.ts";
import { codeEscape } from "./print.ts";

export type TokenType =
  | "data"
  | "block_begin"
  | "block_end"
  | "variable_begin"
  | "variable_end"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "operator"
  | "eof";

export interface Token {
  readonly type: TokenType;
  /** Text, name, operator; the value of a string; the digits of a number. */
  readonly text: string;
  readonly line: number;
}

const OPENING = /\{[{%#]([-+]?)/g;
const RAW = new RegExp(`\\{%[-+]?[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})`, "y");
const END_RAW = new RegExp(
  `\\{%([-+]?)[${SPACE}]*endraw[${SPACE}]*(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`,
  "g",
);
const END_COMMENT = new RegExp(`\\+#\\}|-#\\}[${SPACE}]*|#\\}\\n?`, "g");
const END_BLOCK = new RegExp(`\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?`, "y");
const END_VARIABLE = new RegExp(`-\\}\\}[${SPACE}]*|\\}\\}`, "y");
const BLANK = new RegExp(`[${SPACE}]+`, "y");
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{XID_Continue}_]+/uy;
const STRING = /'[^'\\]*(?:\\[\s\S][^'\\]*)*'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const ALL_BLANK = new RegExp(`^[${SPACE}]+$`);

const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

/** The tokens of a template. @throws TemplateError */
export function tokenize(template: string): Token[] {
  return new Lexer(normalized(template)).run();
}

function normalized(template: string): string {
  const text = template.replace(/\r\n?/g, "\n");
  return text.endsWith("\n") ? text.slice(0, -1) : text;
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Whether what was read last ends a line. */
  #lineStart = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    const source = this.#source;
    while (this.#at < source.length) {
      OPENING.lastIndex = this.#at;
      const found = OPENING.exec(source);
      if (found === null) {
        this.#data(this.#at, source.length, "", false);
        break;
      }
      const kind = source[found.index + 1];
      this.#data(this.#at, found.index, found[1], kind !== "{");
      const raw = kind === "%" ? match(RAW, source, found.index) : null;
      this.#take(raw ?? found[0]);
      if (raw !== null) this.#raw();
      else if (kind === "#") this.#comment();
      else if (kind === "%") this.#tag("block_begin", "block_end", END_BLOCK);
      else this.#tag("variable_begin", "variable_end", END_VARIABLE);
    }
    this.#add("eof", "");
    return this.#tokens;
  }

  #fail(message: string): never {
    throw new TemplateError("syntax", message, this.#line);
  }

  #add(type: TokenType, text: string): void {
    this.#tokens.push({ type, text, line: this.#line });
  }

  /** Goes past `text`. */
  #take(text: string): void {
    this.#at += text.length;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#line++;
    this.#lineStart = text.endsWith("\n");
  }

  /** Text up to a tag with the sign `sign`; `strips` if white space before the tag on its line is dropped. */
  #data(from: number, to: number, sign: string, strips: boolean): void {
    const text = this.#source.slice(from, to);
    let kept = text;
    if (sign === "-") kept = text.slice(...stripBounds(text, false, true));
    else if (sign === "" && strips) {
      const begin = text.lastIndexOf("\n") + 1;
      if ((begin > 0 || this.#lineStart) && ALL_BLANK.test(text.slice(begin))) kept = text.slice(0, begin);
    }
    if (kept !== "") this.#add("data", kept);
    this.#take(text);
  }

  #comment(): void {
    // What opens at the very end is forgiven.
    if (this.#at === this.#source.length) return;
    END_COMMENT.lastIndex = this.#at;
    const end = END_COMMENT.exec(this.#source);
    if (end === null) this.#fail("Missing end of comment tag");
    this.#take(this.#source.slice(this.#at, end.index + end[0].length));
  }

  #raw(): void {
    if (this.#at === this.#source.length) return;
    END_RAW.lastIndex = this.#at;
    const end = END_RAW.exec(this.#source);
    if (end === null) this.#fail("Missing end of raw directive");
    this.#data(this.#at, end.index, end[1], true);
    this.#take(end[0]);
  }

  #tag(begin: TokenType, end: TokenType, pattern: RegExp): void {
    this.#add(begin, "");
    const source = this.#source;
    const open: string[] = [];
    while (this.#at < source.length) {
      const at = this.#at;
      const closing = open.length === 0 ? match(pattern, source, at) : null;
      if (closing !== null) {
        this.#add(end, "");
        this.#take(closing);
        return;
      }
      const blank = match(BLANK, source, at);
      if (blank !== null) {
        this.#take(blank);
        continue;
      }
      const number = match(FLOAT, source, at) ?? match(INTEGER, source, at);
      if (number !== null) {
        this.#add(match(FLOAT, source, at) === null ? "integer" : "float", number.replaceAll("_", ""));
        this.#take(number);
        continue;
      }
      const name = match(NAME, source, at);
      if (name !== null) {
        if (!/^[\p{XID_Start}_]/u.test(name)) this.#fail("Invalid character in identifier");
        if (name.normalize("NFKC") !== name) {
          throw new TemplateError("unsupported", `the name '${name}' is not supported`, this.#line);
        }
        this.#add("name", name);
        this.#take(name);
        continue;
      }
      const string = match(STRING, source, at);
      if (string !== null) {
        this.#add("string", this.#unescape(string.slice(1, -1)));
        this.#take(string);
        continue;
      }
      const operator = match(OPERATOR, source, at);
      if (operator === null)
        this.#fail(`unexpected char '${String.fromCodePoint(source.codePointAt(at) as number)}'`);
      if (operator in CLOSING) open.push(CLOSING[operator]);
      else if (operator === ")" || operator === "]" || operator === "}") {
        const expected = open.pop();
        if (expected === undefined) this.#fail(`unexpected '${operator}'`);
        if (expected !== operator) this.#fail(`unexpected '${operator}', expected '${expected}'`);
      }
      this.#add("operator", operator);
      this.#take(operator);
    }
  }

  /** The value of a string, whose escapes are those of Python's strings. */
  #unescape(text: string): string {
    if (!text.includes("\\")) return text;
    const pattern = /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/gu;
    return text.replace(pattern, (whole, octal, hex, four, eight, char: string) => {
      const digits = octal ?? hex ?? four ?? eight;
      if (digits !== undefined) {
        const code = Number.parseInt(digits, octal === undefined ? 16 : 8);
        if (code > 0x10ffff) this.#fail("illegal Unicode character");
        if (code >= 0xd800 && code < 0xe000) {
          throw new TemplateError(
            "unsupported",
            "half of a surrogate pair in a string is not supported",
            this.#line,
          );
        }
        return String.fromCodePoint(code);
      }
      if (char in SIMPLE) return SIMPLE[char];
      if ("xuU".includes(char)) this.#fail(`truncated \\${char} escape`);
      if (char === "N")
        throw new TemplateError("unsupported", "\\N{..} in a string is not supported", this.#line);
      // Python escapes what is not ASCII first, and so reads the backslash twice.
      return char > "\x7f" ? codeEscape(char) : whole;
    });
  }
}

const SIMPLE: Readonly<Record<string, string>> = {
  "\n": "", "\\": "\\", "'": "'", '"': '"', a: "\x07", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v",
}; // biome-ignore format: a table

function match(pattern: RegExp, source: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0] ?? null;
}
