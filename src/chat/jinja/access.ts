/**
 * Attributes, items and slices of values. As in jinja2, `a.b` looks for an attribute of Python's type first and then for
 * an item, `a['b']` the other way round; what is in neither is undefined. Attributes that Python has and this engine
 * does not are refused by name.
 */
import { bind, signature } from "./arguments.ts";
import { fail, unsupported } from "./errors.ts";
import { formatMap, formatString } from "./format-string.ts";
import { dictMethods, listMethods, MUTATORS, rangeMethods, tupleMethods } from "./methods.ts";
import { asNumber, fractionOf, truncated, whole } from "./numbers.ts";
import { repr } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { type Method, stringMethods } from "./string-methods.ts";
import { literal, Str } from "./text.ts";
import {
  asInt,
  Builtin,
  Callable,
  Dict,
  Float,
  HostObject,
  Iter,
  indexOf,
  List,
  Namespace,
  NO_KWARGS,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** Methods of Python's types that are left out, by type. */
const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  str: ["encode", "maketrans", "translate"],
  Markup: ["encode", "maketrans", "translate", "escape", "striptags", "unescape"],
  dict: ["fromkeys"],
  dict_keys: ["isdisjoint", "mapping"],
  dict_values: ["mapping"],
  dict_items: ["isdisjoint", "mapping"],
  int: ["from_bytes", "to_bytes", "is_integer"],
  float: ["fromhex", "hex"],
};

const FORMATS = new Map<string, Method<Str>>([
  ["format", (rt, self, args, kwargs) => formatString(rt, self, args, kwargs, { getAttribute, getItem })],
  [
    "format_map",
    (rt, self, args, kwargs) => {
      const [values] = bind(FORMAT_MAP, args, kwargs);
      if (values instanceof Undefined) values.raise();
      if (!(values instanceof Dict)) fail("format_map() needs a mapping");
      return formatMap(rt, self, (name) => values.item(name), { getAttribute, getItem });
    },
  ],
]);
const FORMAT_MAP = signature("format_map(mapping, /)");

function method<T extends Value>(self: T, name: string, body: Method<T>): Callable {
  return new Builtin((rt, args, kwargs) => body(rt, self, args, kwargs, name));
}

/** The method of a value; undefined if its type has none of this name. */
export function methodOf(value: Value, name: string): Method<never> | undefined {
  if (value instanceof Str) return name.startsWith("format") ? FORMATS.get(name) : stringMethods.get(name);
  if (value instanceof Dict) return dictMethods.get(name);
  if (value instanceof List) return listMethods.get(name);
  if (value instanceof Tuple) return tupleMethods.get(name);
  if (value instanceof Range) return rangeMethods.get(name);
  return undefined;
}

/** An attribute of Python's type; undefined (not a value of templates) if it has none. */
function attributeOf(rt: Runtime, value: Value, name: string): Value | undefined {
  if (value instanceof Namespace) return value.attributes.get(name);
  if (name.startsWith("__")) return undefined;
  const body = methodOf(value, name);
  if (body !== undefined) return method(value as never, name, body);
  if ((value instanceof Dict || value instanceof List) && MUTATORS.get(typeName(value))?.has(name)) {
    return new Undefined(`the sandbox does not let templates call '${name}' of a ${typeName(value)}`);
  }
  if (LEFT_OUT[typeName(value)]?.includes(name)) unsupported(`${typeName(value)}.${name}`);
  if (value instanceof Callable || value instanceof HostObject) {
    rt.spend(3);
    return value.attribute(name, rt);
  }
  if (value instanceof Tuple) {
    const at = value.names.indexOf(name);
    return at < 0 ? undefined : value.items[at];
  }
  if (value instanceof Range && ["start", "stop", "step"].includes(name)) {
    return value[name as "start" | "stop" | "step"];
  }
  if (value instanceof Iter && value.type === "generator" && /^(close|send|throw|gi_\w+)$/.test(name)) {
    unsupported(`attribute '${name}' of a generator`);
  }
  const number = asNumber(value);
  return number === undefined ? undefined : numberAttribute(number, name);
}

