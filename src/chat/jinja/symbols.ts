/**
 * Which variable a name stands for, decided before anything runs, as jinja2's compiler does: what a loop, a macro or a
 * block assigns is its own; a name that it reads before is copied in from outside; branches of `if` make no scope.
 */

import { childrenOf, type Node, type Parameters, type Statement } from "./ast.ts";
import { fail } from "./errors.ts";

/** Where the first value of a variable is from when its scope is entered. */
export type Load =
  | { readonly from: "parameter" }
  /** The data, or what every template can call. */
  | { readonly from: "context"; readonly name: string }
  /** Another variable. */
  | { readonly from: "variable"; readonly variable: string }
  | { readonly from: "nothing" };

export class Symbols {
  readonly level: number;
  readonly parent: Symbols | null;
  /** Variables of names. */
  readonly refs: Map<string, string>;
  /** First values of variables. */
  readonly loads: Map<string, Load>;
  readonly #stores: Set<string>;

  constructor(parent: Symbols | null, like: Symbols | null = null) {
    this.parent = parent;
    this.level = parent === null ? 0 : parent.level + 1;
    this.refs = new Map(like?.refs);
    this.loads = new Map(like?.loads);
    this.#stores = new Set(like === null ? [] : like.#stores);
  }

  #define(name: string, load: Load): string {
    const variable = `${this.level}:${name}`;
    this.refs.set(name, variable);
    this.loads.set(variable, load);
    return variable;
  }

  find(name: string): string | undefined {
    return this.refs.get(name) ?? this.parent?.find(name);
  }

  /** The variable of a name that the analysis has seen. */
  ref(name: string): string {
    const found = this.find(name);
    // In jinja2 too: the filter of a block that is assigned sees only names that occur elsewhere.
    if (found === undefined) fail(`the name '${name}' is not known in the filter of a block`);
    return found;
  }

  store(name: string): void {
    this.#stores.add(name);
    if (this.refs.has(name)) return;
    const outer = this.parent?.find(name);
    this.#define(name, outer === undefined ? { from: "nothing" } : { from: "variable", variable: outer });
  }

  parameter(name: string): string {
    this.#stores.add(name);
    return this.#define(name, { from: "parameter" });
  }

  load(name: string): void {
    if (this.find(name) === undefined) this.#define(name, { from: "context", name });
  }

  copy(): Symbols {
    return new Symbols(this.parent, this);
  }

  /** Takes over what branches do; a name that is assigned in one of them may have its value from before. */
  join(branches: readonly Symbols[]): void {
    const stores = new Set(branches.flatMap((branch) => [...branch.#stores]));
    for (const name of this.#stores) stores.delete(name);
    for (const branch of branches) {
      for (const [name, variable] of branch.refs) this.refs.set(name, variable);
      for (const [variable, load] of branch.loads) this.loads.set(variable, load);
      for (const name of branch.#stores) this.#stores.add(name);
    }
    for (const name of stores) {
      const outer = this.parent?.find(name);
      const load: Load =
        outer === undefined ? { from: "context", name } : { from: "variable", variable: outer };
      this.loads.set(this.ref(name), load);
    }
  }

  /** Sees all names of these nodes that belong to this scope. */
  visit(nodes: Iterable<Node>): this {
    for (const node of nodes) visit(this, node, false);
    return this;
  }

  /** Sees what is assigned to once this scope is entered. */
  declare(target: Node): this {
    visit(this, target, true);
    return this;
  }

  /** Sees parameters, their defaults and a body. */
  declareMacro({ names, defaults }: Parameters, body: readonly Statement[]): this {
    return this.visit([...names, ...defaults, ...body]);
  }
}

function visit(symbols: Symbols, node: Node, declared: boolean): void {
  switch (node.kind) {
    case "name":
      if (declared || node.use === "param") symbols.parameter(node.name);
      else if (node.use === "store") symbols.store(node.name);
      else symbols.load(node.name);
      return;
    case "namespace":
      symbols.load(node.name);
      return;
    case "if": {
      // Every test but the first belongs to what comes after the tests before it.
      const [first, ...others] = node.branches;
      visit(symbols, first.test, false);
      const body = symbols.copy().visit(first.body);
      const rest = symbols.copy();
      for (const { test, body } of others) {
        visit(rest, test, false);
        rest.join([rest.copy().visit(body), rest.copy(), rest.copy()]);
      }
      symbols.join([body, rest, symbols.copy().visit(node.otherwise)]);
      return;
    }
    case "macro":
      symbols.store(node.name);
      return;
    case "assign":
      visit(symbols, node.value, false);
      visit(symbols, node.target, false);
      return;
    case "for":
      visit(symbols, node.items, false);
      return;
    case "call block":
      if (node.call !== null) visit(symbols, node.call, false);
      return;
    case "filter block":
      visit(symbols, node.filter, false);
      return;
    case "with":
      symbols.visit(node.values);
      return;
    case "assign block":
      visit(symbols, node.target, false);
      return;
  }
  for (const child of childrenOf(node)) visit(symbols, child, declared);
}

/** Which of `names` are read in `nodes` before they are assigned or declared, scopes within included. */
export function undeclared(nodes: Iterable<Node>, names: readonly string[]): Set<string> {
  const wanted = new Set(names);
  const found = new Set<string>();
  const look = (node: Node): void => {
    if (node.kind === "name") {
      if (node.use === "load" && wanted.has(node.name)) found.add(node.name);
      else wanted.delete(node.name);
    }
    for (const child of childrenOf(node)) look(child);
  };
  for (const node of nodes) look(node);
  return found;
}

/** Whether something within is assigned to the name `loop`. */
export function assignsLoop(node: Node): boolean {
  if (node.kind === "name" && node.use === "store" && node.name === "loop") return true;
  for (const child of childrenOf(node)) if (assignsLoop(child)) return true;
  return false;
}
