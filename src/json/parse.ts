/**
 * A reader of JSON (RFC 8259) that keeps numbers as they were written and keys in their order. What JSON.parse takes is
 * taken, and nothing else: no byte-order mark, comments, NaN or trailing commas. As there, the last of equal keys wins
 * (in the first one's place) and lone surrogates stay. Depth, length and count of values are bounded.
 */
import { JsonNumber } from "./number.ts";
import type { JsonObject, JsonValue } from "./value.ts";

export interface JsonLimits {
  /** Most objects and arrays inside each other; default 512. */
  readonly maxDepth?: number;
  /** Most characters of the text; default 2^28. */
  readonly maxLength?: number;
  /** Most values, where an object counts as eight for the memory it takes; default 8,000,000. */
  readonly maxValues?: number;
  /** Most characters of a number; default 4300, the most digits that Python reads. */
  readonly maxNumberLength?: number;
  /** Keys of the outermost object that are wanted: the values of others are passed over, not made. */
  readonly only?: ReadonlySet<string>;
}

/** A text that is no JSON, or exceeds a limit; says where. */
export class JsonSyntaxError extends SyntaxError {
  override name = "JsonSyntaxError";
  /** Counted in UTF-16 units from 0. */
  readonly offset: number;
  /** Counted from 1. */
  readonly line: number;
  /** Counted in characters from 1. */
  readonly column: number;

  constructor(message: string, text: string, offset: number) {
    let line = 1;
    let begin = 0;
    for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", begin)) {
      line++;
      begin = at + 1;
    }
    let column = 1;
    for (let at = begin; at < offset; at++) {
      const unit = text.charCodeAt(at);
      if (unit < 0xdc00 || unit > 0xdfff) column++;
    }
    super(`${message} at line ${line}, column ${column}`);
    this.offset = offset;
    this.line = line;
    this.column = column;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Strings up to here are read character by character. */
const SHORT = 24;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

class Reader {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #maxNumberLength: number;
  readonly #only: ReadonlySet<string> | undefined;
  #values: number;
  #at = 0;
  /** The objects and arrays that are open, and the keys whose values are read in those that are objects. */
  readonly #open: (JsonValue[] | JsonObject)[] = [];
  readonly #keys: string[] = [];
  #begun = false;
  #result: JsonValue | undefined;

  constructor(text: string, limits: JsonLimits) {
    const { maxDepth = 512, maxLength = 2 ** 28, maxValues = 8_000_000, maxNumberLength = 4300 } = limits;
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#maxNumberLength = maxNumberLength;
    this.#only = limits.only;
    this.#values = maxValues;
    if (text.length > maxLength) this.#fail(`the text is longer than ${maxLength} characters`, maxLength);
  }

  read(): JsonValue {
    return this.advance(Number.POSITIVE_INFINITY) as JsonValue;
  }

  /** Reads at most `most` values more; undefined while there are others. */
  advance(most: number): JsonValue | undefined {
    const text = this.#text;
    if (!this.#begun) {
      this.#begun = true;
      if (text.charCodeAt(0) === 0xfeff) this.#fail("byte-order mark before the JSON");
    }
    for (let left = most; left > 0; left--) {
      if (!this.#place(this.#value())) continue;
      this.#space();
      if (this.#at < text.length) this.#fail(`${this.#found()} after the end of the JSON value`);
      return this.#result;
    }
    return undefined;
  }

  #fail(message: string, offset = this.#at): never {
    throw new JsonSyntaxError(message, this.#text, offset);
  }

  /** What stands at the present place, for messages. */
  #found(): string {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) return "the text ends";
    return code < 0x20 ? `a control character (${code})` : `'${String.fromCodePoint(code)}'`;
  }

  #expected(what: string): never {
    this.#fail(
      this.#at >= this.#text.length
        ? `the text ends where ${what} is expected`
        : `${this.#found()} where ${what} is expected`,
    );
  }

