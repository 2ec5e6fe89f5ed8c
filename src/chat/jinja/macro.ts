/** Macros, and the callers that call blocks give them. */
import { fail } from "./errors.ts";
import type { Runtime } from "./runtime.ts";
import { literal, type Str } from "./text.ts";
import { Callable, Dict, type Kwargs, Tuple, Undefined, type Value } from "./values.ts";

export interface MacroDefinition {
  /** Null for what a call block gives. */
  readonly name: string | null;
  readonly parameters: readonly string[];
  /** Whether the body reads `caller`, `kwargs`, `varargs` without declaring them. */
  readonly caller: boolean;
  readonly kwargs: boolean;
  readonly varargs: boolean;
}

/** Renders the body; undefined stands for a parameter that was not given, the special ones come last. */
export type MacroBody = (values: readonly (Value | undefined)[]) => Str;

export class Macro extends Callable {
  readonly type = "Macro";
  readonly #definition: MacroDefinition;
  readonly #body: MacroBody;

  constructor(definition: MacroDefinition, body: MacroBody) {
    super();
    this.#definition = definition;
    this.#body = body;
  }

  call(rt: Runtime, args: readonly Value[], kwargs: Kwargs): Value {
    const { name, parameters, caller, kwargs: catches, varargs } = this.#definition;
    const shown = name === null ? "None" : `'${name}'`;
    const values: (Value | undefined)[] = args.slice(0, parameters.length);
    rt.spend(12);
    const rest = new Map(kwargs);
    let callerFound = values.length === parameters.length && parameters.includes("caller");
    for (const parameter of parameters.slice(values.length)) {
      values.push(rest.get(parameter));
      rest.delete(parameter);
      callerFound ||= parameter === "caller";
    }
    if (caller && !callerFound) {
      const given = rest.get("caller");
      rest.delete("caller");
      values.push(given === undefined || given === null ? new Undefined("No caller defined") : given);
    }
    if (catches) values.push(Dict.of([...rest].map(([key, value]) => [literal(key), value] as const)));
    else if (rest.size > 0) {
      if (rest.has("caller"))
        fail(`macro ${shown} was invoked with two values for the special caller argument`);
      fail(`macro ${shown} takes no keyword argument '${[...rest.keys()][0]}'`);
    }
    if (varargs) values.push(new Tuple(args.slice(parameters.length)));
    else if (args.length > parameters.length) {
      fail(`macro ${shown} takes not more than ${parameters.length} argument(s)`);
    }
    return rt.nested(() => this.#body(values));
  }

  override attribute(name: string): Value | undefined {
    const definition = this.#definition;
    switch (name) {
      case "name":
        return definition.name === null ? null : literal(definition.name);
      case "arguments":
        return new Tuple(definition.parameters.map(literal));
      case "caller":
        return definition.caller;
      case "catch_kwargs":
        return definition.kwargs;
      case "catch_varargs":
        return definition.varargs;
      case "explicit_caller":
        return definition.parameters.includes("caller");
    }
    return undefined;
  }

  override repr(): Str {
    const { name } = this.#definition;
    return literal(name === null ? "<Macro anonymous>" : `<Macro '${name}'>`);
  }
}
