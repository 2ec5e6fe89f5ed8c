/** Existence: numbers that have to be found, and false universal claims that a number refutes. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import {
  between,
  chance,
  closed,
  counterexample,
  equal,
  findCounterexample,
  letters,
  linear,
  nonzero,
  product,
  shuffled,
  swapped,
  untilDrawn,
  valueText,
} from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import {
  binary,
  chain,
  type Domain,
  evaluate,
  every,
  lean,
  name,
  not,
  number,
  some,
  type Term,
} from "../term.ts";
import { hypothesis, line, script, variables } from "../theorem.ts";

/** Closed existence: equations and bounds that drawn numbers fulfill. */
function system(random: WorldRandom, dials: Dials): Draft {
  const type: Domain = chance(random, dials.signed) ? "Int" : "Nat";
  const xs = letters(random, dials.unknowns);
  const low = type === "Nat" ? 1 : -dials.size;
  const values = new Map(xs.map((x) => [x, between(random, low, dials.size)]));
  const at = { domain: type, values, reach: 0 };
  const facts: Term[] = [];
  for (let i = 0; i < dials.equations; i++) {
    const parts = xs.map((x): [number, Term] => [
      type === "Nat" ? between(random, 1, 9) : nonzero(random, 13),
      chance(random, dials.squares) ? product(name(x), name(x)) : name(x),
    ]);
    if (xs.length === 2 && chance(random, dials.squares)) parts.push([1, product(...xs.map(name))]);
    const left = linear(shuffled(random, parts), chance(random, 50) ? between(random, 1, 30) : 0);
    facts.push(swapped(random, "=", left, number(evaluate(left, at) as number)));
  }
  const bound = chance(random, 40);
  if (bound) {
    const x = random.pick(xs);
    const low = values.get(x)! - between(random, 1, 3);
    if (type === "Int" || low >= 0) facts.push(binary(number(low), "<", name(x)));
  }
  const goal = some(xs, type, chain("∧", shuffled(random, facts)));
  const found = xs.map((x) => valueText(values.get(x)!));
  const single = dials.unknowns === 1 && facts.length === 1 && !bound;
  return {
    theorem: { binders: [], goal },
    truth: true,
    domain: type,
    script: script(
      `Take ${xs.map((x, i) => `${x} = ${found[i]}`).join(" and ")}.`,
      line(`exact ⟨${[...found, "by decide"].join(", ")}⟩`, "these values do it, by computation"),
    ),
    stories: single
      ? [
          `I think of a number. What I do with it is written as follows: ${lean(facts[0])}. Show that there is such a number.`,
        ]
      : [],
  };
}

const COMPOSITE: readonly (readonly [number, number])[] = [
  [7, 11],
  [7, 13],
  [11, 13],
  [5, 17],
  [7, 17],
  [11, 17],
  [13, 17],
  [5, 19],
  [7, 19],
  [11, 19],
  [13, 19],
  [3, 23],
  [5, 23],
  [7, 23],
  [3, 29],
  [5, 29],
  [7, 29],
  [3, 31],
  [5, 31],
  [3, 37],
  [2, 41],
  [3, 41],
  [2, 43],
  [3, 43],
];

function factors(random: WorldRandom): Draft {
  const [a, b] = shuffled(random, random.pick(COMPOSITE));
  const [x, y] = letters(random, 2);
  const n = a * b;
  const facts = [
    chance(random, 50) ? binary(number(1), "<", name(x)) : binary(name(x), "≠", number(1)),
    chance(random, 50) ? binary(number(1), "<", name(y)) : binary(name(y), "≠", number(1)),
    equal(product(name(x), name(y)), number(n)),
  ];
  return {
    theorem: { binders: [], goal: some([x, y], "Nat", chain("∧", shuffled(random, facts))) },
    truth: true,
    domain: "Nat",
    script: script(
      `${n} is ${a} times ${b}.`,
      line(`exact ⟨${a}, ${b}, by decide⟩`, "these two factors do it"),
    ),
    stories: [
      `Show that ${n} is a product of two numbers, neither of which is one.`,
      `${n} chairs can be put into several equal rows of more than one chair. Show this.`,
    ],
  };
}

/** For every number there is another; the witness is a formula. */
function parametric(random: WorldRandom): Draft {
  const [n, m] = letters(random, 2, ["n m", "a b", "x y", "k l"]);
  const d = between(random, 2, 6);
  const c = between(random, 0, 9);
  const kind = random.int(3);
  const free = chance(random, 60);
  const wrap = (goal: Term, witness: string, fact?: Term): Draft => {
    const fact_ = fact === undefined ? [] : [hypothesis("h", fact)];
    const open = { binders: [variables([n], "Nat"), ...fact_], goal };
    const intro = fact === undefined ? `intro ${n}` : `intro ${n} h`;
    return {
      theorem: free ? open : { binders: [], goal: closed(open) },
      truth: true,
      domain: "Nat",
      script: script(
        `Take ${m} = ${witness}.`,
        ...(free ? [] : [line(intro, "take any number")]),
        line(`exact ⟨${witness}, by omega⟩`, "this one does it"),
      ),
    };
  };
  if (kind === 0) {
    const r = between(random, 0, d - 1);
    const goal = some([m], "Nat", equal(name(n), linear([[d, name(m)]], r)));
    return wrap(goal, `${n} / ${d}`, equal(binary(name(n), "%", number(d)), number(r)));
  }
  if (kind === 1) {
    const facts = shuffled(random, [
      binary(linear([[1, name(n)]], c), "<", name(m)),
      equal(binary(name(m), "%", number(d)), number(0)),
    ]);
    return wrap(some([m], "Nat", chain("∧", facts)), `${d} * (${n} + ${c + 1})`);
  }
  return chance(random, 50)
    ? wrap(
        some([m], "Nat", equal(linear([[d, name(m)]], d * c), linear([[d, name(n)]], d * (c + 2)))),
        `${n} + 2`,
      )
    : wrap(
        some([m], "Nat", equal(binary(name(n), "+", name(m)), linear([[d, name(n)]], c))),
        lean(linear([[d - 1, name(n)]], c)),
      );
}

