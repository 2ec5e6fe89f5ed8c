/** Writes values as JSON: compactly, indented, or as Python's `json.dumps` does. */
import { JsonNumber } from "./number.ts";
import type { JsonValue } from "./value.ts";

export interface JsonStyle {
  /** Spaces for each level, or the text that indents it; entries then stand on their own lines. */
  readonly indent?: number | string;
  /** Between entries; default ",". */
  readonly comma?: string;
  /** Between key and value; default ":" or, indented, ": ". */
  readonly colon?: string;
  /** Whether characters beyond ASCII are escaped. */
  readonly ascii?: boolean;
  /** Whether keys come in the order of their code points. */
  readonly sortKeys?: boolean;
  /** How numbers are spelled: as they were written (default), or as Python does after reading them. */
  readonly numbers?: "source" | "python";
}

/** As JSON.stringify writes without further arguments. */
export const COMPACT: JsonStyle = {};
/** As `json.dumps(value, ensure_ascii=False)` in Python: what chat templates get from `tojson`. */
export const PYTHON: JsonStyle = { comma: ", ", colon: ": ", numbers: "python" };

/** The text of `value`; numbers and the order of keys are kept unless the style says otherwise. */
export function writeJson(value: JsonValue, style: JsonStyle = COMPACT): string {
  const { indent, ascii = false, sortKeys = false, numbers = "source" } = style;
  const unit = typeof indent === "number" ? " ".repeat(indent) : indent;
  const { comma = ",", colon = unit === undefined ? ":" : ": " } = style;
  const out: string[] = [];
  const string = (text: string) => {
    const quoted = JSON.stringify(text);
    return ascii ? quoted.replace(/[^\0-\x7f]/g, escapeUnit) : quoted;
  };
  const list = (open: string, close: string, level: number, count: number, entry: (i: number) => void) => {
    out.push(open);
    for (let i = 0; i < count; i++) {
      if (i > 0) out.push(comma);
      if (unit !== undefined) out.push("\n", unit.repeat(level + 1));
      entry(i);
    }
    if (unit !== undefined && count > 0) out.push("\n", unit.repeat(level));
    out.push(close);
  };
  const write = (item: JsonValue, level: number): void => {
    if (item instanceof JsonNumber) out.push(numbers === "python" ? pythonNumber(item) : item.text);
    else if (typeof item === "string") out.push(string(item));
    else if (Array.isArray(item)) {
      list("[", "]", level, item.length, (i) => write(item[i], level + 1));
    } else if (item instanceof Map) {
      const entries = [...item];
      if (sortKeys) entries.sort(([a], [b]) => compareCodePoints(a, b));
      list("{", "}", level, entries.length, (i) => {
        const [key, inner] = entries[i];
        out.push(string(key), colon);
        write(inner, level + 1);
      });
    } else out.push(String(item));
  };
  write(value, 0);
  return out.join("");
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** The order of Python's strings, which differs from that of UTF-16 beyond U+FFFF. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x === y) continue;
    const surrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdfff;
    // A surrogate stands for a character beyond all that are one unit.
    if (surrogate(x) !== surrogate(y)) return surrogate(x) ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}

/** What Python writes after reading a number: integers digit by digit, others as the shortest text of the double. */
export function pythonNumber(number: JsonNumber): string {
  if (number.isIntegerText) return number.text === "-0" ? "0" : number.text;
  return pythonFloat(number.toNumber());
}

/** A double as Python's `repr` and `json.dumps` write it: `1.0`, `1e-07`, `1e+16`, `Infinity`. */
export function pythonFloat(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  if (!Number.isFinite(value)) return String(value);
  const [, sign, first, rest = "", exponent] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(
    value.toExponential(),
  )!;
  const [digits, power] = [first + rest, Number(exponent)];
  if (power < -4 || power >= 16) {
    const size = String(Math.abs(power)).padStart(2, "0");
    return `${sign}${first}${rest === "" ? "" : `.${rest}`}e${power < 0 ? "-" : "+"}${size}`;
  }
  if (power < 0) return `${sign}0.${"0".repeat(-power - 1)}${digits}`;
  const whole = digits.slice(0, power + 1).padEnd(power + 1, "0");
  return `${sign}${whole}.${digits.slice(power + 1) || "0"}`;
}
