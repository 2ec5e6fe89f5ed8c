/**
 * JSON that keeps what JSON.parse loses: the text of numbers, and the order of keys that look like indices ("10" before
 * "2"). Objects are maps; what only a program reads is turned into ordinary values by `toPlain`.
 */
import { JsonNumber } from "./number.ts";

export type JsonValue = null | boolean | string | JsonNumber | JsonValue[] | JsonObject;

/** An object: its entries in the order in which they were written. */
export type JsonObject = Map<string, JsonValue>;

/** Ordinary values, as JSON.parse gives them: numbers as doubles, index-like keys first. */
export function toPlain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) return value.toNumber();
  if (Array.isArray(value)) return value.map(toPlain);
  if (!(value instanceof Map)) return value;
  const out: Record<string, unknown> = {};
  for (const [key, item] of value) {
    if (key === "__proto__") {
      const plain = { value: toPlain(item), enumerable: true, configurable: true, writable: true };
      Object.defineProperty(out, key, plain);
    } else out[key] = toPlain(item);
  }
  return out;
}

export interface FromPlainOptions {
  /** Most levels; default 1000. A program's values might run in a circle. */
  readonly maxDepth?: number;
  /** Most values; default 8,000,000. What stands in several places counts for each. */
  readonly maxValues?: number;
  /** What a number of the program means, by the key before it. Default: `JsonNumber.from`. */
  readonly number?: (value: number | bigint, key: string | null) => JsonNumber;
}

/**
 * A program's values as JSON.stringify sees them (undefined left out of objects and null in lists, `toJSON` called),
 * with bigints as whole numbers; values that are `JsonValue` already stay as they are.
 * @throws TypeError for NaN, infinities, functions, and if a limit is exceeded
 */
export function fromPlain(value: unknown, options: FromPlainOptions = {}): JsonValue {
  const { maxDepth = 1000, maxValues = 8_000_000, number = (given) => JsonNumber.from(given) } = options;
  let left = maxValues;
  const convert = (item: unknown, key: string | null, depth: number): JsonValue | undefined => {
    if (depth > maxDepth) throw new TypeError(`not a value of JSON: nested deeper than ${maxDepth} levels`);
    if (--left < 0) throw new TypeError(`not a value of JSON: more than ${maxValues} values`);
    if (item === null || typeof item === "boolean" || typeof item === "string") return item;
    if (typeof item === "bigint" || typeof item === "number") {
      if (Number.isNaN(item) || item === Number.POSITIVE_INFINITY || item === Number.NEGATIVE_INFINITY) {
        throw new TypeError(`not a value of JSON: ${item}`);
      }
      return number(item, key);
    }
    if (item instanceof JsonNumber || item === undefined) return item;
    if (typeof item !== "object") throw new TypeError(`not a value of JSON: ${typeof item}`);
    if (Array.isArray(item)) {
      if (item.length > left) throw new TypeError(`not a value of JSON: more than ${maxValues} values`);
      return item.map((entry) => convert(entry, null, depth + 1) ?? null);
    }
    const { toJSON } = item as { toJSON?: unknown };
    if (typeof toJSON === "function") return convert(toJSON.call(item), key, depth + 1);
    const out: JsonObject = new Map();
    for (const [name, entry] of item instanceof Map ? item : Object.entries(item)) {
      const made = convert(entry, String(name), depth + 1);
      if (made !== undefined) out.set(String(name), made);
    }
    return out;
  };
  const made = convert(value, null, 0);
  if (made === undefined) throw new TypeError("not a value of JSON: undefined");
  return made;
}

/** A text that is the same for equal values, however their numbers are spelled and their keys ordered. */
export function canonicalJson(value: JsonValue): string {
  if (value instanceof JsonNumber) {
    const { negative, digits, point } = value.decimal;
    return digits === "" ? "0" : `${negative ? "-" : ""}${digits}e${point}`;
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!(value instanceof Map)) return JSON.stringify(value);
  const entries = [...value].map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`);
  return `{${entries.sort().join(",")}}`;
}

/** Whether two values are equal as JSON Schema has it: numbers by value (1 is 1.0), objects regardless of their order. */
export function equalJson(a: JsonValue, b: JsonValue): boolean {
  if (a instanceof JsonNumber) return b instanceof JsonNumber && a.equals(b);
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => equalJson(item, b[i]));
  }
  if (!(a instanceof Map)) return a === b;
  if (!(b instanceof Map) || a.size !== b.size) return false;
  for (const [key, item] of a) {
    const other = b.get(key);
    if (other === undefined || !equalJson(item, other)) return false;
  }
  return true;
}
