/** Ladders: a goal that needs facts in order, each from the ones before. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, linear, names, product, shuffled, untilDrawn } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, freeNames, lean, name, number, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

interface Fact {
  readonly divisor: Term;
  readonly of: Term;
  readonly called: string;
}

const divides = ({ divisor, of }: Pick<Fact, "divisor" | "of">): Term => binary(divisor, "∣", of);

/** Divisibility: transitivity, sums, multiples, products of two facts, in random order. */
function divisibility(random: WorldRandom, dials: Dials): Draft | null {
  const letters = shuffled(random, names("a b c d e k m n"));
  let fresh = 0;
  const next = () => name(letters[fresh++]);
  const given: Fact[] = [];
  const give = (divisor: Term, of: Term): Fact => {
    const fact = { divisor, of, called: `h${given.length}` };
    given.push(fact);
    return fact;
  };
  const lines: ProofLine[] = [];
  let last = give(next(), next());
  for (let i = 0; i < dials.steps; i++) {
    if (letters.length - fresh < 2) return null;
    const kind = random.int(4);
    let [divisor, of, proof, note] = [last.divisor, last.of, "", ""];
    if (kind === 0 && last.of.kind === "name") {
      const fact = give(last.of, next());
      of = fact.of;
      [proof, note] = [`Nat.dvd_trans ${last.called} ${fact.called}`, "divisors of divisors divide"];
    } else if (kind === 1 && last.divisor.kind === "name") {
      const fact = give(last.divisor, next());
      [of, note] = [binary(last.of, "+", fact.of), "the sum is divisible as well"];
      proof = `Nat.dvd_add ${last.called} ${fact.called}`;
    } else if (kind === 2) {
      const fact = give(next(), next());
      [divisor, of] = [product(last.divisor, fact.divisor), product(last.of, fact.of)];
      [proof, note] = [`Nat.mul_dvd_mul ${last.called} ${fact.called}`, "multiply the two facts"];
    } else {
      const factor = chance(random, 40) ? number(between(random, 2, 9)) : next();
      const left = chance(random, 50);
      of = left ? product(factor, last.of) : product(last.of, factor);
      const lemma = left ? "Nat.dvd_mul_left_of_dvd" : "Nat.dvd_mul_right_of_dvd";
      [proof, note] = [`${lemma} ${last.called} ${lean(factor)}`, "a multiple is divisible too"];
    }
    const called = `s${i + 1}`;
    const final = i === dials.steps - 1;
    lines.push(
      line(final ? `exact ${proof}` : `have ${called} : ${lean(divides({ divisor, of }))} := ${proof}`, note),
    );
    last = { divisor, of, called };
  }
  const goal = divides(last);
  if (lean(goal).length > 60) return null;
  const used = new Set([...freeNames(goal), ...given.flatMap((fact) => [...freeNames(divides(fact))])]);
  return {
    theorem: {
      binders: [
        variables([...used].sort(), "Nat"),
        ...shuffled<Binder>(
          random,
          given.map((fact) => hypothesis(fact.called, divides(fact))),
        ),
      ],
      goal,
    },
    truth: true,
    domain: "Nat",
    script: script(`Derive ${dials.steps} facts in order.`, ...lines),
  };
}

/** A property that rules carry from number to number; two numbers may be needed at once. */
function reach(random: WorldRandom, dials: Dials): Draft | null {
  const n = name("n");
  const [factor, shift] = [between(random, 2, 3), between(random, 2, 7)];
  const P = (of: Term) => apply("P", of);
  const rules = [
    { h: "h1", says: every(["n"], undefined, binary(P(n), "→", P(product(number(factor), n)))) },
    { h: "h2", says: every(["n"], undefined, binary(P(n), "→", P(linear([[1, n]], shift)))) },
    {
      h: "h3",
      says: every(
        ["m", "n"],
        undefined,
        binary(P(name("m")), "→", binary(P(n), "→", P(binary(name("m"), "+", n)))),
      ),
    },
  ];
  const start = between(random, 1, 4);
  const known = new Map([[start, "h0"]]);
  const lines: ProofLine[] = [];
  const used = new Set<string>();
  let last = start;
  for (let i = 1; i <= dials.steps; i++) {
    const rule = random.int(dials.pairs > 0 ? 3 : 2);
    const other = random.pick([...known.keys()]);
    const to = rule === 0 ? factor * last : rule === 1 ? last + shift : last + other;
    if (known.has(to) || to > 99) return null;
    const fact = known.get(last)!;
    const proof =
      rule === 2 ? `h3 ${last} ${other} ${fact} ${known.get(other)}` : `h${rule + 1} ${last} ${fact}`;
    lines.push(
      line(
        i === dials.steps ? `exact ${proof}` : `have s${i} : P ${to} := ${proof}`,
        `from ${last} to ${to}`,
      ),
    );
    used.add(`h${rule + 1}`);
    known.set(to, `s${i}`);
    last = to;
  }
  if (used.size < 2) return null;
  const kept = rules.filter(({ h }) => used.has(h) || chance(random, 30));
  return {
    theorem: {
      binders: [
        variables(["P"], "Nat → Prop"),
        ...shuffled<Binder>(random, [
          hypothesis("h0", P(number(start))),
          ...kept.map(({ h, says }) => hypothesis(h, says)),
        ]),
      ],
      goal: P(number(last)),
    },
    truth: true,
    script: script(`Get from ${start} to ${last} in ${dials.steps} steps.`, ...lines),
  };
}

export const ladder: Family = {
  name: "ladder",
  about: "facts that need each other in order",
  levels: {
    1: { steps: 2, pairs: 0, reach: 30 },
    2: { steps: 4, pairs: 1, reach: 35 },
    3: { steps: 6, pairs: 1, reach: 45 },
  },
  draw: (random, dials) =>
    untilDrawn(() => (chance(random, dials.reach) ? reach(random, dials) : divisibility(random, dials))),
};
