/** The tests behind `is`. */
import { isLower, isUpper } from "./chars.ts";
import { fail } from "./errors.ts";
import { binary, contains, equal, type Order, ordered, same } from "./operators.ts";
import { str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { Str } from "./text.ts";
import {
  Callable,
  Dict,
  Float,
  HostObject,
  Iter,
  isInt,
  type Kwargs,
  List,
  Range,
  Tuple,
  Undefined,
  type Value,
  View,
} from "./values.ts";

/** What a test needs to know of the engine. */
export interface Registry {
  readonly filters: { has(name: string): boolean };
  readonly tests: { has(name: string): boolean };
}

export type Test = (rt: Runtime, value: Value, args: readonly Value[], registry: Registry) => boolean;

const rest = (rt: Runtime, value: Value, by: Value, wanted: number) =>
  equal(rt, binary(rt, "%", value, by), wanted);

/** Says of arguments of tool calls that the template tells their kinds apart. */
function askKind(value: Value): void {
  if ((value instanceof Dict || value instanceof List) && value.watch !== null) value.watch.asked = true;
}

const kind =
  (test: (value: Value) => boolean): Test =>
  (_rt, value) => {
    askKind(value);
    return test(value);
  };

const order =
  (operator: Order): Test =>
  (rt, value, [other]) =>
    ordered(rt, operator, value, other);

const isSequence = (value: Value) =>
  value instanceof Str ||
  value instanceof List ||
  value instanceof Tuple ||
  value instanceof Dict ||
  value instanceof Range ||
  value instanceof Undefined;

const isIterable = (value: Value) =>
  isSequence(value) ||
  value instanceof View ||
  value instanceof Iter ||
  (value instanceof HostObject && value.iterate !== undefined);

function cased(rt: Runtime, value: Value, test: (text: string) => boolean): boolean {
  const { text } = str(rt, value);
  rt.scan(4 * text.length);
  return test(text);
}

const equals: Test = (rt, value, [other]) => equal(rt, value, other);
const differs: Test = (rt, value, [other]) => !equal(rt, value, other);

/** Tests by name, and how many arguments each takes. */
const TABLE: readonly (readonly [names: string, count: number, test: Test])[] = [
  ["odd", 0, (rt, value) => rest(rt, value, 2, 1)],
  ["even", 0, (rt, value) => rest(rt, value, 2, 0)],
  ["divisibleby", 1, (rt, value, [by]) => rest(rt, value, by, 0)],
  ["defined", 0, (_rt, value) => !(value instanceof Undefined)],
  ["undefined", 0, (_rt, value) => value instanceof Undefined],
  ["none", 0, (_rt, value) => value === null],
  ["boolean", 0, (_rt, value) => typeof value === "boolean"],
  ["true", 0, (_rt, value) => value === true],
  ["false", 0, (_rt, value) => value === false],
  ["integer", 0, (_rt, value) => isInt(value)],
  ["float", 0, (_rt, value) => value instanceof Float],
  ["number", 0, (_rt, value) => isInt(value) || typeof value === "boolean" || value instanceof Float],
  ["lower", 0, (rt, value) => cased(rt, value, isLower)],
  ["upper", 0, (rt, value) => cased(rt, value, isUpper)],
  ["string", 0, kind((value) => value instanceof Str)],
  ["mapping", 0, kind((value) => value instanceof Dict)],
  ["sequence", 0, kind(isSequence)],
  ["iterable", 0, kind(isIterable)],
  [
    "callable",
    0,
    (_rt, value) =>
      value instanceof Callable ||
      value instanceof Undefined ||
      (value instanceof HostObject && value.call !== undefined),
  ],
  ["sameas", 1, (_rt, value, [other]) => same(value, other)],
  ["escaped", 0, (_rt, value) => value instanceof Str && value.safe],
  ["in", 1, (rt, value, [container]) => contains(rt, container, value)],
  ["filter", 0, (_rt, value, _args, registry) => value instanceof Str && registry.filters.has(value.text)],
  ["test", 0, (_rt, value, _args, registry) => value instanceof Str && registry.tests.has(value.text)],
  ["== eq equalto", 1, equals],
  ["!= ne", 1, differs],
  ["< lt lessthan", 1, order("<")],
  ["<= le", 1, order("<=")],
  ["> gt greaterthan", 1, order(">")],
  [">= ge", 1, order(">=")],
];

export interface KnownTest {
  readonly name: string;
  readonly count: number;
  readonly test: Test;
}

export const TESTS: ReadonlyMap<string, KnownTest> = new Map(
  TABLE.flatMap(([names, count, test]) =>
    names.split(" ").map((name) => [name, { name, count, test }] as const),
  ),
);

/** Names of the one argument that tests take, if it has one. */
const PARAMETERS: Readonly<Record<string, string>> = { divisibleby: "num", sameas: "other", in: "seq" };

/** `value is name(..)`. @throws TemplateError */
export function runTest(
  rt: Runtime,
  { name, count, test }: KnownTest,
  value: Value,
  args: readonly Value[],
  kwargs: Kwargs,
  registry: Registry,
): boolean {
  let given = args;
  for (const [key, item] of kwargs) {
    if (key !== PARAMETERS[name] || args.length > 0)
      fail(`test '${name}' got an unexpected keyword argument '${key}'`);
    given = [item];
  }
  if (given.length !== count) fail(`test '${name}' takes ${count} arguments (${given.length} given)`);
  rt.spend(1);
  return test(rt, value, given, registry);
}
