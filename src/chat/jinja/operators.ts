/** Operators of Python on values of any type: arithmetic, comparison, membership, joining. */
import { compareCodePoints } from "../../json/index.ts";
import { fail, unsupported } from "./errors.ts";
import { formatPercent } from "./format-percent.ts";
import { escapeMarkup } from "./markup.ts";
import { type Arithmetic, arithmetic, asNumber, truncated } from "./numbers.ts";
import type { Runtime } from "./runtime.ts";
import { append, EMPTY, Str } from "./text.ts";
import {
  asInt,
  Dict,
  Float,
  HostObject,
  Iter,
  isInt,
  iterate,
  keyOf,
  List,
  Namespace,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.ts";

/** `left operator right`. @throws TemplateError */
export function binary(rt: Runtime, operator: Arithmetic, left: Value, right: Value): Value {
  if (operator === "+") {
    if (left instanceof Str && right instanceof Str) return addStrings(rt, left, right);
    if (left instanceof List && right instanceof List) {
      return new List(addLists(rt, left.items, right.items));
    }
    if (left instanceof Tuple && right instanceof Tuple) {
      return new Tuple(addLists(rt, left.items, right.items));
    }
  } else if (operator === "*") {
    const [sequence, times] = asInt(left) === undefined ? [left, right] : [right, left];
    const count = asInt(times);
    if (count !== undefined && asNumber(sequence) === undefined) {
      return repeat(rt, sequence, Math.max(0, Number(count)));
    }
  } else if (operator === "%" && left instanceof Str) {
    return formatPercent(rt, left, right);
  }
  rt.spend(costOf(left) + costOf(right));
  // As long as powers may get.
  if (operator === "**" && !(typeof right === "number" && right < 50)) rt.spend(4000);
  return arithmetic(operator, left, right);
}

/** Work that a number's length makes. */
function costOf(value: Value): number {
  return typeof value === "bigint" ? 500 : 0;
}

/** Where one of two strings is marked safe, the other is escaped. */
function addStrings(rt: Runtime, left: Str, right: Str): Str {
  const safe = left.safe || right.safe;
  const [a, b] =
    safe && left.safe !== right.safe ? [escapeMarkup(rt, left), escapeMarkup(rt, right)] : [left, right];
  rt.reserve(a.text.length + b.text.length);
  return append(a, b, safe);
}

function addLists(rt: Runtime, a: readonly Value[], b: readonly Value[]): Value[] {
  rt.spend((a.length + b.length) / 4);
  return [...a, ...b];
}

function repeat(rt: Runtime, value: Value, times: number): Value {
  if (value instanceof Str) {
    if (value.text === "") return value;
    rt.reserve(value.text.length * times);
    rt.scan(value.text.length * times);
    const { origin } = value;
    return new Str(
      value.text.repeat(times),
      typeof origin === "string" ? origin.repeat(times) : origin,
      value.safe,
    );
  }
  if (value instanceof List || value instanceof Tuple) {
    rt.spend(value.items.length * times);
    const items: Value[] = [];
    for (let n = 0; n < times && value.items.length > 0; n++)
      for (const item of value.items) items.push(item);
    return value instanceof List ? new List(items) : new Tuple(items);
  }
  if (value instanceof Undefined) value.raise();
  fail(`unsupported operand type(s) for *: '${typeName(value)}' and 'int'`);
}

/** `a ~ b ~ ..`. */
export function concatenate(rt: Runtime, parts: readonly Str[]): Str {
  let length = 0;
  for (const part of parts) length += part.text.length;
  rt.reserve(length);
  // One after the other, so that a text that grows is not copied each time.
  return parts.reduce((left, right) => append(left, right), EMPTY);
}

/** `-value` or `+value`. */
export function unary(operator: "+" | "-", value: Value): Value {
  const number = asNumber(value);
  if (number === undefined) {
    if (value instanceof Undefined) value.raise();
    fail(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  }
  if (operator === "+") return number;
  if (number instanceof Float) return new Float(-number.value);
  return arithmetic("-", 0, number);
}

/** Texts up to here are compared in no time. */
const LONG = 64;

/** Deepest nesting of values that are compared. */
const DEEPEST = 500;

/** `a == b`. */
export function equal(rt: Runtime, a: Value, b: Value, depth = 0): boolean {
  if (a === b) return true;
  if (a instanceof Str) {
    if (!(b instanceof Str) || a.text.length !== b.text.length) return false;
    if (a.text.length > LONG) rt.scan(a.text.length);
    return a.text === b.text;
  }
  const x = asNumber(a);
  if (x !== undefined) {
    const y = asNumber(b);
    if (y === undefined) return false;
    const [p, q] = [x instanceof Float ? x.value : x, y instanceof Float ? y.value : y];
    // biome-ignore lint/suspicious/noDoubleEquals: bigints and doubles are compared by value
    return p == q;
  }
  if (a === null || b === null) return false;
  if (a instanceof Undefined) return b instanceof Undefined;
  if (depth > DEEPEST) fail("maximum recursion depth exceeded in comparison");
  if (a instanceof List || a instanceof Tuple) {
    const other = a instanceof List ? b instanceof List : b instanceof Tuple;
    return other && equalItems(rt, a.items, (b as List | Tuple).items, depth);
  }
  if (a instanceof Dict) {
    if (!(b instanceof Dict) || a.size !== b.size) return false;
    rt.spend(a.size);
    for (const [key, [, item]] of a.entries) {
      const other = b.entries.get(key);
      if (other === undefined || !equal(rt, item, other[1], depth + 1)) return false;
    }
    return true;
  }
  if (a instanceof Range && b instanceof Range) {
    if (a.length !== b.length || a.length === 0) return a.length === b.length;
    return a.start === b.start && (a.length === 1 || a.step === b.step);
  }
  if (a instanceof View && b instanceof View && a.kind !== "values" && b.kind !== "values") {
    unsupported("comparing views of dicts");
  }
  return false;
}

function equalItems(rt: Runtime, a: readonly Value[], b: readonly Value[], depth: number): boolean {
  if (a.length !== b.length) return false;
  rt.spend(a.length);
  return a.every((item, i) => equal(rt, item, b[i], depth + 1));
}

export type Order = "<" | "<=" | ">" | ">=";

/** `a operator b`. @throws TemplateError for values without an order */
export function ordered(rt: Runtime, operator: Order, a: Value, b: Value, depth = 0): boolean {
  if (a instanceof Str && b instanceof Str) {
    rt.scan(Math.min(a.text.length, b.text.length) * 8);
    return holds(operator, a.text === b.text ? 0 : compareCodePoints(a.text, b.text));
  }
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== undefined && y !== undefined) {
    const [p, q] = [x instanceof Float ? x.value : x, y instanceof Float ? y.value : y];
    return operator === "<" ? p < q : operator === "<=" ? p <= q : operator === ">" ? p > q : p >= q;
  }
  if ((a instanceof List && b instanceof List) || (a instanceof Tuple && b instanceof Tuple)) {
    if (depth > DEEPEST) fail("maximum recursion depth exceeded in comparison");
    const length = Math.min(a.items.length, b.items.length);
    for (let i = 0; i < length; i++) {
      rt.spend(1);
      if (equal(rt, a.items[i], b.items[i])) continue;
      return ordered(rt, operator, a.items[i], b.items[i], depth + 1);
    }
    return holds(operator, a.items.length - b.items.length);
  }
  if (a instanceof Undefined) a.raise();
  if (b instanceof Undefined) b.raise();
  if (a instanceof View || b instanceof View) unsupported("comparing views of dicts");
  fail(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

function holds(operator: Order, sign: number): boolean {
  if (operator === "<") return sign < 0;
  if (operator === "<=") return sign <= 0;
  return operator === ">" ? sign > 0 : sign >= 0;
}

/** `item in container`. @throws TemplateError */
export function contains(rt: Runtime, container: Value, item: Value): boolean {
  if (container instanceof Str) {
    if (!(item instanceof Str)) {
      if (item instanceof Undefined) fail(`'in <string>' requires string as left operand, not Undefined`);
      fail(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    rt.scan(container.text.length);
    return container.text.includes(item.text);
  }
  if (container instanceof Dict) return container.entries.has(keyOf(item));
  if (container instanceof View && container.kind === "keys") return container.dict.entries.has(keyOf(item));
  if (container instanceof Range) {
    const number = asNumber(item);
    const at = number instanceof Float && Number.isInteger(number.value) ? truncated(number.value) : number;
    if (typeof at !== "number") return false;
    const index = (at - container.start) / container.step;
    return Number.isInteger(index) && index >= 0 && index < container.length;
  }
  const known = container instanceof List || container instanceof Tuple || container instanceof Iter;
  const other =
    container instanceof View || container instanceof Undefined || container instanceof HostObject;
  if (!known && !other) fail(`argument of type '${typeName(container)}' is not iterable`);
  for (const candidate of iterate(container)) {
    rt.spend(1);
    if (equal(rt, candidate, item)) return true;
  }
  return false;
}

/** Sorts as Python does: stably, asking only `<`. */
export function sortBy(
  rt: Runtime,
  items: readonly Value[],
  keyFor: (item: Value) => Value,
  reverse: boolean,
): Value[] {
  const keyed = items.map((item) => ({ item, key: keyFor(item) }));
  if (reverse) keyed.reverse();
  keyed.sort((a, b) => {
    rt.spend(4);
    if (ordered(rt, "<", a.key, b.key)) return -1;
    return ordered(rt, "<", b.key, a.key) ? 1 : 0;
  });
  if (reverse) keyed.reverse();
  return keyed.map(({ item }) => item);
}

/** Whether two names stand for one object. @throws TemplateError if that depends on how Python stores it */
export function same(a: Value, b: Value): boolean {
  if (a === b && (a === null || typeof a === "boolean" || typeof a === "object")) {
    if (!(a instanceof Str || a instanceof Float || (a instanceof Tuple && a.items.length === 0)))
      return true;
  }
  if (typeName(a) !== typeName(b)) return false;
  if (isInt(a) && isInt(b)) {
    if (a !== b) return false;
    if (a >= -5 && a <= 256) return true;
    unsupported("sameas of large numbers");
  }
  if (a instanceof Str || a instanceof Float) {
    if (!(a instanceof Str) || a.text === (b as Str).text) unsupported(`sameas of a ${typeName(a)}`);
    return false;
  }
  if (a instanceof Tuple && a.items.length === 0 && (b as Tuple).items.length === 0) return true;
  if (a instanceof Namespace || a instanceof List || a instanceof Dict || a instanceof Tuple) return false;
  if (a === null || typeof a === "boolean") return a === b;
  return unsupported(`sameas of a ${typeName(a)}`);
}
