/**
 * Values of a template as Python has them. JavaScript's null, booleans, whole numbers (bigints beyond 2^53) stand for
 * None, bool and int; everything else has a class. Lists and dicts never change once made, as in transformers' sandbox.
 */
import { fail, unsupported } from "./errors.ts";
import type { Runtime } from "./runtime.ts";
import { Str } from "./text.ts";

export type Value =
  | null
  | boolean
  | number
  | bigint
  | Float
  | Str
  | List
  | Tuple
  | Dict
  | Undefined
  | Range
  | View
  | Iter
  | Namespace
  | Callable
  | HostObject;

export type Kwargs = ReadonlyMap<string, Value>;
export const NO_KWARGS: Kwargs = new Map();

export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** What became of a value whose kind the template may want to be another (arguments of tool calls). */
export interface Watch {
  /** It was printed or joined as text. */
  printed: boolean;
  /** The template asked whether it is a string, a mapping or the like. */
  asked: boolean;
}

export class List {
  readonly items: readonly Value[];
  readonly watch: Watch | null;

  constructor(items: readonly Value[], watch: Watch | null = null) {
    this.items = items;
    this.watch = watch;
  }
}

export class Tuple {
  readonly items: readonly Value[];
  /** Names of the items, for what `groupby` gives. */
  readonly names: readonly string[];

  constructor(items: readonly Value[], names: readonly string[] = []) {
    this.items = items;
    this.names = names;
  }
}

/** What a dict tells its keys apart by. */
export type Key = string | number | bigint | null | undefined;

const LONGEST_KEY = 10_000;

/**
 * The key of a hashable value: equal for values that Python calls equal (1, 1.0 and True).
 * @throws TemplateError for lists, dicts and what has no value of its own
 */
export function keyOf(value: Value): Key {
  if (value instanceof Str) {
    const { text } = value;
    return text.charCodeAt(0) === 0 ? `\0s${text}` : text;
  }
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value === null || typeof value === "number" || typeof value === "bigint") return value;
  if (value instanceof Float) {
    const { value: number } = value;
    if (!Number.isInteger(number) || Number.isSafeInteger(number)) return number === 0 ? 0 : number;
    return BigInt(number);
  }
  if (value instanceof Undefined) return undefined;
  if (value instanceof Tuple) {
    const parts = value.items.map((item) => {
      const key = keyOf(item);
      return `${typeof key}:${String(key).length}:${String(key)}`;
    });
    const whole = `\0t${parts.join(",")}`;
    if (whole.length > LONGEST_KEY) unsupported(`a tuple of more than ${LONGEST_KEY} characters as a key`);
    return whole;
  }
  if (value instanceof List || value instanceof Dict) fail(`unhashable type: '${typeName(value)}'`);
  return unsupported(`a ${typeName(value)} as a key`);
}

export class Dict {
  readonly entries: ReadonlyMap<Key, readonly [key: Value, value: Value]>;
  readonly watch: Watch | null;

  constructor(entries: ReadonlyMap<Key, readonly [key: Value, value: Value]>, watch: Watch | null = null) {
    this.entries = entries;
    this.watch = watch;
  }

  /** From pairs; the last of equal keys wins, in the first one's place and spelling. */
  static of(pairs: Iterable<readonly [Value, Value]>): Dict {
    const entries = new Map<Key, readonly [Value, Value]>();
    for (const [key, value] of pairs) {
      const id = keyOf(key);
      entries.set(id, [entries.get(id)?.[0] ?? key, value]);
    }
    return new Dict(entries);
  }

  get(key: Value): Value | undefined {
    return this.entries.get(keyOf(key))?.[1];
  }

  /** The value under a string. */
  item(name: string): Value | undefined {
    return this.entries.get(name.charCodeAt(0) === 0 ? `\0s${name}` : name)?.[1];
  }

  get size(): number {
    return this.entries.size;
  }

  *keys(): Generator<Value, void> {
    for (const [key] of this.entries.values()) yield key;
  }
}

/** What a name or an attribute that is not there evaluates to; most uses of it raise. */
export class Undefined {
  readonly #message: () => string;

  constructor(message: string | (() => string)) {
    this.#message = typeof message === "string" ? () => message : message;
  }

  get message(): string {
    return this.#message();
  }

  raise(): never {
    fail(this.message);
  }
}

/** Numbers from `start` in steps of `step`. */
export class Range {
  readonly start: number;
  readonly stop: number;
  readonly step: number;
  readonly length: number;

  constructor(start: number, stop: number, step: number) {
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): number {
    return this.start + index * this.step;
  }
}

/** `dict.keys()`, `values()`, `items()`. */
export class View {
  readonly dict: Dict;
  readonly kind: "keys" | "values" | "items";

  constructor(dict: Dict, kind: View["kind"]) {
    this.dict = dict;
    this.kind = kind;
  }

  *[Symbol.iterator](): Generator<Value, void> {
    for (const [key, value] of this.dict.entries.values()) {
      yield this.kind === "keys" ? key : this.kind === "values" ? value : new Tuple([key, value]);
    }
  }
}

/** A generator or iterator: used up by what reads it. */
export class Iter {
  readonly #source: Iterator<Value, unknown>;
  /** Its type in Python. */
  readonly type: string;

  constructor(source: Iterable<Value>, type = "generator") {
    this.#source = source[Symbol.iterator]();
    this.type = type;
  }