  #count(values: number): void {
    this.#values -= values;
    if (this.#values < 0) this.#fail("too many values");
  }

  /** Passes white space; the code of what follows, NaN at the end. */
  #space(): number {
    const text = this.#text;
    for (;;) {
      const code = text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.#at++;
    }
  }

  /** The next value; undefined for an object or array that was opened and holds something. */
  #value(): JsonValue | undefined {
    this.#count(1);
    switch (this.#space()) {
      case QUOTE:
        return this.#string();
      case 0x7b:
        return this.#openObject();
      case 0x5b:
        return this.#openArray();
      case 0x74:
        return this.#word("true", true);
      case 0x66:
        return this.#word("false", false);
      case 0x6e:
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  /** Puts a value where it belongs and goes to where the next one begins; true where it was the whole. */
  #place(made: JsonValue | undefined): boolean {
    if (made === undefined) return false;
    let value = made;
    for (;;) {
      const depth = this.#open.length;
      if (depth === 0) {
        this.#result = value;
        return true;
      }
      const top = this.#open[depth - 1];
      if (Array.isArray(top)) {
        top.push(value);
        const code = this.#space();
        if (code !== 0x2c && code !== 0x5d) this.#expected("',' or ']'");
        this.#at++;
        if (code === 0x2c) return false;
      } else {
        top.set(this.#keys[depth - 1], value);
        if (this.#another() && this.#entry()) return false;
      }
      value = this.#open.pop() as JsonValue;
    }
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) this.#expected("a value");
    this.#at += word.length;
    return value;
  }

  #number(): JsonNumber {
    const text = this.#text;
    const from = this.#at;
    const first = text.charCodeAt(from) === 0x2d ? from + 1 : from;
    let to = first;
    let code = text.charCodeAt(to);
    while (code >= 0x30 && code <= 0x39) code = text.charCodeAt(++to);
    const whole = to > first && (to === first + 1 || text.charCodeAt(first) !== 0x30);
    if (!whole || code === 0x2e || code === 0x45 || code === 0x65) return this.#uncommonNumber();
    if (to - from > this.#maxNumberLength) this.#tooManyDigits();
    this.#at = to;
    return new JsonNumber(text.slice(from, to), true);
  }

  #tooManyDigits(): never {
    this.#fail(`a number of more than ${this.#maxNumberLength} characters`);
  }

  /** A number with a point or an exponent, or none. */
  #uncommonNumber(): JsonNumber {
    NUMBER.lastIndex = this.#at;
    const text = NUMBER.exec(this.#text)?.[0];
    if (text === undefined) this.#expected("a value");
    if (text.length > this.#maxNumberLength) this.#tooManyDigits();
    try {
      const value = new JsonNumber(text);
      this.#at += text.length;
      return value;
    } catch {
      this.#fail("a number whose exponent has more than nine digits");
    }
  }

  #enter(): void {
    if (this.#open.length >= this.#maxDepth) this.#fail(`nested deeper than ${this.#maxDepth} levels`);
    this.#at++;
  }

  #openArray(): JsonValue[] | undefined {
    this.#enter();
    if (this.#space() === 0x5d) {
      this.#at++;
      return [];
    }
    this.#open.push([]);
    return undefined;
  }

  #openObject(): JsonObject | undefined {
    this.#count(8);
    this.#enter();
    const made: JsonObject = new Map();
    const code = this.#space();
    if (code === 0x7d) {
      this.#at++;
      return made;
    }
    if (code !== QUOTE) this.#expected("'\"' or '}'");
    this.#open.push(made);
    if (this.#entry()) return undefined;
    return this.#open.pop() as JsonObject;
  }

  /** Reads keys up to the value of one that is wanted; false where the object ends before. */
  #entry(): boolean {
    const depth = this.#open.length;
    do {
      const key = this.#string();
      if (this.#space() !== 0x3a) this.#expected("':'");
      this.#at++;
      if (depth > 1 || this.#only === undefined || this.#only.has(key)) {
        this.#keys[depth - 1] = key;
        return true;
      }
      this.#skip();
    } while (this.#another());
    return false;
  }

  /** Goes on behind a value of an object, to the next key; false where the object ends. */
  #another(): boolean {
    const code = this.#space();
    if (code !== 0x2c && code !== 0x7d) this.#expected("',' or '}'");
    this.#at++;
    if (code === 0x7d) return false;
    if (this.#space() !== QUOTE) this.#expected("'\"'");
    return true;
  }

  #string(): string {
    const text = this.#text;
    const from = this.#at + 1;
    for (let at = from; at < from + SHORT; at++) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.#at = at + 1;
        return text.slice(from, at);
      }
      if (code === BACKSLASH || !(code >= 0x20)) break;
    }
    return this.#longString();
  }

  /** A string that is long or has escapes: the runtime's own reader is the fastest, and copies it out of the text. */
  #longString(): string {
    const text = this.#text;
    const open = this.#at;
    for (let close = text.indexOf('"', open + 1); close >= 0; close = text.indexOf('"', close + 1)) {
      let before = close;
      while (text.charCodeAt(before - 1) === BACKSLASH) before--;
      if ((close - before) % 2 === 1) continue;
      try {
        const value = JSON.parse(text.slice(open, close + 1)) as string;
        this.#at = close + 1;
        return value;
      } catch {
        break;
      }
    }
    this.#failInString();
  }

  /** Finds what is wrong with the string at the present place. */
  #failInString(): never {
    const text = this.#text;
    for (this.#at++; this.#at < text.length; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code < 0x20) this.#fail(`a control character (${code}) inside a string; write it as an escape`);
      if (code !== BACKSLASH) continue;
      const letter = text[this.#at + 1] ?? "";
      if (letter === "u" && !/^[0-9a-fA-F]{4}$/.test(text.slice(this.#at + 2, this.#at + 6))) {
        this.#fail("\\u without four hexadecimal digits");
      }
      if (letter === "" || !'"\\/bfnrtu'.includes(letter)) this.#fail("an unknown escape in a string");
      this.#at++;
    }
    this.#fail("the text ends inside a string");
  }

  /** Passes a value that is not wanted: brackets are matched, what is between them is not looked at. */
  #skip(): void {
    const opened = this.#space();
    if (opened !== 0x7b && opened !== 0x5b) {
      this.#value();
      return;
    }
    const closers: number[] = [];
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code === QUOTE) {
        this.#string();
        continue;
      }
      if (Number.isNaN(code)) this.#fail("the text ends inside an object or array");
      if (code === 0x7b || code === 0x5b) {
        closers.push(code + 2);
        if (closers.length >= this.#maxDepth) this.#fail(`nested deeper than ${this.#maxDepth} levels`);
      } else if (code === 0x7d || code === 0x5d) {
        if (closers.pop() !== code) this.#expected("another bracket");
      }
      this.#at++;
      if (closers.length === 0) return;
    }
  }
}

/**
 * The value of a JSON text. With `only`, values that are passed over are not checked beyond their brackets and strings.
 * @throws JsonSyntaxError with line and column if the text is no JSON or exceeds a limit
 */
export function parseJson(text: string, limits: JsonLimits = {}): JsonValue {
  return new Reader(text, limits).read();
}

/** Values between two pauses: well under a millisecond of work. */
const VALUES_PER_SLICE = 2000;

/** The same with pauses, so that the caller can do other work in between. @throws JsonSyntaxError */
export function* parseJsonSlices(text: string, limits: JsonLimits = {}): Generator<void, JsonValue, void> {
  const reader = new Reader(text, limits);
  for (;;) {
    const value = reader.advance(VALUES_PER_SLICE);
    if (value !== undefined) return value;
    yield;
  }
}