function drawExist(random: WorldRandom, dials: Dials): Draft {
  const kind = random.int(100);
  if (kind < dials.factors) return factors(random);
  return kind < dials.factors + dials.parametric ? parametric(random) : system(random, dials);
}

/** A value that the left side jumps over. */
function noWitness(random: WorldRandom, dials: Dials): Draft {
  const xs = letters(random, Math.min(2, dials.unknowns));
  const d = between(random, 2, 7);
  const parts = xs.map((x): [number, Term] => [d * between(random, 1, 3), name(x)]);
  const shift = between(random, 0, 9);
  const right = d * between(random, 3, 12) + shift + between(random, 1, d - 1);
  const goal = some(xs, "Nat", equal(linear(parts, shift), number(right)));
  return {
    theorem: { binders: [], goal },
    truth: false,
    domain: "Nat",
    script: script(
      `The left side is ${shift} more than a multiple of ${d}.`,
      line("intro h", "suppose that there is a solution"),
      line(`obtain ⟨${xs.join(", ")}, hx⟩ := h`, "name it"),
      line("omega", "the remainders differ"),
    ),
  };
}

export const exist: Family = {
  name: "exist",
  about: "witnesses",
  levels: {
    1: { unknowns: 1, equations: 1, size: 30, squares: 15, signed: 20, factors: 0, parametric: 25 },
    2: { unknowns: 2, equations: 1, size: 20, squares: 20, signed: 40, factors: 25, parametric: 25 },
    3: { unknowns: 2, equations: 2, size: 30, squares: 40, signed: 60, factors: 15, parametric: 15 },
  },
  draw: drawExist,
  drawFalse: noWitness,
};

const RELATIONS = ["≤", "<", "≠", "="] as const;

function side(random: WorldRandom, xs: readonly string[], dials: Dials): Term {
  const parts = xs.map((x): [number, Term] => [
    chance(random, 75) ? between(random, 1, dials.size) : 0,
    chance(random, dials.squares) ? product(name(x), name(x)) : name(x),
  ]);
  return linear(shuffled(random, parts), between(random, 0, 9));
}

/** A universal claim that fails somewhere but not everywhere. */
function universal(random: WorldRandom, dials: Dials) {
  const type: Domain = chance(random, dials.signed) ? "Int" : "Nat";
  const xs = letters(random, dials.variables);
  const [left, right] = [side(random, xs, dials), side(random, xs, dials)];
  const m = between(random, 2, 7);
  const body = chance(random, dials.remainders)
    ? binary(binary(left, "%", number(m)), "≠", number(random.int(m)))
    : binary(left, random.pick(RELATIONS), right);
  const premise =
    xs.length > 1 && chance(random, 60)
      ? [hypothesis("h0", binary(name(xs[0]), random.pick(["≤", "<"] as const), name(xs[1])))]
      : [];
  return { type, open: { binders: [variables(xs, type), ...premise], goal: body } };
}

function drawRefute(random: WorldRandom, dials: Dials): Draft | null {
  const { type, open } = universal(random, dials);
  const values = findCounterexample(random, open, type, dials.reach);
  if (!values) return null;
  // Nearly always false claims are no puzzle: the smallest numbers should not be a counterexample at higher levels.
  if (dials.nontrivial > 0 && chance(random, dials.nontrivial) && failsAtZero(open, type)) return null;
  const found = counterexample(open, type, values);
  if (!found) return null;
  return {
    theorem: { binders: [], goal: not(closed(open)) },
    truth: true,
    domain: type,
    script: found,
  };
}

function failsAtZero(open: { binders: readonly unknown[]; goal: Term }, domain: Domain): boolean {
  const values = new Map((open.binders[0] as { names: string[] }).names.map((each) => [each, 0]));
  return !evaluate(open.goal, { domain, values, reach: 0 });
}

/** Denies a claim that does hold. */
function trueUniversal(random: WorldRandom, dials: Dials): Draft {
  const [x, y] = letters(random, 2);
  const factor = between(random, 1, dials.size);
  const slack = between(random, 0, 5);
  const body = binary(
    binary(name(x), "≤", name(y)),
    "→",
    binary(linear([[factor, name(x)]], 0), "≤", linear([[factor, name(y)]], slack)),
  );
  return {
    theorem: { binders: [], goal: not(every([x, y], "Nat", body)) },
    truth: false,
    domain: "Nat",
    script: script(
      "The denied claim holds.",
      line("intro h", "suppose that it does not"),
      line("apply h"),
      line(`intro ${x} ${y} h0`, "take any two numbers"),
      line("omega", "linear arithmetic"),
    ),
  };
}

export const refute: Family = {
  name: "refute",
  about: "counterexamples",
  levels: {
    1: { variables: 1, size: 4, squares: 10, signed: 20, remainders: 25, reach: 12, nontrivial: 60 },
    2: { variables: 2, size: 5, squares: 20, signed: 50, remainders: 15, reach: 9, nontrivial: 80 },
    3: { variables: 2, size: 7, squares: 60, signed: 60, remainders: 25, reach: 9, nontrivial: 95 },
  },
  draw: (random, dials) => untilDrawn(() => drawRefute(random, dials)),
  drawFalse: trueUniversal,
};