  /** The next value; undefined (not a value of templates) behind the last. */
  next(): Value | undefined {
    const { done, value } = this.#source.next();
    return done ? undefined : value;
  }

  *[Symbol.iterator](): Generator<Value, void> {
    for (let value = this.next(); value !== undefined; value = this.next()) yield value;
  }
}

/** `namespace()`: what a template may assign to. */
export class Namespace {
  readonly attributes = new Map<string, Value>();
}

/** Something that can be called: a macro, a method, a function. */
export abstract class Callable {
  /** Its type in Python. */
  abstract readonly type: string;
  abstract call(rt: Runtime, args: readonly Value[], kwargs: Kwargs): Value;

  /** An attribute; undefined if it has none of this name. */
  attribute(name: string): Value | undefined {
    return unsupported(`attribute '${name}' of a ${this.type}`);
  }

  /** As it prints. */
  repr(_rt: Runtime): Str {
    return unsupported(`printing a ${this.type}, whose text is a memory address in Python,`);
  }
}

/** An object with attributes and methods but no operators, such as `loop` and `cycler`. */
export abstract class HostObject {
  abstract readonly type: string;
  abstract attribute(name: string, rt: Runtime): Value | undefined;

  repr(_rt: Runtime): Str {
    return unsupported(`printing a ${this.type}, whose text is a memory address in Python,`);
  }

  /** Where it can be called. */
  call?(rt: Runtime, args: readonly Value[], kwargs: Kwargs): Value;
  /** Where it can be iterated. */
  iterate?(): Iterable<Value>;
  /** Where it has a length. */
  size?(): number;
}

export class Builtin extends Callable {
  readonly type: string;
  readonly #body: (rt: Runtime, args: readonly Value[], kwargs: Kwargs) => Value;

  constructor(
    body: (rt: Runtime, args: readonly Value[], kwargs: Kwargs) => Value,
    type = "builtin_function_or_method",
  ) {
    super();
    this.#body = body;
    this.type = type;
  }

  call(rt: Runtime, args: readonly Value[], kwargs: Kwargs): Value {
    return this.#body(rt, args, kwargs);
  }
}

/** Name of a value's type in Python. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number" || typeof value === "bigint") return "int";
  if (value instanceof Float) return "float";
  if (value instanceof Str) return value.safe ? "Markup" : "str";
  if (value instanceof List) return "list";
  if (value instanceof Tuple) return "tuple";
  if (value instanceof Dict) return "dict";
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Range) return "range";
  if (value instanceof View) return `dict_${value.kind}`;
  if (value instanceof Namespace) return "Namespace";
  return value.type;
}

export function isInt(value: Value): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

/** A whole number as such; true and false as 1 and 0, as Python has it; undefined for all else. */
export function asInt(value: Value): number | bigint | undefined {
  if (typeof value === "boolean") return value ? 1 : 0;
  return isInt(value) ? value : undefined;
}

/** An index or a count. @throws TemplateError if it is none */
export function indexOf(value: Value): number {
  const int = asInt(value);
  if (int === undefined) {
    if (value instanceof Undefined) value.raise();
    fail(`'${typeName(value)}' object cannot be interpreted as an integer`);
  }
  // Beyond any length: where exactly makes no difference.
  return typeof int === "bigint" ? (int > 0n ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER) : int;
}

/** A string. @throws TemplateError for anything else */
export function textOf(value: Value, what: string): Str {
  if (value instanceof Str) return value;
  if (value instanceof Undefined) value.raise();
  fail(`${what} must be a str, not ${typeName(value)}`);
}

export function truth(value: Value): boolean {
  switch (typeof value) {
    case "boolean":
      return value;
    case "number":
      return value !== 0;
    case "bigint":
      return true;
  }
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Str) return value.text !== "";
  if (value instanceof Dict) return value.size > 0;
  if (value instanceof List || value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof Range) return value.length > 0;
  if (value instanceof View) return value.dict.size > 0;
  return true;
}

/** What a value gives one after the other. @throws TemplateError if it cannot be iterated */
export function iterate(value: Value): Iterable<Value> {
  if (value instanceof List || value instanceof Tuple) return value.items;
  if (value instanceof Str) return value.points();
  if (value instanceof Dict) return value.keys();
  if (value instanceof Iter || value instanceof View) return value;
  if (value instanceof Undefined) return [];
  if (value instanceof Range) {
    const range = value;
    return (function* () {
      for (let i = 0; i < range.length; i++) yield range.at(i);
    })();
  }
  if (value instanceof HostObject && value.iterate !== undefined) return value.iterate();
  fail(`'${typeName(value)}' object is not iterable`);
}

/** All that a value gives, paid for. @throws TemplateError */
export function listOf(rt: Runtime, value: Value): Value[] {
  const items: Value[] = [];
  for (const item of iterate(value)) {
    rt.spend(value instanceof Str ? 6 : 3);
    items.push(item);
  }
  return items;
}

/** `len`; undefined for what has none. */
export function sizeOf(value: Value): number | undefined {
  if (value instanceof Str) return value.length;
  if (value instanceof List || value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof Range) return value.length;
  if (value instanceof View) return value.dict.size;
  if (value instanceof Undefined) return 0;
  return value instanceof HostObject ? value.size?.() : undefined;
}
