/** The functions that every template can call. */
import { bind, signature } from "./arguments.ts";
import { fail, TemplateError, unsupported } from "./errors.ts";
import { str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { strftime } from "./strftime.ts";
import { literal, type Str } from "./text.ts";
import {
  Builtin,
  Callable,
  Dict,
  HostObject,
  indexOf,
  iterate,
  type Kwargs,
  listOf,
  Namespace,
  Range,
  Tuple,
  textOf,
  type Value,
} from "./values.ts";

/** Longest range that the sandbox allows. */
const LONGEST_RANGE = 100_000;

function range(args: readonly Value[], kwargs: Kwargs): Range {
  if (kwargs.size > 0) fail("range() takes no keyword arguments");
  if (args.length < 1 || args.length > 3) fail(`range expected 1 to 3 arguments, got ${args.length}`);
  const numbers = args.map(indexOf);
  const [start, stop, step] =
    numbers.length === 1 ? [0, numbers[0], 1] : [numbers[0], numbers[1], numbers[2] ?? 1];
  if (step === 0) fail("range() arg 3 must not be zero");
  const made = new Range(start, stop, step);
  if (made.length > LONGEST_RANGE) {
    throw new TemplateError(
      "limit",
      `range() of more than ${LONGEST_RANGE} numbers, which the sandbox forbids`,
    );
  }
  return made;
}

/** `dict(..)`, and what `namespace(..)` starts from. */
function pairs(rt: Runtime, name: string, args: readonly Value[], kwargs: Kwargs): [Value, Value][] {
  if (args.length > 1) fail(`${name} expected at most 1 argument, got ${args.length}`);
  const [first] = args;
  const out: [Value, Value][] = [];
  if (first instanceof Dict) for (const [key, value] of first.entries.values()) out.push([key, value]);
  else if (first !== undefined) {
    for (const item of iterate(first)) {
      const pair = listOf(rt, item);
      if (pair.length !== 2) fail(`${name} update sequence element has length ${pair.length}; 2 is required`);
      out.push([pair[0], pair[1]]);
    }
  }
  rt.spend(out.length * 4);
  for (const [key, value] of kwargs) out.push([literal(key), value]);
  return out;
}

function namespace(rt: Runtime, args: readonly Value[], kwargs: Kwargs): Namespace {
  const made = new Namespace();
  for (const [key, value] of pairs(rt, "dict", args, kwargs)) {
    made.attributes.set(textOf(key, "the name of an attribute").text, value);
  }
  return made;
}

/** Gives its items in turn. */
class Cycler extends HostObject {
  readonly type = "Cycler";
  readonly #items: readonly Value[];
  #at = 0;

  constructor(items: readonly Value[]) {
    super();
    if (items.length === 0) fail("at least one item has to be provided");
    this.#items = items;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "current":
        return this.#items[this.#at];
      case "items":
        return new Tuple(this.#items);
      case "pos":
        return this.#at;
      case "next":
        return new Builtin(() => {
          const item = this.#items[this.#at];
          this.#at = (this.#at + 1) % this.#items.length;
          return item;
        });
      case "reset":
        return new Builtin(() => {
          this.#at = 0;
          return null;
        });
    }
    return undefined;
  }
}

/** Gives nothing once, and then always its separator. */
class Joiner extends HostObject {
  readonly type = "Joiner";
  readonly #separator: Value;
  #used = false;

  constructor(separator: Value) {
    super();
    this.#separator = separator;
  }

  attribute(name: string): Value | undefined {
    if (name === "sep") return this.#separator;
    return name === "used" ? this.#used : undefined;
  }

  override call(): Value {
    if (this.#used) return this.#separator;
    this.#used = true;
    return literal("");
  }
}

/** A class that templates can call, with how it prints. */
class Type extends Callable {
  readonly type = "type";
  readonly #name: string;
  readonly #make: (rt: Runtime, args: readonly Value[], kwargs: Kwargs) => Value;

  constructor(name: string, make: (rt: Runtime, args: readonly Value[], kwargs: Kwargs) => Value) {
    super();
    this.#name = name;
    this.#make = make;
  }

  call(rt: Runtime, args: readonly Value[], kwargs: Kwargs): Value {
    return this.#make(rt, args, kwargs);
  }

  override repr(): Str {
    return literal(`<class '${this.#name}'>`);
  }
}

const RAISE = signature("raise_exception(message)");
const NOW = signature("strftime_now(format)");
const JOINER = signature("joiner(sep?)");

export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ["range", new Builtin((_rt, args, kwargs) => range(args, kwargs), "function")],
  ["dict", new Type("dict", (rt, args, kwargs) => Dict.of(pairs(rt, "dict", args, kwargs)))],
  ["namespace", new Type("jinja2.utils.Namespace", namespace)],
  [
    "cycler",
    new Type("jinja2.utils.Cycler", (_rt, args, kwargs) => {
      if (kwargs.size > 0) fail("Cycler() takes no keyword arguments");
      return new Cycler(args);
    }),
  ],
  [
    "joiner",
    new Type("jinja2.utils.Joiner", (_rt, args, kwargs) => {
      const [separator] = bind(JOINER, args, kwargs);
      return new Joiner(separator === undefined ? literal(", ") : separator);
    }),
  ],
  ["lipsum", new Builtin(() => unsupported("lipsum(), which gives another text each time,"), "function")],
  [
    "raise_exception",
    new Builtin((rt, args, kwargs) => {
      const [message] = bind(RAISE, args, kwargs);
      throw new TemplateError("raised", str(rt, message as Value).text);
    }, "function"),
  ],
  [
    "strftime_now",
    new Builtin((rt, args, kwargs) => {
      const format = textOf(bind(NOW, args, kwargs)[0] as Value, "the format of strftime_now");
      rt.spend(format.text.length * 20);
      return literal(strftime(format.text, rt.now));
    }, "function"),
  ],
]);
