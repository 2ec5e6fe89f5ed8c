/** Python's format specifications (`>10`, `08.3f`, `,`), and numbers as printf writes them. */
import { fail, unsupported } from "./errors.ts";
import { asNumber, exponentDigits, fixedDigits, floatText, toDouble } from "./numbers.ts";
import { str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { append, literal, Str } from "./text.ts";
import { Float, isInt, typeName, Undefined, type Value } from "./values.ts";

/** Widest field. */
const WIDEST = 10_000;
/** Most digits of a number. */
const MOST_DIGITS = 1000;
/** Work of writing a number in decimal. */
const DECIMAL = 200;

const SPEC = /^(?:(.)?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/su;

interface Spec {
  readonly fill: string;
  readonly align: string | undefined;
  readonly sign: string;
  readonly alternate: boolean;
  readonly width: number;
  readonly group: string;
  readonly precision: number | undefined;
  readonly type: string;
}

function parse(text: string): Spec {
  const found = SPEC.exec(text);
  if (found === null) fail(`Invalid format specifier '${text}'`);
  const [, fill, align, sign = "", z, alternate, zero, width, group = "", precision, type = ""] = found;
  if (z !== undefined) unsupported("the option 'z' of a format");
  const [wide, digits] = [Number(width ?? 0), precision === undefined ? undefined : Number(precision)];
  if (wide > WIDEST || (digits ?? 0) > WIDEST) unsupported(`a format wider than ${WIDEST}`);
  if ((digits ?? 0) > MOST_DIGITS && type !== "" && type !== "s")
    unsupported(`more than ${MOST_DIGITS} digits`);
  return {
    fill: fill ?? (zero !== undefined ? "0" : " "),
    align: align ?? (zero !== undefined ? "=" : undefined),
    sign,
    alternate: alternate !== undefined,
    width: wide,
    group,
    precision: digits,
    type,
  };
}

/** `format(value, spec)`. @throws TemplateError */
export function formatValue(rt: Runtime, value: Value, spec: Str): Str {
  if (spec.text === "") return str(rt, value);
  if (value instanceof Str) {
    rt.measure(value);
    return formatString(value, parse(spec.text));
  }
  const number = asNumber(value);
  if (number === undefined) {
    if (value instanceof Undefined) fail("unsupported format string passed to Undefined.__format__");
    fail(`unsupported format string passed to ${typeName(value)}.__format__`);
  }
  const parsed = parse(spec.text);
  rt.spend(DECIMAL + parsed.width + (parsed.precision ?? 0));
  return literal(formatNumber(number, parsed));
}

function formatString(value: Str, spec: Spec): Str {
  if (spec.type !== "" && spec.type !== "s") {
    fail(`Unknown format code '${spec.type}' for object of type 'str'`);
  }
  if (spec.sign !== "") fail("Sign not allowed in string format specifier");
  if (spec.alternate) fail("Alternate form (#) not allowed in string format specifier");
  if (spec.group !== "") fail("Cannot specify ',' with 's'.");
  // A zero before the width only fills.
  const align = spec.align === "=" && spec.fill === "0" ? "<" : (spec.align ?? "<");
  if (align === "=") fail("'=' alignment not allowed in string format specifier");
  const cut = spec.precision === undefined ? value : value.slice(0, value.unit(spec.precision));
  return pad(cut.marked(false), spec.width, align, spec.fill);
}

/** Filled up to `width` characters. */
export function pad(value: Str, width: number, align: string, fill: string): Str {
  const missing = width - value.length;
  if (missing <= 0) return value;
  const left = align === "<" ? 0 : align === "^" ? Math.floor(missing / 2) : missing;
  return append(append(literal(fill.repeat(left)), value), literal(fill.repeat(missing - left)));
}

function formatNumber(number: number | bigint | Float, spec: Spec): string {
  const { type, precision } = spec;
  const integral = "bcdoxXn".includes(type) && type !== "";
  if (type === "n") unsupported("the format 'n'");
  if (number instanceof Float ? integral || type === "s" : type === "s") {
    fail(`Unknown format code '${type}' for object of type '${number instanceof Float ? "float" : "int"}'`);
  }
  if (!(number instanceof Float) && (type === "" || integral)) {
    if (precision !== undefined) fail("Precision not allowed in integer format specifier");
    return fill(number < 0, integerDigits(number, spec), "", spec);
  }
  const double = toDouble(number);
  const negative = double < 0 || Object.is(double, -0);
  const [body, tail] = floatDigits(double, type, precision, spec.alternate);
  return fill(negative, body, tail, spec);
}

function integerDigits(number: number | bigint, { type, alternate, sign }: Spec): string {
  const size = number < 0 ? -BigInt(number) : BigInt(number);
  if (type === "c") {
    if (sign !== "") fail("Sign not allowed with integer format specifier 'c'");
    if (number < 0 || size > 0x10ffffn) fail("%c arg not in range(0x110000)");
    if (size >= 0xd800n && size < 0xe000n) unsupported("half of a surrogate pair");
    return String.fromCodePoint(Number(size));
  }
  const radix = { b: 2, o: 8, x: 16, X: 16 }[type] ?? 10;
  const digits = size.toString(radix);
  const prefix = alternate && radix !== 10 ? `0${type}` : "";
  return prefix + (type === "X" ? digits.toUpperCase() : digits);
}

/** Digits of `|value|`, and an exponent or a percent sign behind them. */
function floatDigits(
  value: number,
  type: string,
  precision: number | undefined,
  alternate: boolean,
): [body: string, tail: string] {
  const upper = type !== "" && type === type.toUpperCase() && type !== "%";
  const shown = (text: string) => (upper ? text.toUpperCase() : text);
  if (!Number.isFinite(value)) return [shown(floatText(Math.abs(value))), type === "%" ? "%" : ""];
  switch (type.toLowerCase()) {
    case "f":
      return [fixedDigits(value, precision ?? 6) + (alternate && precision === 0 ? "." : ""), ""];
    case "%":
      return [fixedDigits(value * 100, precision ?? 6), "%"];
    case "e": {
      const { digits, exponent } = exponentDigits(value, precision ?? 6);
      return [pointed(digits, alternate), shown(exponentText(exponent))];
    }
    case "g":
    case "": {
      if (type === "" && precision === undefined) {
        const [body, power] = floatText(Math.abs(value)).split("e");
        return [body, power === undefined ? "" : `e${power}`];
      }
      const places = Math.max(1, precision ?? 6) - 1;
      const { digits, exponent } = exponentDigits(value, places);
      // Without a type, one digit behind the point is kept and the exponent comes one place sooner.
      const bare = type === "";
      if (exponent < -4 || exponent >= places + (bare ? 0 : 1)) {
        const kept = alternate ? digits : digits.replace(/0+$/, "").padEnd(1, "0");
        return [pointed(kept, alternate), shown(exponentText(exponent))];
      }
      let text = fixedDigits(value, Math.max(0, places - exponent));
      if (!alternate && text.includes(".")) text = text.replace(/\.?0+$/, "");
      if (bare && !text.includes(".")) text += ".0";
      return [text, ""];
    }
  }
  fail(`Unknown format code '${type}' for object of type 'float'`);
}

const pointed = (digits: string, alternate: boolean) =>
  digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : alternate ? `${digits}.` : digits;

function exponentText(exponent: number): string {
  return `e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

function fill(negative: boolean, body: string, tail: string, spec: Spec): string {
  const sign = negative ? "-" : spec.sign === "-" ? "" : spec.sign;
  const align = spec.align ?? ">";
  const [, prefix, whole, rest] = /^(0[boxX])?([\da-zA-Z]*)(.*)$/s.exec(body)!;
  const step = "boxX".includes(spec.type) && spec.type !== "" ? 4 : 3;
  if (spec.group === "," && step === 4) fail(`Cannot specify ',' with '${spec.type}'.`);
  if (spec.group !== "" && spec.type === "c") fail("Cannot specify ',' with 'c'.");
  let digits = grouped(whole, spec.group, step);
  const others = sign.length + (prefix?.length ?? 0) + rest.length + tail.length;
  if (align === "=" && spec.fill === "0" && spec.group !== "") {
    // Zeros are grouped too.
    let zeros = whole;
    while (others + grouped(zeros, spec.group, step).length < spec.width) zeros = `0${zeros}`;
    digits = grouped(zeros, spec.group, step);
    if (digits.startsWith(spec.group)) digits = `0${digits}`;
  }
  const inner = (prefix ?? "") + digits + rest + tail;
  const missing = spec.width - sign.length - [...inner].length;
  if (missing <= 0) return sign + inner;
  if (align === "=") return sign + (prefix ?? "") + spec.fill.repeat(missing) + digits + rest + tail;
  const left = align === "<" ? 0 : align === "^" ? Math.floor(missing / 2) : missing;
  return spec.fill.repeat(left) + sign + inner + spec.fill.repeat(missing - left);
}

function grouped(digits: string, mark: string, step: number): string {
  if (mark === "") return digits;
  const parts: string[] = [];
  for (let end = digits.length; end > 0; end -= step)
    parts.unshift(digits.slice(Math.max(0, end - step), end));
  return parts.join(mark);
}

/** A number as `%d`, `%x`, `%f` and their like write it: digits without sign or padding. */
export function printfDigits(
  rt: Runtime,
  value: Value,
  type: string,
  precision: number | undefined,
  alternate: boolean,
) {
  const number = asNumber(value);
  if (number === undefined) {
    if (value instanceof Undefined) value.raise();
    fail(`%${type} format: a real number is required, not ${typeName(value)}`);
  }
  if ((precision ?? 0) > MOST_DIGITS) unsupported(`more than ${MOST_DIGITS} digits`);
  rt.spend(DECIMAL + (precision ?? 0));
  if ("eEfFgG".includes(type)) {
    const double = toDouble(number);
    const [body, tail] = floatDigits(double, type, precision, alternate);
    return { negative: double < 0 || Object.is(double, -0), prefix: "", digits: body + tail };
  }
  let int = number;
  if (int instanceof Float) {
    if (type !== "d") fail(`%${type} format: an integer is required, not float`);
    if (!Number.isFinite(int.value)) fail(`cannot convert float ${floatText(int.value)} to integer`);
    int = BigInt(Math.trunc(int.value));
  }
  if (!isInt(int)) fail("unreachable");
  const spec: Spec = {
    fill: " ", align: undefined, sign: "", alternate: false, width: 0, group: "", precision: undefined, type,
  }; // biome-ignore format: one line
  const digits = integerDigits(int, spec).padStart(precision ?? 0, "0");
  return { negative: int < 0, prefix: alternate && type !== "d" ? `0${type}` : "", digits };
}
