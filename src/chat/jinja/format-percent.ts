/** `format % values`, as in Python's older way of formatting. */
import { fail, unsupported } from "./errors.ts";
import { pad, printfDigits } from "./format-spec.ts";
import { escapeMarkup } from "./markup.ts";
import { ascii, repr, str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { append, join, literal, Str } from "./text.ts";
import { asInt, Dict, isInt, List, Range, Tuple, typeName, Undefined, type Value } from "./values.ts";

const FIELD = /%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?(.)?/gsu;
const WIDEST = 10_000;

/** @throws TemplateError */
export function formatPercent(rt: Runtime, format: Str, values: Value): Str {
  rt.scan(format.text.length);
  const list = values instanceof Tuple ? values.items : [values];
  const mapping = values instanceof Dict ? values : null;
  let used = 0;
  const next = (): Value => {
    if (used >= list.length) fail("not enough arguments for format string");
    return list[used++];
  };
  const parts: Str[] = [];
  const shown = (value: Str) => (format.safe ? escapeMarkup(rt, value) : value);
  let done = 0;
  let named = false;
  for (const found of format.text.matchAll(FIELD)) {
    const [whole, key, flags, width, precision, type] = found;
    parts.push(format.slice(done, found.index));
    done = found.index + whole.length;
    rt.spend(4);
    if (type === undefined) fail("incomplete format");
    if (type === "%" && whole === "%%") {
      parts.push(format.slice(done - 1, done));
      continue;
    }
    if (type === "%") unsupported("'%' with options in a format");
    let item: Value | undefined;
    if (key !== undefined) {
      if (values instanceof Undefined) values.raise();
      if (mapping === null) fail("format requires a mapping");
      named = true;
      item = mapping.item(key);
      if (item === undefined) fail(`KeyError: '${key}'`);
    }
    let left = flags.includes("-");
    let wide = 0;
    if (width === "*") {
      wide = star(next());
      if (wide < 0) [left, wide] = [true, -wide];
    } else wide = Number(width ?? 0);
    const places =
      precision === undefined ? undefined : precision === "*" ? Math.max(0, star(next())) : Number(precision);
    if (wide > WIDEST || (places ?? 0) > WIDEST) unsupported(`a format wider than ${WIDEST}`);
    const value = item === undefined ? next() : item;
    parts.push(field(rt, value, type, { flags, left, wide, places }, shown));
  }
  parts.push(format.slice(done));
  // Like Python, which forgives a list or a dict that is not used.
  const forgiven =
    mapping !== null || values instanceof List || values instanceof Range || values instanceof Undefined;
  if (!named && used < list.length && !(forgiven && used === 0)) {
    fail("not all arguments converted during string formatting");
  }
  return join(parts.map((part) => part.marked(false))).marked(format.safe);
}

function star(value: Value): number {
  const int = asInt(value);
  if (typeof int !== "number") fail("* wants int");
  return int;
}

interface Options {
  readonly flags: string;
  readonly left: boolean;
  readonly wide: number;
  readonly places: number | undefined;
}

function field(rt: Runtime, value: Value, type: string, options: Options, shown: (value: Str) => Str): Str {
  const { flags, left, wide, places } = options;
  const align = left ? "<" : ">";
  if (type === "s" || type === "r" || type === "a") {
    const text = shown(type === "s" ? str(rt, value) : type === "r" ? repr(rt, value) : ascii(rt, value));
    rt.measure(text);
    return pad(places === undefined ? text : text.slice(0, text.unit(places)), wide, align, " ");
  }
  if (type === "c") {
    if (value instanceof Str && value.length === 1) return pad(shown(value), wide, align, " ");
    if (!isInt(value)) fail(`%c requires int or char, not ${typeName(value)}`);
    return pad(literal(printfDigits(rt, value, "c", undefined, false).digits), wide, align, " ");
  }
  if (!"diuoxXeEfFgG".includes(type)) fail(`unsupported format character '${type}'`);
  const kind = type === "i" || type === "u" ? "d" : type;
  const { negative, prefix, digits } = printfDigits(rt, value, kind, places, flags.includes("#"));
  const sign = negative ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
  const missing = Math.max(0, wide - sign.length - prefix.length - digits.length);
  if (flags.includes("0") && !left) {
    return append(literal(sign + prefix), literal("0".repeat(missing) + digits));
  }
  return pad(literal(sign + prefix + digits), wide, align, " ");
}
