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

/** Deepest nesting of a program's values, which might run in a circle. */
const DEEPEST = 1000;

/**
 * A program's values as JSON.stringify sees them (undefined left out of objects and null in lists, `toJSON` called),
 * with bigints as whole numbers; values that are `JsonValue` already stay as they are.
 * @throws TypeError for NaN, infinities, functions and what is nested deeper than 1000 levels
 */
export function fromPlain(value: unknown): JsonValue {
  const made = convert(value, 0);
  if (made === undefined) throw new TypeError(`not a value of JSON: ${typeof value}`);
  return made;
}

function convert(value: unknown, depth: number): JsonValue | undefined {
  if (depth > DEEPEST) throw new TypeError(`not a value of JSON: nested deeper than ${DEEPEST} levels`);
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint") {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new TypeError(`not a value of JSON: ${value}`);
    }
    return JsonNumber.from(value);
  }
  if (value instanceof JsonNumber) return value;
  if (Array.isArray(value)) return value.map((item) => convert(item, depth + 1) ?? null);
  if (typeof value !== "object") {
    if (value === undefined) return undefined;
    throw new TypeError(`not a value of JSON: ${typeof value}`);
  }
  const own = value as { toJSON?: unknown };
  if (typeof own.toJSON === "function") return convert(own.toJSON(), depth + 1);
  const entries = value instanceof Map ? value : Object.entries(value);
  const out: JsonObject = new Map();
  for (const [key, item] of entries) {
    const made = convert(item, depth + 1);
    if (made !== undefined) out.set(String(key), made);
  }
  return out;
}

/** Whether two values are equal as JSON Schema has it: numbers by value (1 is 1.0), objects whatever their order. */
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
