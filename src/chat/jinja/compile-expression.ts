/** Turns expressions into functions. */
import { call, callMethod, getAttribute, getItem, slice } from "./access.ts";
import type { Arguments, Comparison, Constant, Expression, FilterNode } from "./ast.ts";
import { fail, TemplateError } from "./errors.ts";
import type { Engine, Filter } from "./filter.ts";
import type { Frame, Scope } from "./frame.ts";
import { arithmetic, whole } from "./numbers.ts";
import { binary, concatenate, contains, equal, ordered, unary } from "./operators.ts";
import { str } from "./print.ts";
import { FILTERS, REGISTRY, TESTS } from "./registry.ts";
import type { Runtime } from "./runtime.ts";
import { type KnownTest, runTest } from "./tests.ts";
import { literal, Str } from "./text.ts";
import {
  Dict,
  Float,
  iterate,
  type Kwargs,
  List,
  NO_KWARGS,
  Tuple,
  truth,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

export type Evaluate = (frame: Frame) => Value;

/** Finds filters and tests that templates name in texts. */
export const engine: Engine = {
  filter: (rt, name, value, args, kwargs) => {
    const filter = name instanceof Str ? FILTERS.get(name.text) : undefined;
    if (filter === undefined) fail(`No filter named ${shown(name)}.`);
    return filter(rt, value, args, kwargs, engine);
  },
  test: (rt, name, value, args, kwargs) => {
    const test = name instanceof Str ? TESTS.get(name.text) : undefined;
    if (test === undefined) fail(`No test named ${shown(name)}.`);
    return runTest(rt, test, value, args, kwargs, REGISTRY);
  },
};

const shown = (name: Value) => (name instanceof Str ? `'${name.text}'` : typeName(name));

function constant(value: Constant): Value {
  if (value === null || typeof value === "boolean") return value;
  if ("text" in value) return literal(value.text);
  if ("float" in value) return new Float(Number(value.float));
  if (value.integer.length > 4300)
    throw new TemplateError("limit", "a whole number of more than 4300 digits");
  return whole(BigInt(value.integer));
}

/** Reads a variable, wherever it lies; undefined if it has no value. */
export function reader(scope: Scope, variable: string): (frame: Frame) => Value | undefined {
  const { hops, slot } = scope.unit.find(variable);
  if (hops === 0) return (frame) => frame.slots[slot];
  if (hops === 1) return (frame) => (frame.parent as Frame).slots[slot];
  return (frame) => {
    let at = frame;
    for (let n = 0; n < hops; n++) at = at.parent as Frame;
    return at.slots[slot];
  };
}

export function compileExpression(node: Expression, scope: Scope): Evaluate {
  const compile = (part: Expression) => compileExpression(part, scope);
  switch (node.kind) {
    case "constant": {
      const value = constant(node.value);
      return () => value;
    }
    case "name": {
      const read = reader(scope, scope.symbols.ref(node.name));
      const { name } = node;
      return (frame) => {
        const value = read(frame);
        return value === undefined ? new Undefined(() => `'${name}' is undefined`) : value;
      };
    }
    case "namespace":
      throw new TemplateError("syntax", "an attribute of a namespace is no value here", node.line);
    case "tuple": {
      const items = node.items.map(compile);
      return (frame) => new Tuple(items.map((item) => item(frame)));
    }
    case "list": {
      const items = node.items.map(compile);
      return (frame) => new List(items.map((item) => item(frame)));
    }
    case "dict": {
      const pairs = node.pairs.map(([key, value]) => [compile(key), compile(value)] as const);
      return (frame) => {
        frame.rt.spend(6 * pairs.length);
        return Dict.of(pairs.map(([key, value]) => [key(frame), value(frame)] as const));
      };
    }
    case "binary": {
      const { operator } = node;
      const [left, right] = [compile(node.left), compile(node.right)];
      const quick = operator !== "**";
      return (frame) => {
        const a = left(frame);
        const b = right(frame);
        if (quick && typeof a === "number" && typeof b === "number") return arithmetic(operator, a, b);
        return binary(frame.rt, operator, a, b);
      };
    }
    case "unary": {
      const operand = compile(node.operand);
      return (frame) => unary(node.operator, operand(frame));
    }
    case "not": {
      const operand = compile(node.operand);
      return (frame) => !truth(operand(frame));
    }
    case "and":
    case "or": {
      const [left, right, wanted] = [compile(node.left), compile(node.right), node.kind === "and"];
      return (frame) => {
        const value = left(frame);
        return truth(value) === wanted ? right(frame) : value;
      };
    }
    case "concat": {
      const parts = node.parts.map(compile);
      return (frame) =>
        concatenate(
          frame.rt,
          parts.map((part) => str(frame.rt, part(frame))),
        );
    }
    case "compare":
      return comparison(node, compile);
    case "condition":
      return condition(node, { ...scope, soft: true });
    case "attribute": {
      const object = compile(node.object);
      const { name } = node;
      return (frame) => getAttribute(frame.rt, object(frame), name);
    }
    case "item": {
      const [object, key] = [compile(node.object), compile(node.key)];
      return (frame) => getItem(frame.rt, object(frame), key(frame));
    }
    case "slice": {
      const object = compile(node.object);
      const none: Evaluate = () => null;
      const [start, stop, step] = [node.start, node.stop, node.step].map((part) =>
        part === null ? none : compile(part),
      );
      return (frame) => slice(frame.rt, object(frame), start(frame), stop(frame), step(frame));
    }
    case "call":
      return compileCall(node, scope, null);
    case "filter":
      return compileFilter(node, scope, null);
    case "test":
      return compileTest(node, scope);
  }
}

const COMPARE: Readonly<Record<Comparison, (rt: Runtime, a: Value, b: Value) => boolean>> = {
  "==": equal,
  "!=": (rt, a, b) => !equal(rt, a, b),
  "<": (rt, a, b) => ordered(rt, "<", a, b),
  "<=": (rt, a, b) => ordered(rt, "<=", a, b),
  ">": (rt, a, b) => ordered(rt, ">", a, b),
  ">=": (rt, a, b) => ordered(rt, ">=", a, b),
  in: (rt, a, b) => contains(rt, b, a),
  "not in": (rt, a, b) => !contains(rt, b, a),
};

function comparison(
  node: Extract<Expression, { kind: "compare" }>,
  compile: (part: Expression) => Evaluate,
): Evaluate {
  const first = compile(node.first);
  const rest = node.rest.map(({ operator, value }) => ({
    compare: COMPARE[operator],
    value: compile(value),
  }));
  if (rest.length === 1) {
    const [{ compare, value }] = rest;
    return (frame) => {
      const left = first(frame);
      return compare(frame.rt, left, value(frame));
    };
  }
  return (frame) => {
    let left = first(frame);
    for (const { compare, value } of rest) {
      const right = value(frame);
      if (!compare(frame.rt, left, right)) return false;
      left = right;
    }
    return true;
  };
}

function condition(node: Extract<Expression, { kind: "condition" }>, scope: Scope): Evaluate {
  const [test, yes] = [compileExpression(node.test, scope), compileExpression(node.yes, scope)];
  if (node.no !== null) {
    const no = compileExpression(node.no, scope);
    return (frame) => (truth(test(frame)) ? yes(frame) : no(frame));
  }
  const message = `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`;
  return (frame) => (truth(test(frame)) ? yes(frame) : new Undefined(message));
}

interface Given {
  readonly args: readonly Value[];
  readonly kwargs: Kwargs;
}

const NOTHING_GIVEN: Given = { args: [], kwargs: NO_KWARGS };

/** Evaluates arguments; `caller` comes in as one more. */
function compileArguments(
  { args, kwargs, more, named }: Arguments,
  scope: Scope,
  caller: Evaluate | null = null,
): (frame: Frame) => Given {
  const positional = args.map((part) => compileExpression(part, scope));
  if (kwargs.length === 0 && more === null && named === null && caller === null) {
    if (positional.length === 0) return () => NOTHING_GIVEN;
    return (frame) => ({ args: positional.map((part) => part(frame)), kwargs: NO_KWARGS });
  }
  const keyed = kwargs.map(({ key, value }) => [key, compileExpression(value, scope)] as const);
  const [spread, spreadNamed] = [more, named].map((part) => part && compileExpression(part, scope));
  return (frame) => {
    const values = positional.map((part) => part(frame));
    const names = new Map<string, Value>();
    for (const [key, value] of keyed) names.set(key, value(frame));
    if (caller !== null) names.set("caller", caller(frame));
    if (spread) for (const item of iterate(spread(frame))) values.push(item);
    if (spreadNamed) addNamed(names, spreadNamed(frame));
    frame.rt.spend(values.length + names.size);
    return { args: values, kwargs: names };
  };
}

function addNamed(names: Map<string, Value>, value: Value): void {
  if (!(value instanceof Dict)) {
    if (value instanceof Undefined) value.raise();
    fail("argument after ** must be a mapping");
  }
  for (const [key, item] of value.entries.values()) {
    if (!(key instanceof Str)) fail("keywords must be strings");
    if (names.has(key.text)) fail(`got multiple values for keyword argument '${key.text}'`);
    names.set(key.text, item);
  }
}

/** @param caller what a call block gives */
export function compileCall(
  node: Extract<Expression, { kind: "call" }>,
  scope: Scope,
  caller: Evaluate | null,
): Evaluate {
  const given = compileArguments(node.arguments, scope, caller);
  const { callee } = node;
  if (callee.kind === "attribute") {
    const object = compileExpression(callee.object, scope);
    const { name } = callee;
    return (frame) => {
      const value = object(frame);
      const { args, kwargs } = given(frame);
      return callMethod(frame.rt, value, name, args, kwargs);
    };
  }
  const called = compileExpression(callee, scope);
  return (frame) => {
    const value = called(frame);
    const { args, kwargs } = given(frame);
    return call(frame.rt, value, args, kwargs);
  };
}

/** @param input what a filter block gives, for the innermost filter */
export function compileFilter(node: FilterNode, scope: Scope, input: Evaluate | null): Evaluate {
  const inner = node.value;
  const value =
    inner === null
      ? (input as Evaluate)
      : inner.kind === "filter"
        ? compileFilter(inner, scope, input)
        : compileExpression(inner, scope);
  const given = compileArguments(node.arguments, scope);
  const { name } = node;
  const filter = FILTERS.get(name) ?? unknown("filter", name, node.line, scope);
  return (frame) => {
    const subject = value(frame);
    const { args, kwargs } = given(frame);
    return (filter as Filter)(frame.rt, subject, args, kwargs, engine);
  };
}

function compileTest(node: Extract<Expression, { kind: "test" }>, scope: Scope): Evaluate {
  const value = compileExpression(node.value, scope);
  const given = compileArguments(node.arguments, scope);
  const { name } = node;
  const test: KnownTest = TESTS.get(name) ?? {
    name,
    count: 0,
    test: unknown("test", name, node.line, scope),
  };
  return (frame) => {
    const subject = value(frame);
    const { args, kwargs } = given(frame);
    return runTest(frame.rt, test, subject, args, kwargs, REGISTRY);
  };
}

/** What is not known is an error at once, or in a branch once that is reached. */
function unknown(what: string, name: string, line: number, { soft }: Scope): () => never {
  if (!soft) throw new TemplateError("syntax", `No ${what} named '${name}'.`, line);
  return () => fail(`No ${what} named '${name}' found.`);
}
