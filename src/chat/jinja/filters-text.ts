/** Filters of jinja2 on texts and numbers. */
import { isSpaceAt, SPACE, stripped, WORDS } from "./chars.ts";
import { fail, unsupported } from "./errors.ts";
import { type Filter, filter } from "./filter.ts";
import { formatPercent } from "./format-percent.ts";
import { escapeMarkup } from "./markup.ts";
import {
  arithmetic,
  asNumber,
  fixedDigits,
  parseFloatText,
  parseInteger,
  round,
  toDouble,
  truncated,
} from "./numbers.ts";
import { binary } from "./operators.ts";
import { pretty, softStr, str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { joinStrings, justified, replace, splitLines, stringMethods, strip } from "./string-methods.ts";
import { append, EMPTY, join, literal, Str } from "./text.ts";
import { toJson } from "./to-json.ts";
import {
  Dict,
  Float,
  indexOf,
  iterate,
  listOf,
  NO_KWARGS,
  Tuple,
  textOf,
  truth,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** A filter that is a method of strings without arguments. */
const asMethod = (name: string): Filter =>
  filter(`${name}(s)`, (rt, value) => {
    const method = stringMethods.get(name);
    return method === undefined ? value : method(rt, softStr(rt, value), [], NO_KWARGS, name);
  });

/** Work of writing a number in decimal. */
const DECIMAL = 200;
const WORDS_AND_GAPS = new RegExp(`[^-({[<${SPACE}]+|[-({[<${SPACE}]+`, "g");

function title(rt: Runtime, value: Str): Str {
  rt.scan(value.text.length * 4);
  const parts: Str[] = [];
  for (const { 0: word, index } of value.text.matchAll(WORDS_AND_GAPS)) {
    rt.spend(10);
    const first = String.fromCodePoint(word.codePointAt(0) as number).length;
    parts.push(
      value.slice(index, index + first).map((text) => text.toUpperCase()),
      value.slice(index + first, index + word.length).map((text) => text.toLowerCase()),
    );
  }
  return join(parts.map((part) => part.marked(false)));
}

function indent(rt: Runtime, value: Value, width: Value, first: boolean, blank: boolean): Str {
  const text = textOf(value, "the text to indent");
  const { safe } = text;
  let by: Str;
  if (width instanceof Str) by = width;
  else {
    const count = Math.max(0, indexOf(width));
    rt.reserve(count);
    by = literal(" ".repeat(count));
  }
  // Taken to be safe, not escaped.
  if (safe) by = by.marked(true);
  const line = literal("\n").marked(safe);
  const lines = splitLines(rt, append(text, line, safe), false);
  rt.reserve(text.text.length + (lines.length + 1) * by.text.length);
  rt.spend(lines.length * (6 + by.text.length / 8));
  let result: Str;
  if (blank) result = join(lines, safe, append(line, by, safe));
  else {
    const rest = lines.slice(1).map((item) => (item.text === "" ? item : append(by, item, safe)));
    result = rest.length === 0 ? lines[0] : join([lines[0], ...rest], safe, line);
  }
  return first ? append(by, result, safe) : result;
}

function truncate(
  rt: Runtime,
  value: Value,
  [length, kill, end, leeway]: readonly (Value | undefined)[],
): Value {
  const text = textOf(value, "the text to truncate");
  const most = length === undefined ? 255 : indexOf(length);
  const tail = end === undefined ? literal("...") : textOf(end, "end");
  const spare = leeway === undefined || leeway === null ? 5 : indexOf(leeway);
  if (most < tail.length) fail(`expected length >= ${tail.length}, got ${most}`);
  if (spare < 0) fail(`expected leeway >= 0, got ${spare}`);
  rt.measure(text);
  if (text.length <= most + spare) return text;
  const kept = text.slice(0, text.unit(most - tail.length));
  if (truth(kill ?? false)) return binary(rt, "+", kept, tail);
  const space = kept.text.lastIndexOf(" ");
  return binary(rt, "+", space < 0 ? kept : kept.slice(0, space), tail);
}

const UNITS = ["k", "M", "G", "T", "P", "E", "Z", "Y"];

function fileSize(rt: Runtime, value: Value, binaryUnits: boolean): Str {
  const bytes = asDouble(rt, value);
  if (bytes === undefined) fail(`could not convert ${typeName(value)} to float`);
  const base = binaryUnits ? 1024 : 1000;
  if (bytes === 1) return literal("1 Byte");
  if (bytes < base) return literal(`${truncated(bytes)} Bytes`);
  if (Number.isNaN(bytes)) unsupported("the size NaN");
  let power = 0;
  while (power < UNITS.length - 1 && bytes >= base ** (power + 2)) power++;
  const size = (base * bytes) / base ** (power + 2);
  if (!Number.isFinite(size)) unsupported("an infinite size");
  const name = UNITS[power];
  return literal(`${fixedDigits(size, 1)} ${binaryUnits ? `${name.toUpperCase()}i` : name}B`);
}

/** `float(value)`; undefined if it would raise a ValueError or TypeError. */
function asDouble(rt: Runtime, value: Value): number | undefined {
  const number = asNumber(value);
  if (number !== undefined) return toDouble(number);
  if (value instanceof Undefined) value.raise();
  if (!(value instanceof Str)) return undefined;
  rt.scan(value.text.length);
  return parseFloatText(stripped(value.text));
}

function toInt(rt: Runtime, value: Value, fallback: Value, base: Value): Value {
  if (value instanceof Str) {
    rt.scan(value.text.length);
    const found = parseInteger(rt, stripped(value.text), indexOf(base));
    if (found !== undefined) return found;
    const double = parseFloatText(stripped(value.text));
    return double === undefined || !Number.isFinite(double) ? fallback : truncated(double);
  }
  if (value instanceof Undefined) value.raise();
  const number = asNumber(value);
  if (number === undefined) return fallback;
  if (!(number instanceof Float)) return number;
  return Number.isNaN(number.value) ? fallback : truncated(number.value);
}

function roundBy(value: Value, precision: number, method: string): Value {
  if (method === "common") return round(value, precision);
  if (method !== "ceil" && method !== "floor") fail("method must be common, ceil or floor");
  const unit = arithmetic("**", 10, precision);
  const scaled = asNumber(arithmetic("*", value, unit));
  if (!(scaled instanceof Float)) return arithmetic("/", scaled as number, unit);
  const whole = truncated(method === "ceil" ? Math.ceil(scaled.value) : Math.floor(scaled.value));
  return arithmetic("/", whole, unit);
}

function quoteUrl(rt: Runtime, value: Value, query: boolean): Str {
  const text = str(rt, value);
  rt.scan(text.text.length * 8);
  if (text.wide && /\p{Cs}/u.test(text.text)) fail("surrogates not allowed");
  if (/[^A-Za-z0-9_.~/-]/.test(text.text)) rt.spend(text.text.length * 4);
  return text.map((part) => {
    const quoted = part.replace(/[^A-Za-z0-9_.~/-]/gu, (c) => {
      const bytes = new TextEncoder().encode(c);
      return [...bytes].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
    });
    return query ? quoted.replaceAll("/", "%2F").replaceAll("%20", "+") : quoted;
  });
}

function urlEncode(rt: Runtime, value: Value): Str {
  const plain = value instanceof Str || asNumber(value) !== undefined || value === null;
  if (plain) return quoteUrl(rt, value, false);
  const pairs =
    value instanceof Dict ? [...value.entries.values()] : listOf(rt, value).map((pair) => listOf(rt, pair));
  const parts = pairs.map((pair) => {
    if (pair.length !== 2) fail("urlencode needs pairs");
    const [key, item] = pair as [Value, Value];
    return join([quoteUrl(rt, key, true), literal("="), quoteUrl(rt, item, true)]);
  });
  return join(parts, false, literal("&"));
}

function xmlAttributes(rt: Runtime, value: Value, space: boolean): Str {
  if (!(value instanceof Dict)) fail(`'${typeName(value)}' object has no attribute 'items'`);
  const parts: Str[] = [];
  for (const [key, item] of value.entries.values()) {
    if (item === null || item instanceof Undefined) continue;
    const name = textOf(key, "the name of an attribute");
    if (/[ \t-\r/>=]/.test(name.text)) fail(`Invalid character in attribute name: '${name.text}'`);
    const [left, right] = [escapeMarkup(rt, name), escapeMarkup(rt, item)].map((part) => part.marked(false));
    parts.push(join([left, literal('="'), right, literal('"')]));
  }
  const text = join(parts, false, literal(" "));
  return space && text.text !== "" ? append(literal(" "), text) : text;
}

function stripTags(rt: Runtime, value: Value): Str {
  const text = str(rt, value);
  rt.scan(text.text.length * 4);
  if (text.text.includes("&")) unsupported("striptags of a text with HTML entities");
  if (text.text.includes("<!--")) unsupported("striptags of a text with comments");
  const parts: Str[] = [];
  let done = 0;
  for (let at = text.text.indexOf("<"); at >= 0; ) {
    rt.spend(4);
    const end = text.text.indexOf(">", at);
    if (end < 0) break;
    parts.push(text.slice(done, at));
    done = end + 1;
    at = text.text.indexOf("<", done);
  }
  parts.push(text.slice(done));
  const words: Str[] = [];
  const body = join(parts.map((part) => part.marked(false)));
  for (let at = 0; at < body.text.length; ) {
    if (isSpaceAt(body.text, at)) {
      at++;
      continue;
    }
    rt.spend(4);
    let end = at;
    while (end < body.text.length && !isSpaceAt(body.text, end)) end++;
    words.push(body.slice(at, end));
    at = end;
  }
  return join(words, false, literal(" "));
}

export const textFilters: readonly (readonly [names: string, filter: Filter])[] = [
  ["upper", asMethod("upper")],
  ["lower", asMethod("lower")],
  ["capitalize", asMethod("capitalize")],
  ["title", filter("title(s)", (rt, value) => title(rt, softStr(rt, value)))],
  ["string", filter("string(s)", (rt, value) => softStr(rt, value))],
  ["safe", filter("safe(value)", (rt, value) => softStr(rt, value).marked(true))],
  ["e escape", filter("escape(s)", (rt, value) => escapeMarkup(rt, value))],
  ["forceescape", filter("forceescape(value)", (rt, value) => escapeMarkup(rt, str(rt, value)))],
  ["striptags", filter("striptags(value)", (rt, value) => stripTags(rt, value))],
  [
    "trim",
    filter("trim(value, chars?)", (rt, value, [only]) => strip(rt, softStr(rt, value), only, true, true)),
  ],
  [
    "replace",
    filter("replace(s, old, new, count?)", (rt, value, [old, by, count]) =>
      replace(
        rt,
        str(rt, value),
        str(rt, old as Value),
        str(rt, by as Value),
        count === undefined || count === null ? -1 : indexOf(count),
      ),
    ),
  ],
  [
    "join",
    filter("join(value, d?, attribute?)", (rt, value, [mark, attribute], engine) => {
      const items =
        attribute === undefined || attribute === null
          ? iterate(value)
          : iterate(engine.filter(rt, literal("map"), value, [], new Map([["attribute", attribute]])));
      const texts = (function* () {
        for (const item of items) yield str(rt, item);
      })();
      return joinStrings(rt, mark === undefined ? EMPTY : str(rt, mark), texts);
    }),
  ],
  [
    "indent",
    filter("indent(s, width?, first?, blank?)", (rt, value, [width, first, blank]) =>
      indent(rt, value, width === undefined ? 4 : width, truth(first ?? false), truth(blank ?? false)),
    ),
  ],
  [
    "truncate",
    filter("truncate(s, length?, killwords?, end?, leeway?)", (rt, value, rest) => truncate(rt, value, rest)),
  ],
  [
    "center",
    filter("center(value, width?)", (rt, value, [width]) =>
      justified(rt, softStr(rt, value), width === undefined ? 80 : indexOf(width), "center"),
    ),
  ],
  [
    "wordcount",
    filter("wordcount(s)", (rt, value) => {
      const { text } = softStr(rt, value);
      rt.scan(text.length * 8);
      let count = 0;
      for (const _ of text.matchAll(WORDS)) {
        rt.spend(4);
        count++;
      }
      return count;
    }),
  ],
  [
    "format",
    (rt, value, args, kwargs) => {
      if (args.length > 0 && kwargs.size > 0) {
        fail("can't handle positional and keyword arguments at the same time");
      }
      const named = Dict.of([...kwargs].map(([name, item]) => [literal(name), item] as const));
      return formatPercent(rt, softStr(rt, value), kwargs.size > 0 ? named : new Tuple(args));
    },
  ],
  ["tojson", (rt, value, args, kwargs) => toJson(rt, value, args, kwargs)],
  ["pprint", filter("pprint(value)", (rt, value) => pretty(rt, value))],
  ["urlencode", filter("urlencode(value)", (rt, value) => urlEncode(rt, value))],
  [
    "xmlattr",
    filter("xmlattr(d, autospace?)", (rt, value, [space]) =>
      xmlAttributes(rt, value, space === undefined || truth(space)),
    ),
  ],
  [
    "filesizeformat",
    filter("filesizeformat(value, binary?)", (rt, value, [units]) =>
      fileSize(rt, value, truth(units ?? false)),
    ),
  ],
  [
    "int",
    filter("int(value, default?, base?)", (rt, value, [fallback, base]) =>
      toInt(rt, value, fallback === undefined ? 0 : fallback, base === undefined ? 10 : base),
    ),
  ],
  [
    "float",
    filter("float(value, default?)", (rt, value, [fallback]) => {
      const double = asDouble(rt, value);
      return double === undefined ? (fallback === undefined ? new Float(0) : fallback) : new Float(double);
    }),
  ],
  [
    "abs",
    filter("abs(x, /)", (_rt, value) => {
      const number = asNumber(value);
      if (number === undefined) {
        if (value instanceof Undefined) value.raise();
        fail(`bad operand type for abs(): '${typeName(value)}'`);
      }
      if (number instanceof Float) return new Float(Math.abs(number.value));
      return number < 0 ? arithmetic("-", 0, number) : number;
    }),
  ],
  [
    "round",
    filter("round(value, precision?, method?)", (rt, value, [precision, method]) => {
      const places = precision === undefined ? 0 : indexOf(precision);
      rt.spend(DECIMAL + Math.abs(places));
      return roundBy(value, places, method === undefined ? "common" : textOf(method, "method").text);
    }),
  ],
  [
    "random",
    filter("random(seq)", () => unsupported("the filter 'random', which gives another text each time,")),
  ],
  ["urlize", (): Value => unsupported("the filter 'urlize'")],
  ["wordwrap", (): Value => unsupported("the filter 'wordwrap'")],
];
