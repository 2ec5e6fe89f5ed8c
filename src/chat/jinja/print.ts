/** `str()` and `repr()` of Python: how values look in a rendered text. */
import { compareCodePoints } from "../../json/index.ts";
import { isPrintable } from "./chars.ts";
import { unsupported } from "./errors.ts";
import { floatText } from "./numbers.ts";
import type { Runtime } from "./runtime.ts";
import { append, EMPTY, join, literal, Str } from "./text.ts";
import {
  Callable,
  Dict,
  Float,
  HostObject,
  type Iter,
  List,
  Namespace,
  Range,
  Tuple,
  Undefined,
  type Value,
  View,
} from "./values.ts";

const NONE = literal("None");
const TRUE = literal("True");
const FALSE = literal("False");

/** A value as text; strings as they are, though no longer marked safe. */
export function str(rt: Runtime, value: Value): Str {
  if (value instanceof Str) return value.marked(false);
  if (typeof value === "number") return literal(String(value));
  if (value instanceof Undefined) return EMPTY;
  if ((value instanceof Dict || value instanceof List) && value.watch !== null) value.watch.printed = true;
  return repr(rt, value);
}

/** As `str`, with safe strings kept safe. */
export function softStr(rt: Runtime, value: Value): Str {
  return value instanceof Str ? value : str(rt, value);
}

export function repr(rt: Runtime, value: Value): Str {
  const parts: Str[] = [];
  write(rt, value, parts);
  return join(parts);
}

function write(rt: Runtime, value: Value, out: Str[]): void {
  rt.spend(2);
  const list = (items: Iterable<Value>) => {
    let first = true;
    for (const item of items) {
      if (!first) out.push(COMMA);
      first = false;
      write(rt, item, out);
    }
  };
  if (value === null) out.push(NONE);
  else if (typeof value === "boolean") out.push(value ? TRUE : FALSE);
  else if (typeof value === "number" || typeof value === "bigint") {
    const text = String(value);
    rt.spend(text.length);
    out.push(literal(text));
  } else if (value instanceof Str) out.push(quoted(rt, value));
  else if (value instanceof Float) {
    rt.spend(40);
    out.push(literal(floatText(value.value)));
  } else if (value instanceof List) {
    out.push(literal("["));
    list(value.items);
    out.push(literal("]"));
  } else if (value instanceof Tuple) {
    out.push(literal("("));
    list(value.items);
    out.push(literal(value.items.length === 1 ? ",)" : ")"));
  } else if (value instanceof Dict) dict(rt, value.entries.values(), out);
  else if (value instanceof Undefined) out.push(literal("Undefined"));
  else if (value instanceof Range) {
    const { start, stop, step } = value;
    out.push(literal(step === 1 ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`));
  } else if (value instanceof View) {
    out.push(literal(`dict_${value.kind}([`));
    list(value);
    out.push(literal("])"));
  } else if (value instanceof Namespace) {
    out.push(literal("<Namespace "));
    dict(
      rt,
      [...value.attributes].map(([name, item]) => [literal(name), item] as const),
      out,
    );
    out.push(literal(">"));
  } else if (value instanceof Callable || value instanceof HostObject) out.push(value.repr(rt));
  else unsupported(`printing a ${(value as Iter).type}, whose text is a memory address in Python,`);
}

const COMMA = literal(", ");
const COLON = literal(": ");

function dict(rt: Runtime, entries: Iterable<readonly [Value, Value]>, out: Str[]): void {
  out.push(literal("{"));
  let first = true;
  for (const [key, value] of entries) {
    if (!first) out.push(COMMA);
    first = false;
    write(rt, key, out);
    out.push(COLON);
    write(rt, value, out);
  }
  out.push(literal("}"));
}

/** A string in quotes: double ones if it holds single ones and no double. */
function quoted(rt: Runtime, value: Str): Str {
  const { text } = value;
  rt.scan(text.length);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const mark = literal(quote);
  const plain = isPrintable(text) && !text.includes("\\") && !text.includes(quote);
  const body = plain ? value : value.map((part) => escapeControls(part, quote));
  const whole = append(append(mark, body.marked(false)), mark);
  return value.safe ? append(append(literal("Markup("), whole), literal(")")) : whole;
}

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

function escapeControls(text: string, quote: string): string {
  let out = "";
  for (const c of text) {
    if (c in SHORT) out += SHORT[c];
    else if (c === quote) out += `\\${c}`;
    else out += isPrintable(c) ? c : codeEscape(c);
  }
  return out;
}

/** `\xe9`, `\u20ac` or `\U0001f600`. */
export function codeEscape(char: string): string {
  const code = char.codePointAt(0) as number;
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** As `repr`, with what is not ASCII escaped. */
export function ascii(rt: Runtime, value: Value): Str {
  return repr(rt, value).map((text) => text.replace(/[^\0-\x7f]/gu, codeEscape));
}

/** Widest line of `pprint`. */
const LINE = 80;

/** `pprint.pformat`, as long as all fits on one line. */
export function pretty(rt: Runtime, value: Value): Str {
  const text = repr(rt, sorted(value));
  if (text.length > LINE) unsupported("pprint of more than one line");
  return text;
}

/** Dicts with their keys in order. */
function sorted(value: Value): Value {
  if (value instanceof List) return new List(value.items.map(sorted));
  if (value instanceof Tuple) return new Tuple(value.items.map(sorted));
  if (!(value instanceof Dict)) return value;
  const pairs = [...value.entries.values()].map(([key, item]) => [key, sorted(item)] as const);
  if (!pairs.every(([key]) => key instanceof Str))
    unsupported("pprint of a dict whose keys are not all strings");
  pairs.sort(([a], [b]) => compareCodePoints((a as Str).text, (b as Str).text));
  return Dict.of(pairs);
}
