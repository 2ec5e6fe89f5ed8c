/** Recursions whose claim has to be made more general before induction proves it: for every start value, or for two functions. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, linear, product, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, lean, name, number, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

const [n, s] = [name("n"), name("s")];
const next = binary(n, "+", number(1));
const g = (of: Term, acc: Term) => apply("g", of, acc);
const START = "check the claim for 0";
const STEP = "go from k to k + 1";

/** `g (n + 1) s = g n (s + 2 * p * n + b)`: what has been added by the end depends on n alone. */
function gathered(random: WorldRandom, dials: Dials): Draft {
  const p = chance(random, dials.quadratic) ? between(random, 1, 3) : 0;
  const b = p + between(random, p === 0 ? 1 : 0, dials.size);
  const factor = between(random, 1, dials.factor);
  const step = linear(
    shuffled(random, [
      [1, s],
      [2 * p * factor, n],
    ]),
    b * factor,
  );
  const total = linear(
    [
      [p * factor, product(n, n)],
      [(b - p) * factor, n],
    ],
    0,
  );
  const start = chance(random, dials.fixed) ? between(random, 0, 9) : null;
  const facts = shuffled<Binder>(random, [
    hypothesis("h0", every(["s"], undefined, equal(g(number(0), s), s))),
    hypothesis("h", every(["n", "s"], undefined, equal(g(next, s), g(n, step)))),
  ]);
  const acc = start === null ? s : number(start);
  const times = between(random, 1, dials.times);
  const right = linear(
    [
      [times * p * factor, product(n, n)],
      [times * (b - p) * factor, n],
      ...(start === null ? [[times, s] as const] : []),
    ],
    times * (start ?? 0),
  );
  const left = linear([[times, g(n, acc)]], 0);
  const value = lean(binary(s, "+", total));
  const end = p > 0 ? "grind" : "omega";
  return {
    theorem: {
      binders: [
        variables(["g"], "Nat → Nat → Nat"),
        ...facts,
        variables(start === null ? ["n", "s"] : ["n"], "Nat"),
      ],
      goal: chance(random, 70) ? equal(left, right) : equal(right, left),
    },
    truth: true,
    script: script(
      "Prove it for every start value by induction, then take this one.",
      line(`have key : ∀ n s, g n s = ${value} := by`, "the claim for every start value"),
      line("intro n", undefined, 2),
      line("induction n with", "induction on n, the start value stays free", 2),
      line("| zero => intro s; rw [h0]; omega", START, 2),
      line(`| succ k ih => intro s; rw [h, ih]; ${end}`, STEP, 2),
      line(`rw [key]`, "the value for this start"),
      ...(times === 1 && start === null && p === 0
        ? [line("omega", "the same sum")]
        : [line(end, "the same sum")]),
    ),
  };
}

/** Two sequences, each of which goes on from the other. */
function mutual(random: WorldRandom, dials: Dials): Draft {
  const q = between(random, 0, dials.size);
  const r = between(random, 0, dials.size);
  const p = Math.abs(q - r) + between(random, q === r ? 1 : 0, 4);
  const e = (of: Term) => apply("a", of);
  const o = (of: Term) => apply("b", of);
  const facts = shuffled<Binder>(random, [
    hypothesis("h0", equal(e(number(0)), number(q))),
    hypothesis("h1", equal(o(number(0)), number(r))),
    hypothesis("h2", every(["n"], undefined, equal(e(next), linear([[1, o(n)]], p + q - r)))),
    hypothesis("h3", every(["n"], undefined, equal(o(next), linear([[1, e(n)]], p + r - q)))),
  ]);
  const [first, second] = [linear([[p, n]], q), linear([[p, n]], r)];
  const goals: Term[] = [
    equal(e(n), first),
    equal(o(n), second),
    equal(binary(e(n), "+", o(n)), linear([[2 * p, n]], q + r)),
    equal(linear([[1, e(n)]], r), linear([[1, o(n)]], q)),
    binary(linear([[p, n]], 0), "≤", e(n)),
  ];
  const lines: ProofLine[] = [
    line(`have key : ∀ n, a n = ${lean(first)} ∧ b n = ${lean(second)} := by`, "both values at once"),
    line("intro n", undefined, 2),
    line("induction n with", "induction on n", 2),
    line("| zero => exact ⟨by omega, by omega⟩", START, 2),
    line("| succ k ih => have s := h2 k; have t := h3 k; omega", STEP, 2),
    line("have e := key n", "at n"),
    line("omega", "compare"),
  ];
  return {
    theorem: {
      binders: [variables(["a", "b"], "Nat → Nat"), ...facts, variables(["n"], "Nat")],
      goal: goals[random.int(Math.min(goals.length, dials.goals))],
    },
    truth: true,
    script: script("Prove the values of both sequences at once by induction.", ...lines),
  };
}

export const accum: Family = {
  name: "accum",
  about: "claims to be generalized first",
  levels: {
    1: { size: 5, factor: 1, quadratic: 0, fixed: 60, times: 1, mutual: 30, goals: 2 },
    2: { size: 6, factor: 3, quadratic: 20, fixed: 70, times: 2, mutual: 45, goals: 4 },
    3: { size: 9, factor: 3, quadratic: 70, fixed: 80, times: 3, mutual: 35, goals: 5 },
  },
  draw: (random, dials) => (chance(random, dials.mutual) ? mutual(random, dials) : gathered(random, dials)),
};
