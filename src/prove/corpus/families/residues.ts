/** Remainders: of sums and products, and numbers that no remainder allows. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import {
  between,
  chance,
  counterexample,
  equal,
  letters,
  linear,
  product,
  shuffled,
  swapped,
  untilDrawn,
} from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { binary, evaluate, lean, name, not, number, some, type Term } from "../term.ts";
import { hypothesis, line, type Script, script, variables } from "../theorem.ts";

const rest = (of: Term, by: number): Term => binary(of, "%", number(by));

/** A polynomial of the variables without constant, the same ones of degree two or three in some order. */
function polynomial(random: WorldRandom, xs: readonly Term[], dials: Dials): Term {
  const parts: (readonly [number, Term])[] = [];
  for (let i = 0; i < dials.products; i++) {
    const factors = Array.from({ length: between(random, 2, dials.degree) }, () => random.pick(xs));
    parts.push([between(random, 1, dials.size), product(...factors)]);
  }
  for (const x of xs)
    if (dials.products === 0 || chance(random, 50)) parts.push([between(random, 1, dials.size), x]);
  return linear(shuffled(random, parts), chance(random, 60) ? between(random, 1, 9) : 0);
}

const DIVISORS = [12, 15, 18, 20, 21, 24, 30, 35, 40, 42];

function divisor(random: WorldRandom, truth: boolean): Draft {
  const [n] = letters(random, 1, ["n", "x", "a", "k"]);
  const m = random.pick(DIVISORS);
  const d = random.pick([2, 3, 4, 5, 6, 7, 8, 10].filter((each) => m % each === 0 && each < m));
  const r = between(random, 0, m - 1);
  const factor = between(random, 1, 3);
  const shift = chance(random, 50) ? between(random, 1, 9) : 0;
  const result = (factor * r + shift) % d;
  const wrong = (result + between(random, 1, d - 1)) % d;
  const said = truth ? result : wrong;
  const theorem = {
    binders: [variables([n], "Nat"), hypothesis("h", equal(rest(name(n), m), number(r)))],
    goal: equal(rest(linear([[factor, name(n)]], shift), d), number(said)),
  };
  const plain = factor === 1 && shift === 0;
  return {
    theorem,
    truth,
    domain: "Nat",
    script: truth
      ? script(
          `${d} divides ${m}, so the remainder follows.`,
          line("omega", "remainders of one number are linear arithmetic"),
        )
      : counterexample(theorem, "Nat", new Map([[n, r]])),
    stories: plain
      ? [
          `A number leaves remainder ${r} when divided by ${m}. What is its remainder when divided by ${d}? Show that it is ${said}.`,
          `If boxes of ${m} eggs are filled, ${r} eggs are left over. Now boxes of ${d} are filled instead. Show that ${said} are left over.`,
        ]
      : [],
  };
}

function residues(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const xs = letters(random, dials.variables);
  const m = between(random, 3, dials.modulus);
  const values = xs.map(() => between(random, 0, m - 1));
  const polynomialOf = polynomial(random, xs.map(name), dials);
  const at = { domain: "Nat" as const, values: new Map(xs.map((x, i) => [x, values[i]])), reach: 0 };
  const result = (evaluate(polynomialOf, at) as number) % m;
  const said = truth ? result : (result + between(random, 1, m - 1)) % m;
  const facts = xs.map((x, i) => hypothesis(`h${x}`, equal(rest(name(x), m), number(values[i]))));
  const theorem = {
    binders: [variables(xs, "Nat"), ...shuffled(random, facts)],
    goal: equal(rest(polynomialOf, m), number(said)),
  };
  const uses = ["Nat.add_mod", "Nat.mul_mod", ...xs.map((x) => `h${x}`)];
  return {
    theorem,
    truth,
    domain: "Nat",
    script: !truth
      ? counterexample(theorem, "Nat", at.values)
      : dials.products === 0
        ? script("A sum of known remainders.", line("omega", "linear in the variables"))
        : script(
            "Replace each variable by its remainder.",
            line(`simp [${uses.join(", ")}]`, "compute with remainders"),
          ),
  };
}

export const mod: Family = {
  name: "mod",
  about: "remainders of sums and products",
  levels: {
    1: { variables: 1, products: 0, degree: 1, size: 3, modulus: 9 },
    2: { variables: 2, products: 1, degree: 2, size: 4, modulus: 9 },
    3: { variables: 3, products: 2, degree: 3, size: 5, modulus: 11 },
  },
  draw: (random, dials) => drawMod(random, dials, true),
  drawFalse: (random, dials) => drawMod(random, dials, false),
};

function drawMod(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  if (dials.variables === 1 && chance(random, 40)) return divisor(random, truth);
  const linearOnly = dials.variables === 2 && chance(random, 25);
  return residues(random, linearOnly ? { ...dials, products: 0 } : dials, truth);
}

/** Remainders that a polynomial in one variable takes. */
const taken = (values: readonly number[], m: number) => new Set(values.map((value) => value % m));

function caseSplit(x: string, m: number, called: string): string {
  const cases = Array.from({ length: m }, (_, r) => `${x} % ${m} = ${r}`);
  return `have ${called} : ${cases.join(" ∨ ")} := by omega`;
}

