/** The parts of a template. Names and structure follow jinja2, whose rules for scopes are defined on them. */
import type { Arithmetic } from "./numbers.ts";

export interface Arguments {
  readonly args: readonly Expression[];
  readonly kwargs: readonly { readonly key: string; readonly value: Expression }[];
  /** `*args` */
  readonly more: Expression | null;
  /** `**kwargs` */
  readonly named: Expression | null;
}

export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";

export type Constant =
  | null
  | boolean
  | { readonly text: string }
  | { readonly integer: string }
  | { readonly float: string };

/** How a name is used: read, assigned, or declared as a parameter. */
export type NameUse = "load" | "store" | "param";

export interface NameNode {
  readonly kind: "name";
  readonly name: string;
  use: NameUse;
  readonly line: number;
}

export type Expression =
  | NameNode
  | { readonly kind: "constant"; readonly value: Constant }
  /** `namespace.attribute` as what is assigned to. */
  | { readonly kind: "namespace"; readonly name: string; readonly attribute: string; readonly line: number }
  | { readonly kind: "tuple"; readonly items: readonly Expression[] }
  | { readonly kind: "list"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly pairs: readonly (readonly [key: Expression, value: Expression])[] }
  | {
      readonly kind: "binary";
      readonly operator: Arithmetic;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: "unary"; readonly operator: "+" | "-"; readonly operand: Expression }
  | { readonly kind: "not"; readonly operand: Expression }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "concat"; readonly parts: readonly Expression[] }
  | {
      readonly kind: "compare";
      readonly first: Expression;
      readonly rest: readonly { readonly operator: Comparison; readonly value: Expression }[];
    }
  | {
      readonly kind: "condition";
      readonly test: Expression;
      readonly yes: Expression;
      readonly no: Expression | null;
      readonly line: number;
    }
  | { readonly kind: "attribute"; readonly object: Expression; readonly name: string }
  | { readonly kind: "item"; readonly object: Expression; readonly key: Expression }
  | {
      readonly kind: "slice";
      readonly object: Expression;
      readonly start: Expression | null;
      readonly stop: Expression | null;
      readonly step: Expression | null;
    }
  | {
      readonly kind: "call";
      readonly callee: Expression;
      readonly arguments: Arguments;
      readonly line: number;
    }
  /** The value is null if a filter block gives it. */
  | FilterNode
  | {
      readonly kind: "test";
      readonly name: string;
      readonly value: Expression;
      readonly arguments: Arguments;
      readonly line: number;
    };

export interface FilterNode {
  readonly kind: "filter";
  readonly name: string;
  readonly value: Expression | null;
  readonly arguments: Arguments;
  readonly line: number;
}

export interface Parameters {
  readonly names: readonly NameNode[];
  /** Of the last ones. */
  readonly defaults: readonly Expression[];
}

/** Text, or what is printed. */
export type OutputPart = string | { readonly value: Expression; readonly line: number };

export type Statement =
  | { readonly kind: "output"; readonly parts: readonly OutputPart[]; readonly line: number }
  | {
      readonly kind: "if";
      readonly branches: readonly { readonly test: Expression; readonly body: readonly Statement[] }[];
      readonly otherwise: readonly Statement[];
      readonly line: number;
    }
  | ForNode
  | {
      readonly kind: "assign";
      readonly target: Expression;
      readonly value: Expression;
      readonly line: number;
    }
  | {
      readonly kind: "assign block";
      readonly target: Expression;
      readonly filter: FilterNode | null;
      readonly body: readonly Statement[];
      readonly line: number;
    }
  | {
      readonly kind: "with";
      readonly targets: readonly Expression[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
      readonly line: number;
    }
  | MacroNode
  | CallNode
  | {
      readonly kind: "filter block";
      readonly filter: FilterNode;
      readonly body: readonly Statement[];
      readonly line: number;
    }
  | { readonly kind: "break" | "continue"; readonly line: number };

export interface ForNode {
  readonly kind: "for";
  readonly target: Expression;
  readonly items: Expression;
  readonly test: Expression | null;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
  readonly line: number;
}

export interface MacroNode {
  readonly kind: "macro";
  readonly name: string;
  readonly parameters: Parameters;
  readonly body: readonly Statement[];
  readonly line: number;
}

/** A call block, or (without a call) a block that marks what the model generated. */
export interface CallNode {
  readonly kind: "call block";
  readonly call: Extract<Expression, { kind: "call" }> | null;
  readonly parameters: Parameters;
  readonly body: readonly Statement[];
  readonly line: number;
}

export type Node = Expression | Statement;

function* argumentsOf({ args, kwargs, more, named }: Arguments): Generator<Expression, void> {
  yield* args;
  for (const { value } of kwargs) yield value;
  if (more !== null) yield more;
  if (named !== null) yield named;
}

/** The parts of a node, in the order in which jinja2 goes through them. */
export function* childrenOf(node: Node): Generator<Node, void> {
  switch (node.kind) {
    case "name":
    case "constant":
    case "namespace":
    case "break":
    case "continue":
      return;
    case "tuple":
    case "list":
      yield* node.items;
      return;
    case "dict":
      for (const pair of node.pairs) yield* pair;
      return;
    case "binary":
    case "and":
    case "or":
      yield node.left;
      yield node.right;
      return;
    case "unary":
    case "not":
      yield node.operand;
      return;
    case "concat":
      yield* node.parts;
      return;
    case "compare":
      yield node.first;
      for (const { value } of node.rest) yield value;
      return;
    case "condition":
      yield node.test;
      yield node.yes;
      if (node.no !== null) yield node.no;
      return;
    case "attribute":
      yield node.object;
      return;
    case "item":
      yield node.object;
      yield node.key;
      return;
    case "slice":
      yield node.object;
      for (const part of [node.start, node.stop, node.step]) if (part !== null) yield part;
      return;
    case "call":
      yield node.callee;
      yield* argumentsOf(node.arguments);
      return;
    case "filter":
    case "test":
      if (node.value !== null) yield node.value;
      yield* argumentsOf(node.arguments);
      return;
    case "output":
      for (const part of node.parts) if (typeof part !== "string") yield part.value;
      return;
    case "if":
      for (const { test, body } of node.branches) {
        yield test;
        yield* body;
      }
      yield* node.otherwise;
      return;
    case "for":
      yield node.target;
      yield node.items;
      yield* node.body;
      yield* node.otherwise;
      if (node.test !== null) yield node.test;
      return;
    case "assign":
      yield node.target;
      yield node.value;
      return;
    case "assign block":
      yield node.target;
      if (node.filter !== null) yield node.filter;
      yield* node.body;
      return;
    case "with":
      yield* node.targets;
      yield* node.values;
      yield* node.body;
      return;
    case "macro":
      yield* node.parameters.names;
      yield* node.parameters.defaults;
      yield* node.body;
      return;
    case "call block":
      if (node.call !== null) yield node.call;
      yield* node.parameters.names;
      yield* node.parameters.defaults;
      yield* node.body;
      return;
    case "filter block":
      yield* node.body;
      yield node.filter;
      return;
  }
}
