/** Which weights are trained, and how fast: parts of a model by name, or by what official names begin with. */
import type { ParameterGroup } from "../nn/parameter-group.ts";
import { checkNumber, checkSection, nearestName, type Place, refuseValue } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Trainable } from "./objectives/objective.ts";
import type { GroupRates } from "./optimizer.ts";

export interface TrainedParts {
  /** What is trained; the rest is frozen. Default: everything. */
  readonly trained?: readonly string[];
  /**
   * Multipliers of the learning rate, default 1; 0 freezes. The longest name that an official name begins with decides;
   * a part's name stands for what its names begin with.
   */
  readonly rates?: Readonly<Record<string, number>>;
}

/** @throws ConfigError */
export function checkTrainedParts(place: Place, { trained, rates }: Record<string, unknown>): void {
  if (trained !== undefined) {
    if (!Array.isArray(trained) || trained.length === 0) {
      refuseValue(place, "trained", "a list of parts", trained);
    }
    for (const [i, part] of trained.entries()) {
      if (typeof part !== "string" || part === "") refuseValue(place, `trained[${i}]`, "a part's name", part);
    }
  }
  if (rates === undefined) return;
  const { fields, at } = checkSection(place, "rates", rates);
  for (const [part, rate] of Object.entries(fields)) checkNumber(at, part, rate, { min: 0, max: 1000 });
}

/** Whether an official name lies below `prefix`, at a dot. */
const begins = (name: string, prefix: string) => name === prefix || name.startsWith(`${prefix}.`);

/** What the official names begin with that `part` stands for. @throws ConfigError if there are none */
function prefixesOf(model: Trainable, place: Place, part: string): readonly string[] {
  const parts = model.parts ?? {};
  if (Object.hasOwn(parts, part)) return parts[part];
  for (const { name } of model.parameters.named()) if (begins(name, part)) return [part];
  const known = Object.keys(parts);
  const near = nearestName(part, known);
  throw new ConfigError("no such part of the model", {
    where: place.where,
    name: part,
    expected:
      known.length > 0
        ? `${known.join(", ")}, or what official names begin with`
        : "what official names begin with",
    ...(near !== null && { hint: `Did you mean ${near}?` }),
  });
}

/**
 * The multiplier of each group of a model. @throws ConfigError for a part that the model does not have, and for a name
 * that divides tensors which are stored as one
 */
export function groupRates(
  model: Trainable,
  { trained, rates = {} }: TrainedParts,
  place: Place,
): GroupRates {
  const chosen = trained?.flatMap((part) => prefixesOf(model, place, part)) ?? null;
  const multipliers = Object.entries(rates)
    .flatMap(([part, rate]) => prefixesOf(model, place, part).map((prefix) => ({ prefix, rate })))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  const rateOf = (name: string) => {
    if (chosen !== null && !chosen.some((prefix) => begins(name, prefix))) return 0;
    return multipliers.find(({ prefix }) => begins(name, prefix))?.rate ?? 1;
  };
  const found = new Map<ParameterGroup, number>();
  for (const group of model.parameters.groups()) {
    const [first, ...others] = group.parts.map(({ name }) => ({ name, rate: rateOf(name) }));
    const other = others.find(({ rate }) => rate !== first.rate);
    if (other !== undefined) {
      throw new ConfigError("tensors that are stored as one are trained at one rate", {
        where: place.where,
        name: `${first.name} and ${other.name}`,
        expected: `the same multiplier for all of ${group.key}`,
        found: `${first.rate} and ${other.rate}`,
      });
    }
    found.set(group, first.rate);
  }
  return (group) => found.get(group) ?? 1;
}
