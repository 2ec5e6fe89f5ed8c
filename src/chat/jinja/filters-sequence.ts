/** Filters of jinja2 on lists, dicts and other sequences. Those that are generators there are read lazily here too. */
import { getAttribute, getItem, hasAttribute, slice } from "./access.ts";
import { isDigit } from "./chars.ts";
import { fail, unsupported } from "./errors.ts";
import { type Engine, type Filter, filter } from "./filter.ts";
import { asNumber } from "./numbers.ts";
import { binary, equal, ordered, sortBy } from "./operators.ts";
import type { Runtime } from "./runtime.ts";
import { literal, Str } from "./text.ts";
import {
  Dict,
  Float,
  Iter,
  indexOf,
  iterate,
  type Kwargs,
  keyOf,
  List,
  listOf,
  Range,
  sizeOf,
  Tuple,
  textOf,
  truth,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.ts";

type Getter = (item: Value) => Value;

const lowered: Getter = (value) => (value instanceof Str ? value.map((text) => text.toLowerCase()) : value);

/** The parts of `a.b.0`. */
function pathOf(attribute: Value | undefined): Value[] {
  if (attribute === undefined || attribute === null) return [];
  if (!(attribute instanceof Str)) return [attribute];
  return attribute.text.split(".").map((part) => {
    if (part === "" || !isDigit(part)) return literal(part);
    if (!/^\d+$/.test(part)) unsupported("an attribute with digits of another script");
    return Number(part);
  });
}

/** Reads an attribute, or an attribute of one, from an item. */
function getter(
  rt: Runtime,
  attribute: Value | undefined,
  after: Getter | null,
  fallback: Value = null,
): Getter {
  const path = pathOf(attribute);
  return (item) => {
    let value = item;
    for (const part of path) {
      rt.spend(1);
      value = getItem(rt, value, part);
      if (fallback !== null && value instanceof Undefined) value = fallback;
    }
    return after === null ? value : after(value);
  };
}

/** Reads several attributes, divided by commas, as one list. */
function getters(rt: Runtime, attribute: Value | undefined, after: Getter | null): Getter {
  const names = attribute instanceof Str ? attribute.text.split(",").map(literal) : [attribute];
  const all = names.map((name) => getter(rt, name, after));
  return (item) => new List(all.map((get) => get(item)));
}

const caseless = (sensitive: Value | undefined) => (truth(sensitive ?? false) ? null : lowered);

function extreme(
  rt: Runtime,
  value: Value,
  [sensitive, attribute]: readonly (Value | undefined)[],
  least: boolean,
): Value {
  const get = getter(rt, attribute, caseless(sensitive));
  let best: { item: Value; key: Value } | null = null;
  for (const item of iterate(value)) {
    rt.spend(2);
    const key = get(item);
    if (best === null || ordered(rt, least ? "<" : ">", key, best.key)) best = { item, key };
  }
  return best === null ? new Undefined("No aggregated item, sequence was empty.") : best.item;
}

function sum(rt: Runtime, value: Value, attribute: Value | undefined, start: Value): Value {
  if (typeName(start) === "str") fail("sum() can't sum strings [use ''.join(seq) instead]");
  const get = attribute === undefined || attribute === null ? null : getter(rt, attribute, null);
  let total: Value = start;
  let [high, low] = [0, 0];
  let floats = false;
  for (const item of iterate(value)) {
    const next = get === null ? item : get(item);
    rt.spend(4);
    total = binary(rt, "+", total, next);
    const number = asNumber(next);
    floats ||= number instanceof Float;
    // From version 3.12 on, Python carries what gets lost along.
    const x = number instanceof Float ? number.value : Number(number ?? 0);
    const added = high + x;
    low += Math.abs(high) >= Math.abs(x) ? high - added + x : x - added + high;
    high = added;
  }
  if (floats && start === 0 && total instanceof Float && high + low !== total.value) {
    unsupported("a sum of floats that depends on the version of Python");
  }
  return total;
}

function reversed(rt: Runtime, value: Value): Value {
  if (value instanceof Str) return slice(rt, value, null, null, -1);
  const backwards = (items: readonly Value[], type: string) =>
    new Iter(
      (function* () {
        for (let i = items.length - 1; i >= 0; i--) yield items[i];
      })(),
      type,
    );
  if (value instanceof List) return backwards(value.items, "list_reverseiterator");
  if (value instanceof Tuple || value instanceof Undefined) return backwards([...iterate(value)], "reversed");
  if (value instanceof Range) return backwards(listOf(rt, value), "range_iterator");
  if (value instanceof Dict) return backwards(listOf(rt, value), "dict_reversekeyiterator");
  if (value instanceof View) return backwards(listOf(rt, value), "dict_reverseiterator");
  return new List(listOf(rt, value).reverse());
}

function last(rt: Runtime, value: Value): Value {
  if (value instanceof Iter) fail(`'${value.type}' object is not reversible`);
  if (value instanceof Str)
    return value.text === "" ? noLast() : lastOf([...value.slice(-2 + value.text.length).points()]);
  if (value instanceof List || value instanceof Tuple) return lastOf(value.items);
  return lastOf(listOf(rt, value));
}

const noLast = () => new Undefined("No last item, sequence was empty.");
const lastOf = (items: readonly Value[]): Value => (items.length === 0 ? noLast() : items[items.length - 1]);

function slices(rt: Runtime, value: Value, given: Value, filler: Value): Iter {
  return new Iter(
    (function* () {
      const items = listOf(rt, value);
      const count = indexOf(given);
      if (count === 0) fail("integer division or modulo by zero");
      const each = Math.floor(items.length / count);
      const longer = items.length - each * count;
      let offset = 0;
      for (let n = 0; n < count; n++) {
        rt.spend(1 + each);
        const start = offset + n * each;
        if (n < longer) offset++;
        const part = items.slice(start, offset + (n + 1) * each);
        if (filler !== null && n >= longer) part.push(filler);
        yield new List(part);
      }
    })(),
  );
}

function batches(rt: Runtime, value: Value, size: Value, filler: Value): Iter {
  return new Iter(
    (function* () {
      let part: Value[] = [];
      for (const item of iterate(value)) {
        rt.spend(1);
        if (equal(rt, part.length, size)) {
          yield new List(part);
          part = [];
        }
        part.push(item);
      }
      if (part.length === 0) return;
      if (filler !== null) {
        while (ordered(rt, "<", part.length, size)) {
          rt.spend(1);
          part.push(filler);
        }
      }
      yield new List(part);
    })(),
  );
}

function unique(rt: Runtime, value: Value, sensitive: Value | undefined, attribute: Value | undefined): Iter {
  const get = getter(rt, attribute, caseless(sensitive));
  return new Iter(
    (function* () {
      const seen = new Set<unknown>();
      for (const item of iterate(value)) {
        rt.spend(2);
        const key = keyOf(get(item));
        if (seen.has(key)) continue;
        seen.add(key);
        yield item;
      }
    })(),
  );
}

function groups(
  rt: Runtime,
  value: Value,
  [attribute, fallback, sensitive]: readonly (Value | undefined)[],
): List {
  const key = getter(rt, attribute, caseless(sensitive), fallback ?? null);
  const shown = getter(rt, attribute, null, fallback ?? null);
  const out: { key: Value; items: Value[] }[] = [];
  for (const item of sortBy(rt, listOf(rt, value), key, false)) {
    const found = key(item);
    const group = out.at(-1);
    if (group !== undefined && equal(rt, group.key, found)) group.items.push(item);
    else out.push({ key: found, items: [item] });
  }
  const names = ["grouper", "list"];
  return new List(
    out.map(({ key, items }) => {
      const grouper = truth(sensitive ?? false) ? key : shown(items[0]);
      return new Tuple([grouper, new List(items)], names);
    }),
  );
}

function map(rt: Runtime, value: Value, args: readonly Value[], kwargs: Kwargs, engine: Engine): Iter {
  return new Iter(
    (function* () {
      if (!truth(value)) return;
      let change: Getter;
      const attribute = args.length === 0 ? kwargs.get("attribute") : undefined;
      if (attribute !== undefined) {
        const other = [...kwargs.keys()].find((name) => name !== "attribute" && name !== "default");
        if (other !== undefined) fail(`Unexpected keyword argument '${other}'`);
        change = getter(rt, attribute, null, kwargs.get("default") ?? null);
      } else {
        if (args.length === 0) fail("map requires a filter argument");
        const [name, ...rest] = args;
        change = (item) => engine.filter(rt, name, item, rest, kwargs);
      }
      for (const item of iterate(value)) {
        rt.spend(6);
        yield change(item);
      }
    })(),
  );
}

/** `select`, `reject` and similar filters on attributes. */
const selection =
  (wanted: boolean, byAttribute: boolean): Filter =>
  (rt, value, args, kwargs, engine) =>
    new Iter(
      (function* () {
        if (!truth(value)) return;
        if (byAttribute && args.length === 0) fail("Missing parameter for attribute name");
        const get = byAttribute ? getter(rt, args[0], null) : null;
        const [name, ...rest] = byAttribute ? args.slice(1) : args;
        for (const item of iterate(value)) {
          rt.spend(2);
          const subject = get === null ? item : get(item);
          const holds = name === undefined ? truth(subject) : engine.test(rt, name, subject, rest, kwargs);
          if (holds === wanted) yield item;
        }
      })(),
    );

const length = filter("len(obj, /)", (rt, value) => {
  if (value instanceof Str) rt.measure(value);
  const size = sizeOf(value);
  if (size === undefined) fail(`object of type '${typeName(value)}' has no len()`);
  return size;
});

const orElse = filter("default(value, default_value?, boolean?)", (_rt, value, [fallback, falsy]) => {
  const absent = value instanceof Undefined || (truth(falsy ?? false) && !truth(value));
  return absent ? (fallback === undefined ? literal("") : fallback) : value;
});

export const sequenceFilters: readonly (readonly [names: string, filter: Filter])[] = [
  ["length count", length],
  ["default d", orElse],
  [
    "first",
    filter("first(seq)", (_rt, value) => {
      for (const item of iterate(value)) return item;
      return new Undefined("No first item, sequence was empty.");
    }),
  ],
  ["last", filter("last(seq)", (rt, value) => last(rt, value))],
  ["list", filter("list(value)", (rt, value) => new List(listOf(rt, value)))],
  ["reverse", filter("reverse(value)", (rt, value) => reversed(rt, value))],
  [
    "sort",
    filter(
      "sort(value, reverse?, case_sensitive?, attribute?)",
      (rt, value, [back, sensitive, attribute]) => {
        const key = getters(rt, attribute, caseless(sensitive));
        return new List(sortBy(rt, listOf(rt, value), key, back !== undefined && indexOf(back) !== 0));
      },
    ),
  ],
  [
    "dictsort",
    filter("dictsort(value, case_sensitive?, by?, reverse?)", (rt, value, [sensitive, by, back]) => {
      const name = by === undefined ? "key" : textOf(by, "by").text;
      if (name !== "key" && name !== "value") fail('You can only sort by either "key" or "value"');
      if (!(value instanceof Dict)) {
        if (value instanceof Undefined) value.raise();
        fail(`'${typeName(value)}' object has no attribute 'items'`);
      }
      const after = caseless(sensitive);
      const key = (pair: Value) => {
        const item = (pair as Tuple).items[name === "key" ? 0 : 1];
        return after === null ? item : after(item);
      };
      const pairs = listOf(rt, new View(value, "items"));
      return new List(sortBy(rt, pairs, key, back !== undefined && indexOf(back) !== 0));
    }),
  ],
  [
    "unique",
    filter("unique(value, case_sensitive?, attribute?)", (rt, value, [sensitive, attribute]) =>
      unique(rt, value, sensitive, attribute),
    ),
  ],
  [
    "min",
    filter("min(value, case_sensitive?, attribute?)", (rt, value, rest) => extreme(rt, value, rest, true)),
  ],
  [
    "max",
    filter("max(value, case_sensitive?, attribute?)", (rt, value, rest) => extreme(rt, value, rest, false)),
  ],
  [
    "sum",
    filter("sum(iterable, attribute?, start?)", (rt, value, [attribute, start]) =>
      sum(rt, value, attribute, start === undefined ? 0 : start),
    ),
  ],
  [
    "slice",
    filter("slice(value, slices, fill_with?)", (rt, value, [count, filler]) =>
      slices(rt, value, count as Value, filler ?? null),
    ),
  ],
  [
    "batch",
    filter("batch(value, linecount, fill_with?)", (rt, value, [size, filler]) =>
      batches(rt, value, size as Value, filler ?? null),
    ),
  ],
  [
    "groupby",
    filter("groupby(value, attribute, default?, case_sensitive?)", (rt, value, rest) =>
      groups(rt, value, rest),
    ),
  ],
  [
    "items",
    filter(
      "items(value)",
      (_rt, value) =>
        new Iter(
          (function* () {
            if (value instanceof Undefined) return;
            if (!(value instanceof Dict)) fail("Can only get item pairs from a mapping.");
            yield* new View(value, "items");
          })(),
        ),
    ),
  ],
  [
    "attr",
    filter("attr(obj, name)", (rt, value, [name]) => {
      const { text } = textOf(name as Value, "the name of an attribute");
      if (!hasAttribute(rt, value, text))
        return new Undefined(`'${typeName(value)}' object has no attribute '${text}'`);
      return getAttribute(rt, value, text);
    }),
  ],
  ["map", map],
  ["select", selection(true, false)],
  ["reject", selection(false, false)],
  ["selectattr", selection(true, true)],
  ["rejectattr", selection(false, true)],
];
