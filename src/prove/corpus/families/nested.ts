/** Functions of two numbers whose laws descend in both: an induction inside an induction. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, linear, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, lean, name, number, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

const [n, m] = [name("n"), name("m")];
const more = (of: Term, by = 1) => binary(of, "+", number(by));
const f = (x: Term, y: Term) => apply("f", x, y);
const zero = number(0);

/** Ways down from `f (n + 1) (m + 1)`. Each needs the claim at another place. */
const DESCENTS = [
  { place: f(n, m), drop: [1, 1], fact: "ihn k" },
  { place: f(more(n), m), drop: [0, 1], fact: "ihm" },
  { place: f(n, more(m)), drop: [1, 0], fact: "ihn (k + 1)" },
  { place: f(n, more(m, 2)), drop: [1, -1], fact: "ihn (k + 2)" },
] as const;

/** Ways down from `f (n + 1) 0`. */
const EDGES = [
  { place: f(n, zero), drop: [1, 0], fact: "ihn 0" },
  { place: f(n, number(1)), drop: [1, -1], fact: "ihn 1" },
] as const;

function draw(random: WorldRandom, dials: Dials): Draft {
  const a = between(random, 2, dials.size);
  const b = between(random, 1, Math.min(a, dials.size));
  const c = between(random, 0, dials.size);
  const value = (x: Term, y: Term) =>
    linear(
      [
        [a, x],
        [b, y],
      ],
      c,
    );
  const gain = ([p, q]: readonly [number, number]) => a * p + b * q;
  const inner = DESCENTS[random.int(dials.descents)];
  const edge = EDGES[random.int(dials.edges)];
  const stepwise = chance(random, dials.stepwise);
  const facts: Binder[] = [
    hypothesis(
      "h1",
      every(["n"], undefined, equal(f(more(n), zero), linear([[1, edge.place]], gain(edge.drop)))),
    ),
    hypothesis(
      "h2",
      every(["n", "m"], undefined, equal(f(more(n), more(m)), linear([[1, inner.place]], gain(inner.drop)))),
    ),
  ];
  const base: ProofLine[] = [];
  if (stepwise) {
    facts.push(
      hypothesis("h3", equal(f(zero, zero), number(c))),
      hypothesis("h0", every(["m"], undefined, equal(f(zero, more(m)), linear([[1, f(zero, m)]], b)))),
    );
    base.push(
      line("| zero =>", "n is 0: induction on m", 2),
      line("intro m", undefined, 4),
      line("induction m with", undefined, 4),
      line("| zero => omega", "both are 0", 4),
      line("| succ k ihm => have s := h0 k; omega", "from k to k + 1", 4),
    );
  } else {
    facts.push(hypothesis("h0", every(["m"], undefined, equal(f(zero, m), linear([[b, m]], c)))));
    base.push(line("| zero => intro m; have s := h0 m; omega", "n is 0", 2));
  }
  const key: ProofLine[] = [
    line(`have key : ∀ n m, f n m = ${lean(value(n, m))} := by`, "the value everywhere"),
    line("intro n", undefined, 2),
    line("induction n with", "induction on n, m stays free", 2),
    ...base,
    line("| succ j ihn =>", "from j to j + 1: induction on m", 2),
    line("intro m", undefined, 4),
    line("induction m with", undefined, 4),
    line(`| zero => have s := h1 j; have t := ${edge.fact}; omega`, "m is 0", 4),
    line(`| succ k ihm => have s := h2 j k; have t := ${inner.fact}; omega`, "from k to k + 1", 4),
  ];
  const [goal, last] = claim(random, a, b, value, dials);
  return {
    theorem: {
      binders: [
        variables(["f"], "Nat → Nat → Nat"),
        ...shuffled(random, facts),
        variables(["n", "m"], "Nat"),
      ],
      goal,
    },
    truth: true,
    script: script("Find the value by induction on both arguments.", ...key, ...last),
  };
}

function claim(
  random: WorldRandom,
  a: number,
  b: number,
  value: (x: Term, y: Term) => Term,
  dials: Dials,
): [Term, ProofLine[]] {
  const end = line("omega", "compare");
  const at = (...places: [string, string][]) =>
    places.map(([x, y], i) => line(`have e${i} := key ${x} ${y}`, "the value there"));
  const kind = random.int(dials.goals);
  if (kind === 0) return [equal(f(n, m), value(n, m)), [...at(["n", "m"]), end]];
  if (kind === 1) return [equal(value(n, m), f(n, m)), [...at(["n", "m"]), end]];
  if (kind === 2) {
    const goal = equal(f(more(n), m), linear([[1, f(n, m)]], a));
    return [goal, [...at(["(n + 1)", "m"], ["n", "m"]), end]];
  }
  if (kind === 3)
    return [binary(f(n, m), "≤", f(n, more(m, b))), [...at(["n", "m"], ["n", `(m + ${b})`]), end]];
  const goal = equal(
    binary(f(n, m), "+", f(m, n)),
    linear(
      [
        [a + b, n],
        [a + b, m],
      ],
      evaluateConstant(value),
    ),
  );
  return [goal, [...at(["n", "m"], ["m", "n"]), end]];
}

/** Twice the value at the origin. */
function evaluateConstant(value: (x: Term, y: Term) => Term): number {
  const term = value(n, m);
  const constant =
    term.kind === "binary" && term.op === "+" && term.right.kind === "number" ? term.right.value : 0;
  return 2 * constant;
}

export const nested: Family = {
  name: "nested",
  about: "induction inside induction",
  levels: {
    1: { size: 4, descents: 2, edges: 1, stepwise: 0, goals: 2 },
    2: { size: 6, descents: 3, edges: 2, stepwise: 40, goals: 3 },
    3: { size: 9, descents: 4, edges: 2, stepwise: 80, goals: 5 },
  },
  draw,
};
