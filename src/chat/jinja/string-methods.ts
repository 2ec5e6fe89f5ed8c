/** Methods of Python's `str`, each keeping the origin of every character. */
import { bind, signature } from "./arguments.ts";
import * as chars from "./chars.ts";
import { fail, unsupported } from "./errors.ts";
import { pad } from "./format-spec.ts";
import { escapeMarkup } from "./markup.ts";
import type { Runtime } from "./runtime.ts";
import { append, EMPTY, join, literal, Str } from "./text.ts";
import { indexOf, iterate, type Kwargs, List, Tuple, textOf, type Value } from "./values.ts";

/** A method of a value; `name` is what it was called by. */
export type Method<T> = (rt: Runtime, self: T, args: readonly Value[], kwargs: Kwargs, name: string) => Value;

/** An argument as a string, escaped if the string is marked safe. */
function given(rt: Runtime, self: Str, value: Value | undefined, what: string): Str {
  const text = textOf(value ?? null, what);
  return self.safe ? escapeMarkup(rt, text) : text;
}

const STRIP = signature("strip(chars?, /)");
const NO_ARGUMENTS = signature("lower()");

/** Without `only` (or white space) at its ends. */
export function strip(rt: Runtime, self: Str, only: Value | undefined, left: boolean, right: boolean): Str {
  const { text } = self;
  if (only === undefined || only === null) {
    const [from, to] = chars.stripBounds(text, left, right);
    rt.scan(from + text.length - to);
    return self.slice(from, to);
  }
  const set = new Set(given(rt, self, only, "strip arg").text);
  rt.scan(set.size * 8);
  let [from, to] = [0, text.length];
  if (left) {
    while (from < to) {
      const c = String.fromCodePoint(text.codePointAt(from) as number);
      if (!set.has(c)) break;
      from += c.length;
    }
  }
  if (right) {
    while (to > from) {
      const pair = to - from > 1 && (text.codePointAt(to - 2) as number) > 0xffff;
      const c = text.slice(pair ? to - 2 : to - 1, to);
      if (!set.has(c)) break;
      to -= c.length;
    }
  }
  rt.spend(from + text.length - to);
  return self.slice(from, to);
}

