/** What a filter is, and how its arguments reach it. */
import { bind, signature } from "./arguments.ts";
import type { Runtime } from "./runtime.ts";
import type { Kwargs, Value } from "./values.ts";

/** What filters need to know of the engine: `map` and `select` call others by name. */
export interface Engine {
  filter(rt: Runtime, name: Value, value: Value, args: readonly Value[], kwargs: Kwargs): Value;
  test(rt: Runtime, name: Value, value: Value, args: readonly Value[], kwargs: Kwargs): boolean;
}

export type Filter = (
  rt: Runtime,
  value: Value,
  args: readonly Value[],
  kwargs: Kwargs,
  engine: Engine,
) => Value;

type Values = readonly (Value | undefined)[];

/** A filter with the parameters of `text` (see `signature`), of which the value is the first. */
export function filter(
  text: string,
  body: (rt: Runtime, value: Value, rest: Values, engine: Engine) => Value,
): Filter {
  const parameters = signature(text);
  return (rt, value, args, kwargs, engine) => {
    rt.spend(4);
    if (args.length === 0 && kwargs.size === 0 && parameters.required <= 1)
      return body(rt, value, [], engine);
    const [first, ...rest] = bind(parameters, [value, ...args], kwargs);
    return body(rt, first as Value, rest, engine);
  };
}
