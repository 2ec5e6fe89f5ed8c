/** Methods of Python's list, tuple, dict and range; those that change a value are the sandbox's to refuse. */
import { bind, signature } from "./arguments.ts";
import { fail } from "./errors.ts";
import { contains, equal } from "./operators.ts";
import type { Runtime } from "./runtime.ts";
import type { Method } from "./string-methods.ts";
import { Dict, indexOf, List, type Range, type Tuple, type Value, View } from "./values.ts";

/** What the sandbox keeps from templates, by type. */
export const MUTATORS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["list", new Set(["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"])],
  ["dict", new Set(["clear", "pop", "popitem", "setdefault", "update"])],
]);

const GET = signature("get(key, default?, /)");
const ONE = signature("count(value, /)");
const INDEX = signature("index(value, start?, stop?, /)");
const NONE = signature("copy()");

const view =
  (kind: View["kind"]): Method<Dict> =>
  (_rt, self, args, kwargs) => {
    bind({ ...NONE, name: kind }, args, kwargs);
    return new View(self, kind);
  };

export const dictMethods: ReadonlyMap<string, Method<Dict>> = new Map<string, Method<Dict>>([
  ["items", view("items")],
  ["keys", view("keys")],
  ["values", view("values")],
  [
    "get",
    (_rt, self, args, kwargs) => {
      const [key, fallback] = bind(GET, args, kwargs);
      const item = self.get(key as Value);
      if (item !== undefined) return item;
      return fallback === undefined ? null : fallback;
    },
  ],
  [
    "copy",
    (rt, self, args, kwargs) => {
      bind(NONE, args, kwargs);
      rt.spend(self.size);
      return new Dict(self.entries);
    },
  ],
]);

function count(rt: Runtime, items: readonly Value[], value: Value): number {
  rt.spend(items.length);
  return items.filter((item) => equal(rt, item, value)).length;
}

function index(rt: Runtime, items: readonly Value[], args: readonly Value[]): number {
  const [value, start, stop] = bind(INDEX, args, new Map());
  const place = (given: Value | undefined, missing: number) => {
    if (given === undefined) return missing;
    const at = indexOf(given);
    return at < 0 ? Math.max(0, at + items.length) : at;
  };
  const end = Math.min(items.length, place(stop, items.length));
  for (let at = place(start, 0); at < end; at++) {
    rt.spend(1);
    if (equal(rt, items[at], value as Value)) return at;
  }
  return fail("the value is not in the list");
}

export const listMethods: ReadonlyMap<string, Method<List>> = new Map<string, Method<List>>([
  ["count", (rt, self, args, kwargs) => count(rt, self.items, bind(ONE, args, kwargs)[0] as Value)],
  ["index", (rt, self, args) => index(rt, self.items, args)],
  [
    "copy",
    (_rt, self, args, kwargs) => {
      bind(NONE, args, kwargs);
      return new List(self.items);
    },
  ],
]);

export const tupleMethods: ReadonlyMap<string, Method<Tuple>> = new Map<string, Method<Tuple>>([
  ["count", (rt, self, args, kwargs) => count(rt, self.items, bind(ONE, args, kwargs)[0] as Value)],
  ["index", (rt, self, args) => index(rt, self.items, args)],
]);

export const rangeMethods: ReadonlyMap<string, Method<Range>> = new Map<string, Method<Range>>([
  ["count", (rt, self, args, kwargs) => (contains(rt, self, bind(ONE, args, kwargs)[0] as Value) ? 1 : 0)],
  [
    "index",
    (rt, self, args, kwargs) => {
      const [value] = bind({ ...ONE, name: "index" }, args, kwargs);
      if (!contains(rt, self, value as Value)) fail("the value is not in range");
      return (Number(value) - self.start) / self.step;
    },
  ],
]);
