/** Small helpers of the generators: numbers in a range, orders, linear sums, refutations by a counterexample. */
import type { WorldRandom } from "../../data/world/generator.ts";
import { ConfigError } from "../../tensor/errors.ts";
import {
  binary,
  chain,
  type Domain,
  evaluate,
  name,
  negative,
  number,
  type Term,
  type Value,
} from "./term.ts";
import { line, type Script, script, type Theorem } from "./theorem.ts";

/** An integer from `low` to `high`, both included. */
export const between = (random: WorldRandom, low: number, high: number): number =>
  low + random.int(high - low + 1);

export const chance = (random: WorldRandom, percent: number): boolean => random.int(100) < percent;

/** An integer from -size to size that is not 0. */
export function nonzero(random: WorldRandom, size: number): number {
  const value = between(random, 1, size);
  return chance(random, 50) ? value : -value;
}

export const shuffled = <T>(random: WorldRandom, list: readonly T[]): T[] =>
  random.distinct(list.length, list.length).map((i) => list[i]);

/** `3 * x`, `x`, `-x`. */
export function multiple(factor: number, of: Term): Term {
  if (factor === 1) return of;
  return factor === -1 ? negative(of) : binary(number(factor), "*", of);
}

/** `3 * x - y + 4`; terms with factor 0 are left out, and nothing at all is 0. */
export function linear(parts: readonly (readonly [number, Term])[], constant: number): Term {
  const kept = parts.filter(([factor]) => factor !== 0);
  let sum: Term | undefined;
  for (const [factor, term] of kept) {
    if (sum === undefined) sum = multiple(factor, term);
    else sum = binary(sum, factor < 0 ? "-" : "+", multiple(Math.abs(factor), term));
  }
  if (sum === undefined) return number(constant);
  if (constant === 0) return sum;
  return binary(sum, constant < 0 ? "-" : "+", number(Math.abs(constant)));
}

export const names = (text: string): string[] => text.split(" ");
export const terms = (text: string): Term[] => names(text).map(name);
export const equal = (left: Term, right: Term): Term => binary(left, "=", right);
export const sum = (list: readonly Term[]): Term => chain("+", list);
export const product = (...list: Term[]): Term => chain("*", list);
/** Either order of the two sides. */
export const swapped = (random: WorldRandom, op: "=" | "+" | "*" | "∨" | "∧", a: Term, b: Term): Term =>
  chance(random, 50) ? binary(a, op, b) : binary(b, op, a);

const LETTERS = ["x y z w u v", "a b c d e k", "m n k l i j", "p q r s t u"];

/** Names of number variables, one alphabet for a theorem. */
export function letters(random: WorldRandom, count: number, alphabets = LETTERS.slice(0, 3)): string[] {
  return names(random.pick(alphabets)).slice(0, count);
}

/** What is written for a value where a term is expected. */
export function valueText(value: Value): string {
  if (typeof value === "number") return value < 0 ? `(${value})` : String(value);
  return value ? "True" : "False";
}

/**
 * A refutation of `¬ ∀ binders, goal`: the hypotheses hold for these values and the goal does not, both by computation.
 * Null if that is not so, or if a `∀` without bound stands in the way of computing.
 */
export function counterexample(
  theorem: Theorem,
  domain: Domain,
  values: ReadonlyMap<string, Value>,
): Script | null {
  const at = { domain, values, reach: 0 };
  const args: string[] = [];
  for (const binder of theorem.binders) {
    if (binder.kind === "variables") args.push(...binder.names.map((each) => valueText(values.get(each)!)));
    else {
      if (!computable(binder.says) || !evaluate(binder.says, at)) return null;
      args.push("(by decide)");
    }
  }
  if (!computable(theorem.goal) || evaluate(theorem.goal, at)) return null;
  const shown = [...values].map(([key, value]) => `${key} = ${value}`).join(", ");
  return script(
    `The case ${shown} contradicts the claim.`,
    line("intro h", "assume that it holds for all"),
    line(`have h1 := h ${args.join(" ")}`, `look at the case ${shown}`),
    line("revert h1", "what it says there is wrong"),
    line("decide"),
  );
}

function computable(term: Term): boolean {
  if (term.kind === "quantified" || term.kind === "apply") return false;
  if (term.kind === "binary") return computable(term.left) && computable(term.right);
  return term.kind === "unary" ? computable(term.of) : true;
}

/** Small values under which the hypotheses hold and the goal does not, tried at random; null if none was met. */
export function findCounterexample(
  random: WorldRandom,
  theorem: Theorem,
  domain: Domain,
  size: number,
  tries = 400,
): ReadonlyMap<string, Value> | null {
  const low = domain === "Nat" ? 0 : -size;
  for (let i = 0; i < tries; i++) {
    const values = new Map<string, Value>();
    for (const binder of theorem.binders) {
      if (binder.kind === "hypothesis") continue;
      const truthValue = binder.type === "Prop" || binder.type === "Bool";
      for (const each of binder.names)
        values.set(each, truthValue ? chance(random, 50) : between(random, low, size));
    }
    if (fails(theorem, { domain, values, reach: size })) return values;
  }
  return null;
}

function fails(theorem: Theorem, at: Parameters<typeof evaluate>[1]): boolean {
  return (
    theorem.binders.every((each) => each.kind === "variables" || evaluate(each.says, at)) &&
    !evaluate(theorem.goal, at)
  );
}

/** The theorem as one formula, binders in front: what its universal negation denies and conjunctions are made of. */
export function closed({ binders, goal }: Theorem): Term {
  return binders.reduceRight<Term>(
    (body, binder) =>
      binder.kind === "variables"
        ? { kind: "quantified", op: "∀", names: binder.names, type: binder.type, body }
        : binary(binder.says, "→", body),
    goal,
  );
}

/** Names that `intro` gives to what `closed` put in front. */
export const introduced = ({ binders }: Theorem): string[] =>
  binders.flatMap((binder) => (binder.kind === "variables" ? [...binder.names] : [binder.name]));

/** Draws until something comes. @throws ConfigError after 2,000 draws that gave nothing: the dials leave nothing to draw */
export function untilDrawn<T>(draw: () => T | null): T {
  for (let i = 0; i < 2000; i++) {
    const drawn = draw();
    if (drawn !== null) return drawn;
  }
  throw new ConfigError("nothing in 2,000 draws", { where: "corpus", hint: "Check the dials of the family" });
}
