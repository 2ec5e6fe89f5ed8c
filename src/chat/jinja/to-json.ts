/** The filter `tojson` as transformers defines it: `json.dumps` of Python, without escaping for HTML. */
import { compareCodePoints } from "../../json/index.ts";
import { bind, signature } from "./arguments.ts";
import { fail } from "./errors.ts";
import { floatText } from "./numbers.ts";
import { ordered, sortBy } from "./operators.ts";
import { repr, str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { append, join, literal, Str } from "./text.ts";
import {
  asInt,
  Dict,
  Float,
  indexOf,
  type Kwargs,
  List,
  Tuple,
  truth,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

const SIGNATURE = signature("tojson(x, ensure_ascii?, indent?, separators?, sort_keys?)");

interface Style {
  readonly ascii: boolean;
  /** What indents a level; null: all on one line. */
  readonly unit: Str | null;
  readonly comma: Str;
  readonly colon: Str;
  readonly sort: boolean;
}

export function toJson(rt: Runtime, value: Value, args: readonly Value[], kwargs: Kwargs): Str {
  const [x, ascii, indent, separators, sort] = bind(SIGNATURE, [value, ...args], kwargs);
  let unit: Str | null = null;
  if (indent instanceof Str) unit = indent;
  else if (indent !== undefined && indent !== null) {
    const width = Math.max(0, indexOf(indent));
    rt.reserve(width);
    unit = literal(" ".repeat(width));
  }
  let [comma, colon] = [literal(unit === null ? ", " : ","), literal(": ")];
  if (separators !== undefined && separators !== null) {
    if (!(separators instanceof List || separators instanceof Tuple) || separators.items.length !== 2) {
      fail("separators must be a pair of strings");
    }
    const [a, b] = separators.items;
    if (!(a instanceof Str) || !(b instanceof Str)) fail("separators must be a pair of strings");
    [comma, colon] = [a, b];
  }
  const style = { ascii: truth(ascii ?? false), unit, comma, colon, sort: truth(sort ?? false) };
  const out: Str[] = [];
  write(rt, x as Value, style, literal("\n"), out);
  return join(out.map((part) => part.marked(false)));
}

const [OPEN, CLOSE, BEGIN, END] = ["[", "]", "{", "}"].map(literal);
const [NULL, TRUE, FALSE, QUOTE] = ["null", "true", "false", '"'].map(literal);
const [EMPTY_LIST, EMPTY_OBJECT] = [literal("[]"), literal("{}")];

/** @param line the line break and indentation before the value */
function write(rt: Runtime, value: Value, style: Style, line: Str, out: Str[]): void {
  rt.spend(style.unit === null ? 5 : 10);
  if (value instanceof Str) quote(rt, value, style, out);
  else if (value === null) out.push(NULL);
  else if (typeof value === "boolean") out.push(value ? TRUE : FALSE);
  else if (typeof value === "number" || typeof value === "bigint") out.push(str(rt, value));
  else if (value instanceof Float) out.push(literal(jsonFloat(value.value)));
  else if (value instanceof List || value instanceof Tuple) {
    if (value.items.length === 0) {
      out.push(EMPTY_LIST);
      return;
    }
    const inner = deeper(rt, style, line);
    out.push(OPEN);
    value.items.forEach((item, i) => {
      if (i > 0) out.push(style.comma);
      if (style.unit !== null) out.push(inner);
      write(rt, item, style, inner, out);
    });
    if (style.unit !== null) out.push(line);
    out.push(CLOSE);
  } else if (value instanceof Dict) {
    if (value.size === 0) {
      out.push(EMPTY_OBJECT);
      return;
    }
    const inner = deeper(rt, style, line);
    out.push(BEGIN);
    let first = true;
    for (const [key, item] of style.sort ? sorted(rt, value) : value.entries.values()) {
      if (!first) out.push(style.comma);
      first = false;
      if (style.unit !== null) out.push(inner);
      quote(rt, keyText(rt, key), style, out);
      out.push(style.colon);
      write(rt, item, style, inner, out);
    }
    if (style.unit !== null) out.push(line);
    out.push(END);
  } else fail(`Object of type ${typeName(value)} is not JSON serializable`);
}

function deeper(rt: Runtime, { unit }: Style, line: Str): Str {
  if (unit === null) return line;
  rt.reserve(line.text.length + unit.text.length);
  rt.scan(line.text.length);
  return append(line, unit);
}

function sorted(rt: Runtime, value: Dict): (readonly [Value, Value])[] {
  const entries = [...value.entries.values()];
  if (entries.every(([key]) => key instanceof Str)) {
    rt.spend(entries.length * 4);
    return entries.sort(([a], [b]) => compareCodePoints((a as Str).text, (b as Str).text));
  }
  const tuples = entries.map(([key, item]) => new Tuple([key, item]));
  const sorted = sortBy(rt, tuples, (entry) => (entry as Tuple).items[0], false) as Tuple[];
  // Keys of two types have no order, even if the sorting did not compare them.
  for (let i = 1; i < sorted.length; i++) ordered(rt, "<", sorted[i - 1].items[0], sorted[i].items[0]);
  return sorted.map(({ items: [key, item] }) => [key, item] as const);
}

function keyText(rt: Runtime, key: Value): Str {
  if (key instanceof Str) return key;
  if (key === null) return NULL;
  if (typeof key === "boolean") return key ? TRUE : FALSE;
  if (key instanceof Float) return literal(jsonFloat(key.value));
  if (asInt(key) !== undefined) return str(rt, key);
  if (key instanceof Undefined) fail("keys must be str, int, float, bool or None, not Undefined");
  fail(`keys must be str, int, float, bool or None, not ${repr(rt, key).text}`);
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value < 0 ? "-Infinity" : "Infinity";
  return floatText(value);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what JSON escapes
const ESCAPED = /["\\\0-\x1f]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what JSON escapes
const ESCAPED_ASCII = /["\\\0-\x1f\x7f-\uffff]/g;
const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\b": "\\b",
}; // biome-ignore format: a table

function quote(rt: Runtime, value: Str, { ascii }: Style, out: Str[]): void {
  rt.scan(value.text.length);
  const pattern = ascii ? ESCAPED_ASCII : ESCAPED;
  pattern.lastIndex = 0;
  const escapes = pattern.test(value.text);
  if (escapes) rt.spend(value.text.length);
  const body = escapes
    ? value.map((part) =>
        part.replace(pattern, (c) => SHORT[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
      )
    : value;
  out.push(QUOTE, body, QUOTE);
}
