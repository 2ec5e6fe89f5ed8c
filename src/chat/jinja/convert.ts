/** Data for a template, from ordinary JavaScript values or from JSON with its digits and the order of its keys. */
import { JsonNumber } from "../../json/index.ts";
import { Pace, type Slices } from "../../tokenizer/slices.ts";
import { TemplateError } from "./errors.ts";
import { DATA, type Origin, Str } from "./text.ts";
import { Dict, Float, type Key, List, type Value, type Watch } from "./values.ts";

/** Deepest nesting of data; Python's own limit is near. */
const DEEPEST = 400;

/** A value of the data that has an origin or its own watch. */
export class Given {
  readonly value: unknown;
  readonly origin: Origin;
  readonly watch: Watch | null;

  constructor(value: unknown, origin: Origin = DATA, watch: Watch | null = null) {
    this.value = value;
    this.origin = origin;
    this.watch = watch;
  }
}

/** What a value costs, in the characters of `Pace`. */
const VALUE = 8;

/** Turns data into values, and measures it. */
export class Converter {
  /** Characters, and eight for each value. */
  size = 0;
  readonly #pace = new Pace();

  /** @param origin of the strings @throws TemplateError for functions and what is nested too deeply */
  *convert(value: unknown, origin: Origin = DATA, depth = 0, watch: Watch | null = null): Slices<Value> {
    this.size += VALUE;
    if (this.#pace.due(VALUE)) yield;
    switch (typeof value) {
      case "string":
        this.size += value.length;
        return new Str(value, origin);
      case "boolean":
        return value;
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? value : wide(value);
      case "bigint":
        return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    if (value === null || value === undefined) return null;
    if (typeof value !== "object")
      throw new TemplateError("runtime", `a ${typeof value} is no value of a template`);
    if (value instanceof JsonNumber) return numberOf(value);
    if (value instanceof Given) return yield* this.convert(value.value, value.origin, depth, value.watch);
    if (depth >= DEEPEST) {
      throw new TemplateError("limit", `the data is nested deeper than ${DEEPEST} levels`);
    }
    if (Array.isArray(value)) {
      const items: Value[] = [];
      for (const item of value) items.push(yield* this.convert(item, origin, depth + 1));
      return new List(items, watch);
    }
    const entries = new Map<Key, readonly [Value, Value]>();
    for (const [name, item] of value instanceof Map ? value : Object.entries(value)) {
      // As in JSON, what is undefined is not there.
      if (item === undefined) continue;
      const key = String(name);
      this.size += key.length;
      const id = key.charCodeAt(0) === 0 ? `\0s${key}` : key;
      entries.set(id, [new Str(key, origin), yield* this.convert(item, origin, depth + 1)]);
    }
    return new Dict(entries, watch);
  }
}

/** A number beyond the whole ones that doubles tell apart. */
function wide(value: number): Value {
  if (Number.isInteger(value) && !Object.is(value, -0) && Math.abs(value) < 1e21) return BigInt(value);
  return new Float(value);
}

/** As Python's `json.loads` reads it: without point and exponent it is a whole number. */
function numberOf(number: JsonNumber): Value {
  if (!number.isIntegerText) return new Float(number.toNumber());
  const value = number.toBigInt();
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
