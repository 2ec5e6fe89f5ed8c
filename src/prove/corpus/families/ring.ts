/** Identities over the natural numbers and the integers: brackets multiplied out. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import {
  between,
  chance,
  counterexample,
  equal,
  findCounterexample,
  letters,
  linear,
  product,
  shuffled,
} from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { binary, type Domain, name, number, type Term } from "../term.ts";
import { line, script, variables } from "../theorem.ts";

type Monomial = readonly [number, readonly string[]];

const monomials = (parts: readonly Monomial[]): (readonly [number, Term])[] =>
  parts.map(([factor, xs]) => [factor, product(...xs.map(name))] as const);

/** A sum of variables and at most one constant, each with a factor. */
function bracket(random: WorldRandom, xs: readonly string[], dials: Dials): Monomial[] {
  const parts: Monomial[] = shuffled(random, xs)
    .slice(0, dials.terms)
    .map((x) => [chance(random, 60) ? 1 : between(random, 2, dials.size), [x]]);
  if (parts.length < 2 || chance(random, dials.constant)) parts.push([between(random, 1, dials.size), []]);
  return parts;
}

const bracketTerm = (parts: readonly Monomial[]): Term => {
  const constant = parts.find(([, xs]) => xs.length === 0)?.[0] ?? 0;
  return linear(monomials(parts.filter(([, xs]) => xs.length > 0)), constant);
};

function multiplied(a: readonly Monomial[], b: readonly Monomial[]): Monomial[] {
  const sum = new Map<string, Monomial>();
  for (const [p, xs] of a)
    for (const [q, ys] of b) {
      const all = [...xs, ...ys].sort();
      const key = all.join(" ");
      sum.set(key, [(sum.get(key)?.[0] ?? 0) + p * q, all]);
    }
  return [...sum.values()];
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const type: Domain = chance(random, 50) ? "Nat" : "Int";
  const xs = letters(random, dials.variables);
  const factors = Array.from({ length: dials.brackets }, () => bracket(random, xs, dials));
  const outer = between(random, 2, dials.size);
  const simple = dials.brackets === 1;
  let result = factors.reduce(multiplied);
  if (simple) result = result.map(([factor, of]) => [outer * factor, of]);
  result = shuffled(random, result);
  const constant = result.find(([, of]) => of.length === 0)?.[0] ?? 0;
  const wrong = truth ? 0 : between(random, 1, 5);
  const expanded = linear(monomials(result.filter(([, of]) => of.length > 0)), constant + wrong);
  const left = simple
    ? chance(random, 50)
      ? binary(number(outer), "*", bracketTerm(factors[0]))
      : binary(bracketTerm(factors[0]), "*", number(outer))
    : product(...factors.map(bracketTerm));
  const turned = chance(random, 30);
  const theorem = {
    binders: [variables(xs, type)],
    goal: turned ? equal(expanded, left) : equal(left, expanded),
  };
  if (!truth) {
    const values = findCounterexample(random, theorem, type, 3);
    return values && { theorem, truth, domain: type, script: counterexample(theorem, type, values) };
  }
  return {
    theorem,
    truth,
    domain: type,
    script: simple
      ? script("Multiply the bracket out.", line("omega", "both sides are linear"))
      : script(
          "Multiply the brackets out and compare.",
          line(
            `simp only [${type}.add_mul, ${type}.mul_add, ${type}.mul_assoc]`,
            "no product of sums remains",
          ),
          line("grind", "the same sum in another order"),
        ),
  };
}

export const ring: Family = {
  name: "ring",
  about: "identities of sums and products",
  levels: {
    1: { variables: 2, brackets: 1, terms: 2, constant: 30, size: 6 },
    2: { variables: 2, brackets: 2, terms: 1, constant: 100, size: 6 },
    3: { variables: 3, brackets: 2, terms: 2, constant: 40, size: 5 },
  },
  draw: (random, dials) => draw(random, dials, true)!,
  drawFalse: (random, dials) => draw(random, dials, false),
};
