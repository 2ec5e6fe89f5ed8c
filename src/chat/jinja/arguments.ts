/** Binds the arguments of a call to the parameters of a function, as Python does. */
import { fail } from "./errors.ts";
import type { Kwargs, Value } from "./values.ts";

export interface Signature {
  readonly name: string;
  /** Parameters in order; a star ends those that can be given by position. */
  readonly parameters: readonly string[];
  /** How many have no default. */
  readonly required: number;
  /** How many can only be given by position. */
  readonly positional: number;
}

/**
 * A signature written as `name(a, b, /, c, d?)`: a question mark stands behind parameters with a default, a slash
 * behind those that have no name.
 */
export function signature(text: string): Signature {
  const [, name, list] = /^([\w.]+)\((.*)\)$/.exec(text)!;
  const all = list === "" ? [] : list.split(", ");
  const slash = all.indexOf("/");
  const parameters = all.filter((parameter) => parameter !== "/");
  return {
    name,
    parameters: parameters.map((parameter) => parameter.replace("?", "")),
    required: parameters.filter((parameter) => !parameter.endsWith("?")).length,
    positional: Math.max(0, slash),
  };
}

/** The value of each parameter; undefined if its default holds. @throws TemplateError */
export function bind(
  { name, parameters, required, positional }: Signature,
  args: readonly Value[],
  kwargs: Kwargs,
): (Value | undefined)[] {
  if (args.length > parameters.length) {
    fail(`${name}() takes at most ${parameters.length} arguments (${args.length} given)`);
  }
  const values: (Value | undefined)[] = [...args];
  for (const [key, value] of kwargs) {
    const at = parameters.indexOf(key, positional);
    if (at < 0) fail(`${name}() got an unexpected keyword argument '${key}'`);
    if (at < args.length) fail(`${name}() got multiple values for argument '${key}'`);
    values[at] = value;
  }
  for (let i = 0; i < required; i++) {
    if (values[i] === undefined) fail(`${name}() missing required argument: '${parameters[i]}'`);
  }
  return values;
}