/** Every `old` (the first `count` of them) replaced. */
export function replace(rt: Runtime, self: Str, old: Str, by: Str, count: number): Str {
  const { text } = self;
  rt.scan(text.length);
  const parts: Str[] = [];
  let [done, left] = [0, count < 0 ? Number.POSITIVE_INFINITY : count];
  let length = text.length;
  const put = (at: number) => {
    rt.spend(4);
    parts.push(self.slice(done, at), by);
    length += by.text.length - old.text.length;
    rt.reserve(length);
    left--;
  };
  if (old.text === "") {
    for (let at = 0; left > 0; ) {
      put(at);
      done = at;
      if (at >= text.length) break;
      at += (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
    }
  } else {
    for (let at = text.indexOf(old.text); at >= 0 && left > 0; at = text.indexOf(old.text, done)) {
      put(at);
      done = at + old.text.length;
    }
  }
  if (parts.length === 0) return self;
  parts.push(self.slice(done));
  return join(parts, self.safe);
}

/** Parts between white space. */
function splitSpace(rt: Runtime, self: Str, most: number): Str[] {
  const { text } = self;
  rt.scan(text.length);
  const parts: Str[] = [];
  for (let at = 0; ; ) {
    while (at < text.length && chars.isSpaceAt(text, at)) at++;
    if (at >= text.length) return parts;
    rt.spend(3);
    if (parts.length === most) {
      parts.push(self.slice(at));
      return parts;
    }
    const from = at;
    while (at < text.length && !chars.isSpaceAt(text, at)) at++;
    parts.push(self.slice(from, at));
  }
}

function splitSpaceRight(rt: Runtime, self: Str, most: number): Str[] {
  const { text } = self;
  rt.scan(text.length);
  const parts: Str[] = [];
  for (let at = text.length; ; ) {
    while (at > 0 && chars.isSpaceAt(text, at - 1)) at--;
    if (at === 0) return parts.reverse();
    rt.spend(3);
    if (parts.length === most) {
      parts.push(self.slice(0, at));
      return parts.reverse();
    }
    const to = at;
    while (at > 0 && !chars.isSpaceAt(text, at - 1)) at--;
    parts.push(self.slice(at, to));
  }
}

function splitAt(rt: Runtime, self: Str, mark: string, most: number, right: boolean): Str[] {
  const { text } = self;
  if (mark === "") fail("empty separator");
  rt.scan(text.length);
  const parts: Str[] = [];
  if (right) {
    let end = text.length;
    while (parts.length !== most) {
      const at = end < mark.length ? -1 : text.lastIndexOf(mark, end - mark.length);
      if (at < 0) break;
      rt.spend(3);
      parts.push(self.slice(at + mark.length, end));
      end = at;
    }
    parts.push(self.slice(0, end));
    return parts.reverse();
  }
  let from = 0;
  while (parts.length !== most) {
    const at = text.indexOf(mark, from);
    if (at < 0) break;
    rt.spend(3);
    parts.push(self.slice(from, at));
    from = at + mark.length;
  }
  parts.push(self.slice(from));
  return parts;
}

export function split(
  rt: Runtime,
  self: Str,
  mark: Value | undefined,
  most: Value | undefined,
  right: boolean,
): List {
  const count = most === undefined ? -1 : indexOf(most);
  if (mark === undefined || mark === null) {
    return new List(right ? splitSpaceRight(rt, self, count) : splitSpace(rt, self, count));
  }
  return new List(splitAt(rt, self, textOf(mark, "the separator").text, count, right));
}

export function splitLines(rt: Runtime, self: Str, keep: boolean): Str[] {
  const { text } = self;
  rt.scan(text.length * 2);
  const lines: Str[] = [];
  let from = 0;
  for (const { 0: end, index } of text.matchAll(chars.LINE_ENDS)) {
    rt.spend(6);
    lines.push(self.slice(from, keep ? index + end.length : index));
    from = index + end.length;
  }
  if (from < text.length) lines.push(self.slice(from));
  return lines;
}

/** Strings joined by `self`. */
export function joinStrings(rt: Runtime, self: Str, values: Iterable<Value>): Str {
  const parts: Str[] = [];
  let length = 0;
  for (const value of values) {
    rt.spend(4);
    if (!(value instanceof Str) && !self.safe) {
      textOf(value, `sequence item ${parts.length}`);
    }
    const part = self.safe ? escapeMarkup(rt, value) : (value as Str);
    length += part.text.length + self.text.length;
    rt.reserve(length);
    parts.push(part);
  }
  rt.scan(length);
  return join(parts, self.safe, self);
}

/** The part of `self` between two places given as in a slice, and where it begins. */
function range(self: Str, start: Value | undefined, end: Value | undefined): [from: number, to: number] {
  const length = self.length;
  const place = (value: Value | undefined, missing: number) => {
    if (value === undefined || value === null) return missing;
    const index = indexOf(value);
    return index < 0 ? Math.max(0, index + length) : index;
  };
  const [from, to] = [place(start, 0), place(end, length)];
  if (from > length) return [-1, -1];
  return [self.unit(from), Math.max(self.unit(from), self.unit(Math.min(to, length)))];
}

const FIND = signature("find(sub, start?, end?, /)");

/** Where `sub` is, in code points; -1 if it is not. */
function find(rt: Runtime, self: Str, args: readonly Value[], kwargs: Kwargs, right: boolean): number {
  const [sub, start, end] = bind(FIND, args, kwargs);
  const wanted = textOf(sub as Value, "the text to find").text;
  rt.measure(self);
  rt.scan(self.text.length);
  const [from, to] = range(self, start, end);
  if (from < 0 || to - from < wanted.length) return -1;
  const part = self.text.slice(from, to);
  const at = right ? part.lastIndexOf(wanted) : part.indexOf(wanted);
  return at < 0 ? -1 : self.pointAt(from + at);
}

const AFFIX = signature("startswith(prefix, start?, end?, /)");

function affixed(rt: Runtime, self: Str, args: readonly Value[], kwargs: Kwargs, name: string): boolean {
  const [affix, start, end] = bind({ ...AFFIX, name }, args, kwargs);
  const options = affix instanceof Tuple ? affix.items : [affix as Value];
  const whole = start === undefined && end === undefined;
  if (!whole) rt.measure(self);
  const [from, to] = whole ? [0, self.text.length] : range(self, start, end);
  return options.some((option) => {
    const { text } = textOf(option, `${name} first arg`);
    rt.scan(text.length);
    if (from < 0 || to - from < text.length) return false;
    return name === "startswith" ? self.text.startsWith(text, from) : self.text.endsWith(text, to);
  });
}

function count(rt: Runtime, self: Str, args: readonly Value[], kwargs: Kwargs): number {
  const [sub, start, end] = bind({ ...FIND, name: "count" }, args, kwargs);
  const wanted = textOf(sub as Value, "the text to count").text;
  rt.measure(self);
  rt.scan(self.text.length);
  const [from, to] = range(self, start, end);
  if (from < 0) return 0;
  if (wanted === "") return self.pointAt(to) - self.pointAt(from) + 1;
  let found = 0;
  for (let at = self.text.indexOf(wanted, from); at >= 0 && at + wanted.length <= to; found++) {
    rt.spend(1);
    at = self.text.indexOf(wanted, at + wanted.length);
  }
  return found;
}

function partition(rt: Runtime, self: Str, mark: Str, right: boolean): Tuple {
  if (mark.text === "") fail("empty separator");
  rt.scan(self.text.length);
  const at = right ? self.text.lastIndexOf(mark.text) : self.text.indexOf(mark.text);
  const empty = EMPTY.marked(self.safe);
  if (at < 0) return new Tuple(right ? [empty, empty, self] : [self, empty, empty]);
  return new Tuple([
    self.slice(0, at),
    self.slice(at, at + mark.text.length),
    self.slice(at + mark.text.length),
  ]);
}

const JUSTIFY = signature("center(width, fillchar?, /)");

function justify(rt: Runtime, self: Str, args: readonly Value[], kwargs: Kwargs, name: string): Str {
  const [width, fill] = bind({ ...JUSTIFY, name }, args, kwargs);
  const char = fill === undefined ? " " : textOf(fill, "the fill character").text;
  if ([...char].length !== 1) fail("The fill character must be exactly one character long");
  return justified(rt, self, indexOf(width as Value), name, char);
}

export function justified(rt: Runtime, self: Str, width: number, name: string, char = " "): Str {
  rt.reserve(width * char.length);
  rt.scan(Math.max(0, width));
  rt.measure(self);
  if (name === "ljust") return pad(self, width, "<", char).marked(self.safe);
  if (name === "rjust") return pad(self, width, ">", char).marked(self.safe);
  const missing = width - self.length;
  if (missing <= 0) return self;
  // Python puts the odd character left if the width is odd too.
  const left = Math.floor(missing / 2) + (missing & width & 1);
  const filled = append(literal(char.repeat(left)), self);
  return append(filled, literal(char.repeat(missing - left))).marked(self.safe);
}

function expandTabs(rt: Runtime, self: Str, given: Value | undefined): Str {
  const size = given === undefined ? 8 : indexOf(given);
  rt.scan(self.text.length * 4);
  const parts: Str[] = [];
  let column = 0;
  let length = 0;
  for (const c of self.points()) {
    rt.spend(8);
    let part = c;
    if (c.text === "\t") {
      const width = size > 0 ? size - (column % size) : 0;
      rt.reserve(width);
      rt.spend(width / 8);
      part = literal(" ".repeat(width));
      column += width;
    } else column = c.text === "\n" || c.text === "\r" ? 0 : column + 1;
    rt.reserve((length += part.text.length));
    parts.push(part);
  }
  return join(parts, self.safe);
}

/** A method without arguments that changes every character by itself. */
const changed =
  (change: (text: string) => string): Method<Str> =>
  (rt, self, args, kwargs, name) => {
    bind({ ...NO_ARGUMENTS, name }, args, kwargs);
    rt.scan(self.text.length * 4);
    return self.map(change);
  };

/** As `changed`, for what depends on neighbors: one origin for all if there are several. */
const recast =
  (change: (text: string) => string): Method<Str> =>
  (rt, self, args, kwargs, name) => {
    bind({ ...NO_ARGUMENTS, name }, args, kwargs);
    rt.scan(self.text.length * 8);
    const text = change(self.text);
    const { origin } = self;
    if (typeof origin !== "string") return new Str(text, origin, self.safe);
    if (text.length === self.text.length) return new Str(text, origin, self.safe);
    // Lengths differ only for rare letters: what cannot be told apart counts as the data's.
    return new Str(text, 1, self.safe);
  };

const asked =
  (ask: (text: string) => boolean): Method<Str> =>
  (rt, self, args, kwargs, name) => {
    bind({ ...NO_ARGUMENTS, name }, args, kwargs);
    rt.scan(self.text.length * 4);
    return ask(self.text);
  };

/** What MarkupSafe's versions disagree on. */
const unsafe =
  (body: Method<Str>): Method<Str> =>
  (rt, self, args, kwargs, name) => {
    if (self.safe) unsupported(`${name}() of a text marked safe`);
    return body(rt, self, args, kwargs, name);
  };

const SPLIT = signature("split(sep?, maxsplit?)");
const LINES = signature("splitlines(keepends?)");
const TABS = signature("expandtabs(tabsize?)");
const ONE = signature("join(iterable, /)");
const REPLACE = signature("replace(old, new, count?, /)");

export const stringMethods: ReadonlyMap<string, Method<Str>> = new Map<string, Method<Str>>([
  ["capitalize", recast(chars.capitalize)],
  ["casefold", unsafe(changed(chars.casefold))],
  ["center", justify],
  ["count", count],
  ["endswith", affixed],
  ["expandtabs", (rt, self, args, kwargs) => expandTabs(rt, self, bind(TABS, args, kwargs)[0])],
  ["find", (rt, self, args, kwargs) => find(rt, self, args, kwargs, false)],
  ["index", (rt, self, args, kwargs) => found(find(rt, self, args, kwargs, false))],
  ["isalnum", asked(chars.isAlnum)],
  ["isalpha", asked(chars.isAlpha)],
  ["isascii", asked((text) => !/[^\0-\x7f]/.test(text))],
  ["isdecimal", asked(chars.isDecimal)],
  ["isdigit", asked(chars.isDigit)],
  ["isidentifier", asked(chars.isIdentifier)],
  ["islower", asked(chars.isLower)],
  ["isnumeric", asked(chars.isNumeric)],
  ["isprintable", asked(chars.isPrintable)],
  ["isspace", asked(chars.isSpace)],
  ["istitle", asked(chars.isTitle)],
  ["isupper", asked(chars.isUpper)],
  ["join", (rt, self, args, kwargs) => joinStrings(rt, self, iterate(bind(ONE, args, kwargs)[0] as Value))],
  ["ljust", justify],
  ["lower", changed((text) => text.toLowerCase())],
  ["lstrip", (rt, self, args, kwargs) => strip(rt, self, bind(STRIP, args, kwargs)[0], true, false)],
  ["partition", (rt, self, args, kwargs) => partition(rt, self, mark(rt, self, args, kwargs), false)],
  [
    "removeprefix",
    unsafe((rt, self, args, kwargs) => {
      const { text } = textOf(bind({ ...ONE, name: "removeprefix" }, args, kwargs)[0] as Value, "the prefix");
      rt.scan(text.length);
      return self.text.startsWith(text) ? self.slice(text.length) : self;
    }),
  ],
  [
    "removesuffix",
    unsafe((rt, self, args, kwargs) => {
      const { text } = textOf(bind({ ...ONE, name: "removesuffix" }, args, kwargs)[0] as Value, "the suffix");
      rt.scan(text.length);
      return self.text.endsWith(text) ? self.slice(0, self.text.length - text.length) : self;
    }),
  ],
  [
    "replace",
    (rt, self, args, kwargs) => {
      const [old, by, most] = bind(REPLACE, args, kwargs);
      const [from, to] = [
        given(rt, self, old, "replace() argument 1"),
        given(rt, self, by, "replace() argument 2"),
      ];
      return replace(rt, self, from, to, most === undefined ? -1 : indexOf(most));
    },
  ],
  ["rfind", (rt, self, args, kwargs) => find(rt, self, args, kwargs, true)],
  ["rindex", (rt, self, args, kwargs) => found(find(rt, self, args, kwargs, true))],
  ["rjust", justify],
  ["rpartition", (rt, self, args, kwargs) => partition(rt, self, mark(rt, self, args, kwargs), true)],
  [
    "rsplit",
    (rt, self, args, kwargs) => {
      const [separator, most] = bind(SPLIT, args, kwargs);
      return split(rt, self, separator, most, true);
    },
  ],
  ["rstrip", (rt, self, args, kwargs) => strip(rt, self, bind(STRIP, args, kwargs)[0], false, true)],
  [
    "split",
    (rt, self, args, kwargs) => {
      const [separator, most] = bind(SPLIT, args, kwargs);
      return split(rt, self, separator, most, false);
    },
  ],
  [
    "splitlines",
    (rt, self, args, kwargs) => {
      const [keep] = bind(LINES, args, kwargs);
      return new List(splitLines(rt, self, keep !== undefined && indexOf(keep) !== 0));
    },
  ],
  ["startswith", affixed],
  ["strip", (rt, self, args, kwargs) => strip(rt, self, bind(STRIP, args, kwargs)[0], true, true)],
  ["swapcase", changed(chars.swapCase)],
  ["title", recast(chars.title)],
  ["upper", changed((text) => text.toUpperCase())],
  [
    "zfill",
    (rt, self, args, kwargs) => {
      const width = indexOf(bind({ ...ONE, name: "zfill" }, args, kwargs)[0] as Value);
      rt.reserve(width);
      rt.scan(Math.max(0, width));
      const zeros = literal("0".repeat(Math.max(0, width - self.length)));
      const signed = /^[+-]/.test(self.text);
      const filled = signed ? join([self.slice(0, 1), zeros, self.slice(1)]) : append(zeros, self);
      return filled.marked(self.safe);
    },
  ],
]);

function mark(rt: Runtime, self: Str, args: readonly Value[], kwargs: Kwargs): Str {
  return given(rt, self, bind({ ...ONE, name: "partition" }, args, kwargs)[0], "the separator");
}

function found(at: number): number {
  if (at < 0) fail("substring not found");
  return at;
}
