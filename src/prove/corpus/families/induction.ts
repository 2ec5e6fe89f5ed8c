/** Recursive functions of one number: closed forms, remainders, accumulators, two steps at once. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, linear, product, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, lean, name, number, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

const n = name("n");
const next = binary(n, "+", number(1));
const f = (of: Term) => apply("f", of);
const FUNCTION = "Nat → Nat";

/** `f 0 = first` and `f (n + 1) = step`, as hypotheses of the theorem or as a definition before it. */
function recursion(
  random: WorldRandom,
  first: number,
  step: Term,
  defined: number,
): { preamble?: string; binders: Binder[]; zero: string; laws: string } {
  if (chance(random, defined)) {
    const preamble = `def f : ${FUNCTION}\n  | 0 => ${first}\n  | n + 1 => ${lean(step)}`;
    return { preamble, binders: [], zero: "rfl", laws: "f" };
  }
  const facts = shuffled<Binder>(random, [
    hypothesis("h0", equal(f(number(0)), number(first))),
    hypothesis("h", every(["n"], undefined, equal(f(next), step))),
  ]);
  return { binders: [variables(["f"], FUNCTION), ...facts], zero: "", laws: "h" };
}

const START = "check the claim for 0";
const STEP = "go from k to k + 1";

function byInduction(zero: string, succ: string): ProofLine[] {
  return [
    line("induction n with", "induction on n"),
    line(`| zero => ${zero}`, START),
    line(`| succ k ih => ${succ}`, STEP),
  ];
}

/** `f n = a * n + b`, perhaps seen from another side. */
function affine(random: WorldRandom, dials: Dials): Draft {
  const [a, b] = [between(random, 1, dials.size), between(random, 0, dials.size)];
  const rec = recursion(random, b, linear([[1, f(n)]], a), dials.defined);
  const c = between(random, 2, 4);
  const goals: Term[] = [
    equal(f(n), linear([[a, n]], b)),
    equal(linear([[1, f(n)]], c), linear([[a, n]], b + c)),
    equal(linear([[c, f(n)]], 0), linear([[a * c, n]], b * c)),
    equal(f(linear([[1, n]], c)), linear([[1, f(n)]], a * c)),
    binary(n, "≤", f(n)),
    binary(linear([[a, n]], 0), "≤", f(n)),
  ];
  const which = random.int(goals.length);
  const shift = which === 3;
  const lines = shift
    ? [line(`simp only [${rec.laws}]`, `unfold ${c} steps`)]
    : byInduction(
        rec.preamble ? "simp [f]" : "omega",
        rec.preamble ? "simp only [f]; omega" : "have s := h k; omega",
      );
  return {
    preamble: rec.preamble,
    theorem: { binders: [...rec.binders, variables(["n"], "Nat")], goal: goals[which] },
    truth: true,
    script: script(shift ? "Unfold the recursion." : "Induction: each step adds the same.", ...lines),
    stories:
      which === 0
        ? [
            `A sequence starts with ${b} and grows by ${a} at every step. Show that its n-th term is ${a}n + ${b}.`,
            `There are ${b} coins in a box, and every day ${a} more are put in. Show that there are ${a}n + ${b} after n days.`,
          ]
        : [],
  };
}

/** `f (n + 1) = f n + 2 * a * n + a + b`, so that `f n = a * n * n + b * n + c`. */
function quadratic(random: WorldRandom, dials: Dials): Draft {
  const [a, b, c] = [between(random, 1, 4), between(random, 0, dials.size), between(random, 0, dials.size)];
  const rec = recursion(
    random,
    c,
    linear(
      shuffled(random, [
        [1, f(n)],
        [2 * a, n],
      ]),
      a + b,
    ),
    dials.defined,
  );
  const closedForm = linear(
    shuffled(random, [
      [a, product(n, n)],
      [b, n],
    ]),
    c,
  );
  return {
    preamble: rec.preamble,
    theorem: { binders: [...rec.binders, variables(["n"], "Nat")], goal: equal(f(n), closedForm) },
    truth: true,
    script: script(
      "Induction: the step adds what the square grows by.",
      ...byInduction(rec.preamble ? "simp [f]" : "omega", `rw [${rec.laws}, ih]; grind`),
    ),
  };
}

/** A remainder, or a divisor, that all values share. */
function invariant(random: WorldRandom, dials: Dials): Draft {
  const m = between(random, 2, 7);
  const r = between(random, 0, m - 1);
  const a = between(random, 1, dials.factor);
  const b = ((((r - a * r) % m) + m) % m) + (chance(random, 40) ? m : 0);
  const rec = recursion(random, r + m * random.int(3), linear([[a, f(n)]], b), dials.defined);
  const goal =
    r === 0 && chance(random, 50)
      ? binary(number(m), "∣", f(n))
      : equal(binary(f(n), "%", number(m)), number(r));
  return {
    preamble: rec.preamble,
    theorem: { binders: [...rec.binders, variables(["n"], "Nat")], goal },
    truth: true,
    script: script(
      `Induction: a step does not change the remainder by ${m}.`,
      ...byInduction(
        rec.preamble ? "simp [f]" : "omega",
        rec.preamble ? "simp only [f]; omega" : "have s := h k; omega",
      ),
    ),
  };
}