function numberAttribute(number: number | bigint | Float, name: string): Value | undefined {
  const give = (value: Value) => new Builtin(() => value);
  if (name === "real") return number;
  if (name === "imag") return number instanceof Float ? new Float(0) : 0;
  if (name === "conjugate") return give(number);
  if (number instanceof Float) {
    if (name === "is_integer") return give(Number.isInteger(number.value));
    if (name !== "as_integer_ratio") return undefined;
    return new Builtin(() => {
      truncated(number.value);
      const { numerator, denominator } = fractionOf(number.value);
      return new Tuple([whole(numerator), whole(denominator)]);
    });
  }
  if (name === "numerator") return number;
  if (name === "denominator") return 1;
  if (name === "as_integer_ratio") return give(new Tuple([number, 1]));
  const bits = (number < 0 ? -BigInt(number) : BigInt(number)).toString(2);
  if (name === "bit_length") return give(bits === "0" ? 0 : bits.length);
  if (name === "bit_count") return give(bits.replaceAll("0", "").length);
  return undefined;
}

/** Whether Python's type has an attribute of this name, which templates may still not see. */
function isPrivate(value: Value, name: string): boolean {
  return value instanceof Namespace ? name.startsWith("_") : false;
}

/** Attributes that every object of Python has. */
const COMMON = new Set(
  "class delattr dir doc eq format ge getattribute gt hash init init_subclass le lt ne new reduce reduce_ex repr setattr sizeof str subclasshook"
    .split(" ")
    .map((name) => `__${name}__`),
);

/** Attributes of Python's dict, which hide items of the same name. */
const OF_DICTS: ReadonlySet<string> = new Set([
  ...dictMethods.keys(),
  ...(MUTATORS.get("dict") ?? []),
  ...LEFT_OUT.dict,
]);

/** `value.name`. @throws TemplateError */
export function getAttribute(rt: Runtime, value: Value, name: string): Value {
  if (value instanceof Dict && !OF_DICTS.has(name) && !name.startsWith("_")) {
    const item = value.item(name);
    return item === undefined ? missing(rt, value, literal(name)) : item;
  }
  if (value instanceof Undefined) value.raise();
  if (COMMON.has(name)) return unsafe(value, name);
  const attribute = attributeOf(rt, value, name);
  if (attribute !== undefined) return isPrivate(value, name) ? unsafe(value, name) : attribute;
  if (value instanceof Dict) {
    const item = value.item(name);
    if (item !== undefined) return item;
    // Which of these Python's dict has is not known here.
    if (/^__\w+__$/.test(name)) return unsafe(value, name);
  }
  return missing(rt, value, literal(name));
}

function unsafe(value: Value, name: string): Undefined {
  return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
}

function missing(rt: Runtime, value: Value, key: Value): Undefined {
  const type = value === null ? "None" : `'${typeName(value)} object'`;
  return new Undefined(() => {
    if (key instanceof Str) return `${type} has no attribute '${key.text}'`;
    return `${type} has no element ${repr(rt, key).text}`;
  });
}

/** `value[key]`. @throws TemplateError */
export function getItem(rt: Runtime, value: Value, key: Value): Value {
  if (value instanceof Dict) {
    if (!(key instanceof List || key instanceof Dict)) {
      const item = value.get(key);
      if (item !== undefined) return item;
    }
  } else if (value instanceof Undefined) value.raise();
  else {
    const index = asInt(key);
    if (index !== undefined) {
      const item = itemAt(rt, value, index);
      if (item !== undefined) return item;
    }
  }
  if (!(key instanceof Str)) return missing(rt, value, key);
  const { text } = key;
  if (COMMON.has(text)) return unsafe(value, text);
  const attribute = attributeOf(rt, value, text);
  if (attribute === undefined) return missing(rt, value, key);
  return isPrivate(value, text) ? unsafe(value, text) : attribute;
}

function itemAt(rt: Runtime, value: Value, index: number | bigint): Value | undefined {
  if (typeof index === "bigint") return undefined;
  if (value instanceof List || value instanceof Tuple) {
    return value.items[index < 0 ? index + value.items.length : index];
  }
  if (value instanceof Range) {
    const at = index < 0 ? index + value.length : index;
    return at >= 0 && at < value.length ? value.at(at) : undefined;
  }
  if (!(value instanceof Str)) return undefined;
  rt.measure(value);
  const at = index < 0 ? index + value.length : index;
  if (at < 0 || at >= value.length) return undefined;
  const from = value.unit(at);
  return value.slice(from, from + (value.wide && (value.text.codePointAt(from) as number) > 0xffff ? 2 : 1));
}