/** `(a * n * n + b * n + c) % m ≠ r`, or the same as an equation without solution. */
function square(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const xs = letters(random, dials.variables);
  const m = between(random, 3, dials.modulus);
  const body = polynomial(random, xs.map(name), { ...dials, products: dials.variables, degree: 2 });
  const points = Array.from({ length: m ** xs.length }, (_, i) =>
    xs.map((_x, k) => Math.floor(i / m ** k) % m),
  );
  const at = (point: readonly number[]) => ({
    domain: "Nat" as const,
    values: new Map(xs.map((x, k) => [x, point[k]])),
    reach: 0,
  });
  const values = points.map((point) => evaluate(body, at(point)) as number);
  const hit = taken(values, m);
  const candidates = Array.from({ length: m }, (_, r) => r).filter((r) => hit.has(r) !== truth);
  if (candidates.length === 0) return null;
  const r = random.pick(candidates);
  const asEquation = truth && chance(random, 40);
  const k = "t";
  const goal = asEquation
    ? binary(body, "≠", linear([[m, name(k)]], r))
    : chance(random, 50)
      ? binary(rest(body, m), "≠", number(r))
      : not(equal(rest(body, m), number(r)));
  const theorem = { binders: [variables(asEquation ? [...xs, k] : xs, "Nat")], goal };
  if (!truth) {
    const point = points[values.findIndex((value) => value % m === r)];
    return { theorem, truth, domain: "Nat", script: counterexample(theorem, "Nat", at(point).values) };
  }
  return { theorem, truth, domain: "Nat", script: squareScript(xs, m, body, r, asEquation) };
}

function squareScript(xs: readonly string[], m: number, body: Term, r: number, asEquation: boolean): Script {
  const lines = [];
  const uses = ["Nat.add_mod", "Nat.mul_mod", ...xs.map((x) => `h${x}`)];
  if (asEquation) {
    lines.push(line("intro h", "suppose that there is a solution"));
    lines.push(line(`have h0 : (${lean(body)}) % ${m} = ${r} := by omega`, `take remainders by ${m}`));
    lines.push(line("revert h0"));
  }
  for (const x of xs) lines.push(line(caseSplit(x, m, `h${x}`), `the possible remainders of ${x}`));
  const split = xs.map((x) => `rcases h${x} with ${Array.from({ length: m }, () => `h${x}`).join(" | ")}`);
  lines.push(line(`${split.join(" <;> ")} <;> simp [${uses.join(", ")}]`, "compute each case"));
  return script(`No remainder by ${m} allows it.`, ...lines);
}

/** A linear equation whose factors have a common divisor that the other side lacks. */
function equation(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const type = chance(random, 50) ? "Nat" : "Int";
  const xs = letters(random, dials.variables);
  const d = between(random, 2, 7);
  const factors = xs.map(() => d * between(random, 1, 3));
  const shift = chance(random, 50) ? between(random, 1, 20) : 0;
  const at = xs.map(() => between(random, 1, 9));
  const reached = factors.reduce((total, f, i) => total + f * at[i], shift);
  const right = truth ? reached + between(random, 1, d - 1) : reached;
  const left = linear(
    factors.map((f, i) => [f, name(xs[i])]),
    shift,
  );
  const sides = swapped(random, "=", left, number(right));
  const free = truth && chance(random, 50);
  const theorem = free
    ? { binders: [variables(xs, type)], goal: binary(left, "≠", number(right)) }
    : { binders: [], goal: not(some(xs, type, sides)) };
  const witness = `⟨${at.join(", ")}, by decide⟩`;
  const found = [
    line("intro h", "suppose that there is a solution"),
    ...(free ? [] : [line(`obtain ⟨${xs.join(", ")}, hx⟩ := h`, "name it")]),
    line(
      "omega",
      `the left side is ${shift % d === 0 ? "" : `${shift % d} more than `}a multiple of ${d}, the right is not`,
    ),
  ];
  const one = xs.length === 1 && shift === 0;
  return {
    theorem,
    truth,
    domain: type,
    script: truth
      ? script(`Both sides differ by ${d} in their remainders.`, ...found)
      : script(
          "There is a solution.",
          line("intro h", "suppose that there is none"),
          line(`exact h ${witness}`, "here is one"),
        ),
    stories: one
      ? [
          `Pens cost ${factors[0]} coins each. Show that nobody can spend exactly ${right} coins on pens.`,
          `${right} children are to stand in rows of ${factors[0]}. Show that this is impossible.`,
        ]
      : [],
  };
}

function drawNosol(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  if (chance(random, dials.linear)) return equation(random, dials, truth);
  return square(random, { ...dials, variables: dials.squares }, truth);
}

export const nosol: Family = {
  name: "nosol",
  about: "equations without solution",
  levels: {
    1: { variables: 1, squares: 1, linear: 60, modulus: 4, size: 2 },
    2: { variables: 2, squares: 1, linear: 25, modulus: 7, size: 4 },
    3: { variables: 3, squares: 2, linear: 15, modulus: 4, size: 5 },
  },
  draw: (random, dials) => untilDrawn(() => drawNosol(random, dials, true)),
  drawFalse: (random, dials) => drawNosol(random, dials, false),
};