/** The claim for one start value of an accumulator follows only from the claim for all. */
function accumulator(random: WorldRandom, dials: Dials): Draft {
  const [a, b] = [between(random, 1, dials.size), between(random, 1, 3)];
  const start = chance(random, 60) ? between(random, 0, 9) : null;
  const g = (x: Term, y: Term) => apply("g", x, y);
  const acc = name("s");
  const step = linear([[b, acc]], a);
  const plain = b === 1;
  const facts = shuffled<Binder>(random, [
    hypothesis("h0", every(["s"], undefined, equal(g(number(0), acc), acc))),
    hypothesis(
      "h",
      every(["n", "s"], undefined, equal(g(next, acc), plain ? g(n, step) : linear([[1, g(n, acc)]], a))),
    ),
  ]);
  const general = (of: Term) =>
    linear(
      [
        [1, of],
        [a, n],
      ],
      0,
    );
  const goalAt = start === null ? acc : number(start);
  const right = start === null ? general(acc) : linear([[a, n]], start);
  const binders = [variables(["g"], "Nat → Nat → Nat"), ...facts];
  return {
    theorem: {
      binders: [...binders, variables(start === null ? ["n", "s"] : ["n"], "Nat")],
      goal: equal(g(n, goalAt), right),
    },
    truth: true,
    script: script(
      "Prove it for every start value by induction, then take this one.",
      line(
        `have key : ∀ n s, g n s = s + ${lean(linear([[a, n]], 0))} := by`,
        "the claim for every start value",
      ),
      line("intro n", undefined, 2),
      line("induction n with", "induction on n, the start value stays free", 2),
      line("| zero => intro s; have z := h0 s; omega", START, 2),
      line(
        plain
          ? `| succ k ih => intro s; have z := h k s; have w := ih (${lean(step)}); omega`
          : "| succ k ih => intro s; have z := h k s; have w := ih s; omega",
        STEP,
        2,
      ),
      line(`have e := key n ${lean(goalAt, 1024)}`, "the start value in question"),
      line("omega", "the same sum"),
    ),
  };
}

/** Two values before decide the next: the claim has to be proved for two neighbors at once. */
function twoSteps(random: WorldRandom, _dials: Dials): Draft {
  const m = between(random, 2, 6);
  const [a, b] = [between(random, 1, 4), between(random, 1, 4)];
  const [p, q] = [m * between(random, 0, 3), m * between(random, 0, 3)];
  const later = f(binary(n, "+", number(2)));
  const step = linear(
    shuffled(random, [
      [a, f(next)],
      [b, f(n)],
    ]),
    chance(random, 40) ? m : 0,
  );
  const facts = shuffled<Binder>(random, [
    hypothesis("h0", equal(f(number(0)), number(p))),
    hypothesis("h1", equal(f(number(1)), number(q))),
    hypothesis("h", every(["n"], undefined, equal(later, step))),
  ]);
  const claim = (at: string) => `f ${at} % ${m} = 0`;
  return {
    theorem: {
      binders: [variables(["f"], FUNCTION), ...facts, variables(["n"], "Nat")],
      goal: chance(random, 50)
        ? equal(binary(f(n), "%", number(m)), number(0))
        : binary(number(m), "∣", f(n)),
    },
    truth: true,
    script: script(
      "Prove it for two neighbors at once by induction.",
      line(`have key : ∀ n, ${claim("n")} ∧ ${claim("(n + 1)")} := by`, "the claim for n and n + 1"),
      line("intro n", undefined, 2),
      line("induction n with", "induction on n", 2),
      line("| zero => exact ⟨by omega, by simp [h1]⟩", START, 2),
      line(`| succ k ih => have s := h k; exact ⟨ih.2, by show f (k + 2) % ${m} = 0; omega⟩`, STEP, 2),
      line("have e := (key n).1", "the first of the two"),
      line("omega"),
    ),
  };
}

const KINDS = { affine, quadratic, invariant, accumulator, twoSteps } as const;

export const induct: Family = {
  name: "induct",
  about: "recursive functions of a number",
  levels: {
    1: { size: 6, factor: 1, defined: 40, affine: 70, quadratic: 0, invariant: 30, accumulator: 0 },
    2: { size: 7, factor: 5, defined: 40, affine: 10, quadratic: 25, invariant: 30, accumulator: 20 },
    3: { size: 9, factor: 9, defined: 30, affine: 0, quadratic: 20, invariant: 10, accumulator: 40 },
  },
  draw(random, dials) {
    let kind = random.int(100);
    for (const each of ["affine", "quadratic", "invariant", "accumulator"] as const) {
      if (kind < dials[each]) return KINDS[each](random, dials);
      kind -= dials[each];
    }
    return twoSteps(random, dials);
  },
};