/** Beginning, end and step of a slice of `length` items, as Python reads them. */
function bounds(length: number, start: Value, stop: Value, step: Value): [number, number, number] {
  const by = step === null ? 1 : indexOf(step);
  if (by === 0) fail("slice step cannot be zero");
  const [least, most] = by < 0 ? [-1, length - 1] : [0, length];
  const place = (value: Value, missing: number) => {
    if (value === null) return missing;
    const index = indexOf(value);
    return index < 0 ? Math.max(least, index + length) : Math.min(most, index);
  };
  return [place(start, by < 0 ? most : least), place(stop, by < 0 ? least : most), by];
}

/** `value[start:stop:step]`, null for what is left out. @throws TemplateError */
export function slice(rt: Runtime, value: Value, start: Value, stop: Value, step: Value): Value {
  if (value instanceof Undefined) value.raise();
  if (value instanceof Range) {
    const [from, to, by] = bounds(value.length, start, stop, step);
    return new Range(value.at(from), value.at(to), value.step * by);
  }
  if (value instanceof Str) {
    rt.measure(value);
    const [from, to, by] = bounds(value.length, start, stop, step);
    if (by === 1) {
      const first = value.unit(from);
      return value.slice(first, Math.max(first, value.unit(to)));
    }
    return pickCharacters(rt, value, from, to, by);
  }
  if (value instanceof List || value instanceof Tuple) {
    const [from, to, by] = bounds(value.items.length, start, stop, step);
    let items: Value[];
    if (by === 1) {
      items = value.items.slice(from, Math.max(from, to));
      rt.spend(items.length / 4);
    } else {
      items = [];
      for (let i = from; by < 0 ? i > to : i < to; i += by) items.push(value.items[i]);
      rt.spend(items.length);
    }
    return value instanceof List ? new List(items) : new Tuple(items);
  }
  for (const part of [start, stop, step]) if (part !== null) indexOf(part);
  if (value instanceof Dict) fail("unhashable type: 'slice'");
  fail(`'${typeName(value)}' object is not subscriptable`);
}

function pickCharacters(rt: Runtime, value: Str, from: number, to: number, by: number): Str {
  const texts = value.wide ? [...value.text] : value.text;
  const { origin } = value;
  const origins =
    typeof origin === "string" && value.wide ? [...value.points()].map((p) => p.originAt(0)) : origin;
  const [text, marks]: [string[], string[]] = [[], []];
  for (let i = from; by < 0 ? i > to : i < to; i += by) {
    rt.spend(2);
    text.push(texts[i]);
    if (typeof origins !== "number") marks.push(String(origins[i]).repeat(texts[i].length));
  }
  return new Str(text.join(""), typeof origin === "string" ? marks.join("") : origin, value.safe);
}

/** `value.name(..)`, without making the method a value first. @throws TemplateError */
export function callMethod(
  rt: Runtime,
  value: Value,
  name: string,
  args: readonly Value[],
  kwargs: ReadonlyMap<string, Value> = NO_KWARGS,
): Value {
  const body = methodOf(value, name);
  if (body !== undefined) return body(rt, value as never, args, kwargs, name);
  return call(rt, getAttribute(rt, value, name), args, kwargs);
}

/** `callee(..)`. @throws TemplateError */
export function call(
  rt: Runtime,
  callee: Value,
  args: readonly Value[],
  kwargs: ReadonlyMap<string, Value> = NO_KWARGS,
): Value {
  if (callee instanceof Callable) return callee.call(rt, args, kwargs);
  if (callee instanceof HostObject && callee.call !== undefined) return callee.call(rt, args, kwargs);
  if (callee instanceof Undefined) callee.raise();
  fail(`'${typeName(callee)}' object is not callable`);
}

/** Whether Python would find an attribute of this name (the filter `attr`). */
export function hasAttribute(rt: Runtime, value: Value, name: string): boolean {
  if (value instanceof Undefined) value.raise();
  return COMMON.has(name) || attributeOf(rt, value, name) !== undefined;
}
