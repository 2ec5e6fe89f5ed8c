/** Propositional logic: chains of implications with detours, and random formulas that a truth table shows to hold. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { chance, counterexample, names, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { binary, evaluate, name, not, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

const LETTERS = names("p q r s t u v w");

/**
 * A derivation: facts, rules that lead from one to the next, a goal made of the last ones. Rules come as `p → q`, as its
 * contraposition, from a conjunction, or through both cases of a disjunction.
 */
function drawProp(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const letters = shuffled(random, LETTERS).slice(0, dials.steps + dials.distractors + 2);
  const rules: Binder[] = [];
  const proof: ProofLine[] = [];
  const known = new Map<string, string>();
  let fresh = 0;
  const next = () => letters[fresh++];
  const rule = (says: Term): string => {
    const h = `h${rules.length}`;
    rules.push(hypothesis(h, says));
    return h;
  };
  let at = next();
  known.set(at, rule(name(at)));
  for (let i = 0; i < dials.steps && fresh < letters.length - 1; i++) {
    const to = next();
    const [from, h] = [at, known.get(at)!];
    const kind = random.int(100);
    const fact = `s${i + 1}`;
    if (kind < dials.cases && fresh < letters.length - 1) {
      const side = next();
      const either = rule(binary(name(from), "→", binary(name(to), "∨", name(side))));
      const back = rule(binary(name(side), "→", name(to)));
      proof.push(line(`have ${fact} : ${to} := (${either} ${h}).elim id ${back}`, `${to} in both cases`));
    } else if (kind < dials.cases + 20 && known.size > 1) {
      const [other, k] = random.pick([...known].filter(([each]) => each !== from));
      const both = rule(binary(binary(name(from), "∧", name(other)), "→", name(to)));
      proof.push(line(`have ${fact} : ${to} := ${both} ⟨${h}, ${k}⟩`, `${from} and ${other} give ${to}`));
    } else if (kind < dials.cases + 40) {
      const contra = rule(binary(not(name(to)), "→", not(name(from))));
      proof.push(
        line(
          `have ${fact} : ${to} := Classical.byContradiction (fun no => ${contra} no ${h})`,
          `without ${to} there is no ${from}`,
        ),
      );
    } else {
      proof.push(
        line(
          `have ${fact} : ${to} := ${rule(binary(name(from), "→", name(to)))} ${h}`,
          `${from} gives ${to}`,
        ),
      );
    }
    known.set(to, fact);
    at = to;
  }
  const missing = letters[letters.length - 1];
  for (let i = 0; i < dials.distractors; i++)
    rule(
      chance(random, 50)
        ? binary(name(missing), "→", name(at))
        : binary(name(missing), "→", name(letters[0])),
    );
  const target = truth ? at : missing;
  const other = random.pick([...known.keys()]);
  const kind = random.int(3);
  const goal =
    kind === 0
      ? name(target)
      : kind === 1
        ? binary(name(other), "∧", name(target))
        : binary(name(target), "∨", name(missing));
  const h = known.get(at)!;
  proof.push(
    kind === 0
      ? line(`exact ${h}`, "this is the claim")
      : kind === 1
        ? line(`exact ⟨${known.get(other)}, ${h}⟩`, "both parts are known")
        : line(`exact Or.inl ${h}`, "the left side holds"),
  );
  const used = letters.filter(
    (each) =>
      each === missing ||
      known.has(each) ||
      rules.some((r) => r.kind === "hypothesis" && mentions(r.says, each)),
  );
  const theorem = { binders: [variables(used, "Prop"), ...shuffled(random, rules)], goal };
  if (truth)
    return {
      theorem,
      truth,
      domain: "Nat",
      script: script("Go from fact to fact along the rules.", ...proof),
    };
  const values = new Map(used.map((each) => [each, each !== missing]));
  const refuted = counterexample(theorem, "Nat", values);
  return refuted && { theorem, truth, domain: "Nat", script: refuted };
}

function mentions(term: Term, letter: string): boolean {
  if (term.kind === "name") return term.name === letter;
  if (term.kind === "binary") return mentions(term.left, letter) || mentions(term.right, letter);
  return term.kind === "unary" && mentions(term.of, letter);
}

export const prop: Family = {
  name: "prop",
  about: "chains of implications",
  levels: {
    1: { steps: 1, cases: 0, distractors: 0 },
    2: { steps: 3, cases: 25, distractors: 1 },
    3: { steps: 5, cases: 35, distractors: 2 },
  },
  draw: (random, dials) => drawProp(random, dials, true)!,
  drawFalse: (random, dials) => drawProp(random, dials, false),
};

function formula(random: WorldRandom, letters: readonly string[], depth: number): Term {
  if (depth === 0 || chance(random, 12)) return name(random.pick(letters));
  if (chance(random, 18)) return not(formula(random, letters, depth - 1));
  const op = random.pick(["→", "→", "∧", "∨", "↔"] as const);
  return binary(formula(random, letters, depth - 1), op, formula(random, letters, depth - 1));
}

/** All ways to give the letters truth values. */
function tables(letters: readonly string[]): Map<string, boolean>[] {
  return Array.from(
    { length: 2 ** letters.length },
    (_, i) => new Map(letters.map((letter, k) => [letter, ((i >> k) & 1) === 1])),
  );
}

const holds = (term: Term, values: ReadonlyMap<string, boolean>) =>
  evaluate(term, { domain: "Nat", values, reach: 0 }) as boolean;

function drawRandom(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const letters = LETTERS.slice(0, dials.letters);
  const rows = tables(letters);
  for (;;) {
    const premise = formula(random, letters, dials.depth - 1);
    const goal = binary(premise, "→", formula(random, letters, dials.depth));
    const wrong = rows.find((values) => !holds(goal, values));
    // A premise that never holds would make the claim empty.
    if ((wrong === undefined) !== truth || !rows.some((values) => holds(premise, values))) continue;
    if (letters.some((letter) => !mentions(goal, letter))) continue;
    const theorem = { binders: [variables(letters, "Prop")], goal };
    const cases = letters.map((letter) => `by_cases h${letter} : ${letter}`).join(" <;> ");
    return {
      theorem,
      truth,
      domain: "Nat",
      script: truth
        ? script(
            "Go through the truth table.",
            line(`${cases} <;> simp [*]`, "every row holds by computation"),
          )
        : counterexample(theorem, "Nat", wrong!),
    };
  }
}

export const proprand: Family = {
  name: "proprand",
  about: "random tautologies",
  levels: { 1: { letters: 2, depth: 2 }, 2: { letters: 3, depth: 3 }, 3: { letters: 4, depth: 4 } },
  draw: (random, dials) => drawRandom(random, dials, true),
  drawFalse: (random, dials) => drawRandom(random, dials, false),
};
