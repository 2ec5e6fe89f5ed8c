/**
 * Strings of a template, each of whose characters knows whether the template wrote it or the data (messages, tools,
 * variables) brought it. Whatever cuts and joins strings keeps that, so that a control token in the rendered text is
 * one only if the template wrote all of it. Lengths and indices are those of Python: in code points.
 */

import { unsupported } from "./errors.ts";

/** Written by the template, or by this engine on its behalf. */
export const TEMPLATE = 0;
/** Brought by the data. */
export const DATA = 1;
/** One origin for all characters, or one digit (`0`, `1`) for each UTF-16 unit. */
export type Origin = typeof TEMPLATE | typeof DATA | string;

/** Most stretches of one origin in a text that is changed. */
const MOST_STRETCHES = 100_000;

/** How an operation changes characters, not their origin. */
type Change = (text: string) => string;

const SURROGATE = /[\ud800-\udfff]/;

export class Str {
  readonly text: string;
  readonly origin: Origin;
  /** Whether it is `Markup`: marked safe, so that what is joined to it is escaped. */
  readonly safe: boolean;
  /** Null if every character is one UTF-16 unit; undefined until it is needed. */
  #places: Places | null | undefined;

  /** @param narrow whether every character is known to be one UTF-16 unit */
  constructor(text: string, origin: Origin = TEMPLATE, safe = false, narrow = false) {
    this.text = text;
    this.origin = origin;
    this.safe = safe;
    if (narrow) this.#places = null;
  }

  #find(): Places | null {
    if (this.#places === undefined) this.#places = SURROGATE.test(this.text) ? new Places(this.text) : null;
    return this.#places;
  }

  /** Whether lengths and indices are known, or have yet to be counted. */
  get measured(): boolean {
    return this.#places !== undefined;
  }

  /** Whether it is known that every character is one UTF-16 unit. */
  get narrow(): boolean {
    return this.#places === null;
  }

  /** Whether it holds characters of two UTF-16 units (or halves of one). */
  get wide(): boolean {
    return this.#find() !== null;
  }

  /** Code points. */
  get length(): number {
    return this.#find()?.length ?? this.text.length;
  }

  /** A part, in UTF-16 units. */
  slice(from: number, to = this.text.length): Str {
    if (from <= 0 && to >= this.text.length) return this;
    const { origin } = this;
    return new Str(
      this.text.slice(from, to),
      typeof origin === "string" ? origin.slice(from, to) : origin,
      this.safe,
      this.narrow,
    );
  }

  /** The UTF-16 unit at which code point number `point` begins; the text's length beyond its end. */
  unit(point: number): number {
    return this.#find()?.unit(point) ?? Math.min(point, this.text.length);
  }

  /** The number of code points before UTF-16 unit `unit`. */
  pointAt(unit: number): number {
    return this.#find()?.point(unit) ?? unit;
  }

  /** Its characters one by one, none of them marked safe. */
  *points(): Generator<Str, void> {
    const { text } = this;
    for (let at = 0; at < text.length; ) {
      const width = this.wide ? widthAt(text, at) : 1;
      yield this.slice(at, at + width).marked(false);
      at += width;
    }
  }

  /** The same characters, marked safe or not. */
  marked(safe: boolean): Str {
    return safe === this.safe ? this : new Str(this.text, this.origin, safe, this.narrow);
  }

  /** The text changed, each stretch of one origin by itself if that makes it longer. */
  map(change: Change): Str {
    const { origin, text } = this;
    const whole = change(text);
    // No change of ours shrinks anything: with the same length, every character stays in its place.
    if (typeof origin !== "string" || whole.length === text.length) return new Str(whole, origin, this.safe);
    const parts: Str[] = [];
    for (const [from, to] of stretches(origin)) {
      if (parts.length > MOST_STRETCHES)
        unsupported("a text that goes back and forth between template and data");
      parts.push(new Str(change(text.slice(from, to)), origin[from] === "1" ? DATA : TEMPLATE));
    }
    return join(parts, this.safe);
  }

  /** Origin of the UTF-16 unit at `at`. */
  originAt(at: number): Origin {
    return typeof this.origin === "string" ? (this.origin[at] === "1" ? DATA : TEMPLATE) : this.origin;
  }
}

export const EMPTY = new Str("");

/** Text of the template. */
export function literal(text: string): Str {
  return text === "" ? EMPTY : new Str(text);
}

/** Text of the data. */
export function data(text: string): Str {
  return new Str(text, DATA);
}

function widthAt(text: string, at: number): number {
  return (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
}

/** Code points between two places that are kept. */
const STRIDE = 128;

/** Where the characters of a text are, of which some take two UTF-16 units. */
class Places {
  readonly length: number;
  readonly #text: string;
  /** Units at which every 128th code point begins. */
  readonly #units: readonly number[];

  constructor(text: string) {
    this.#text = text;
    const units: number[] = [];
    let count = 0;
    for (let at = 0; at < text.length; at += widthAt(text, at)) {
      if (count % STRIDE === 0) units.push(at);
      count++;
    }
    this.length = count;
    this.#units = units;
  }

  unit(point: number): number {
    if (point >= this.length) return this.#text.length;
    let at = this.#units[Math.floor(point / STRIDE)];
    for (let n = point % STRIDE; n > 0; n--) at += widthAt(this.#text, at);
    return at;
  }

  point(unit: number): number {
    let [low, high] = [0, this.#units.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#units[middle] <= unit) low = middle;
      else high = middle;
    }
    let count = low * STRIDE;
    for (let at = this.#units[low] ?? 0; at < unit; at += widthAt(this.#text, at)) count++;
    return count;
  }
}

function digits({ origin, text }: Str): string {
  if (typeof origin === "string") return origin;
  return (origin === DATA ? "1" : "0").repeat(text.length);
}

/** Beginnings and ends of equal digits. */
function* stretches(origin: string): Generator<[from: number, to: number], void> {
  for (let from = 0; from < origin.length; ) {
    const next = origin.indexOf(origin[from] === "1" ? "0" : "1", from);
    const to = next < 0 ? origin.length : next;
    yield [from, to];
    from = to;
  }
}

/** Two strings as one. */
export function append(a: Str, b: Str, safe = false): Str {
  if (a.text === "") return b.marked(safe);
  if (b.text === "") return a.marked(safe);
  const same = a.origin === b.origin && typeof a.origin !== "string";
  return new Str(a.text + b.text, same ? a.origin : digits(a) + digits(b), safe, a.narrow && b.narrow);
}

/** Strings as one, with `between` each two. */
export function join(parts: readonly Str[], safe = false, between: Str = EMPTY): Str {
  if (parts.length === 0) return safe ? EMPTY.marked(true) : EMPTY;
  const origin = (parts.find((part) => part.text !== "") ?? between).origin;
  const filled = between.text !== "" && parts.length > 1;
  const uniform =
    typeof origin !== "string" &&
    parts.every((part) => part.origin === origin || part.text === "") &&
    (!filled || between.origin === origin);
  const text = parts.map((part) => part.text).join(between.text);
  if (uniform) return new Str(text, origin, safe);
  return new Str(text, parts.map(digits).join(filled ? digits(between) : ""), safe);
}
