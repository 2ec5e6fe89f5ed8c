/** Linear arithmetic over the integers: hypotheses and a bound that a combination of them with positive factors gives. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, counterexample, letters, linear, nonzero } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { binary, name, number } from "../term.ts";
import { type Binder, hypothesis, line, script, variables } from "../theorem.ts";

/** `truth` decides on which side of the point that fulfills all hypotheses the bound lies. */
function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const names = letters(random, dials.variables);
  const xs = names.map(name);
  const point = xs.map(() => between(random, -4, 4));
  const goal = xs.map(() => 0);
  let bound = 0;
  const hypotheses: Binder[] = [];
  for (let i = 0; i < dials.hypotheses; i++) {
    const factors = xs.map(() => (chance(random, dials.density) ? nonzero(random, dials.size) : 0));
    if (!factors.some((f) => f !== 0)) factors[random.int(xs.length)] = nonzero(random, dials.size);
    const exact = i > 0 && chance(random, 30);
    const at = factors.reduce((total, f, k) => total + f * point[k], 0);
    const constant = -at - (exact ? 0 : between(random, 0, 3));
    // What distracts is not part of the combination.
    const weight = i >= dials.hypotheses - dials.distractors ? 0 : between(random, 1, dials.weight);
    for (const [k, f] of factors.entries()) goal[k] += weight * f;
    bound -= weight * constant;
    const left = linear(
      factors.map((f, k) => [f, xs[k]]),
      constant,
    );
    hypotheses.push(hypothesis(`h${i}`, binary(left, exact ? "=" : "≤", number(0))));
  }
  const shift = between(random, 0, 12);
  const left = linear(
    goal.map((f, k) => [f, xs[k]]),
    shift,
  );
  const value = goal.reduce((total, f, k) => total + f * point[k], 0);
  const right = truth ? bound + shift + between(random, 0, 3) : value + shift - between(random, 1, 3);
  const theorem = {
    binders: [variables(names, "Int"), ...hypotheses],
    goal: binary(left, "≤", number(right)),
  };
  const values = new Map(names.map((x, k) => [x, point[k]]));
  return {
    theorem,
    truth,
    domain: "Int",
    script: truth
      ? script(
          "The claim is a sum of multiples of the hypotheses.",
          line("omega", "linear arithmetic finds the multiples"),
        )
      : counterexample(theorem, "Int", values),
  };
}

export const linint: Family = {
  name: "linint",
  about: "linear integer arithmetic",
  levels: {
    1: { variables: 2, hypotheses: 2, distractors: 0, density: 90, size: 5, weight: 2 },
    2: { variables: 3, hypotheses: 3, distractors: 1, density: 75, size: 5, weight: 3 },
    3: { variables: 4, hypotheses: 4, distractors: 1, density: 70, size: 6, weight: 4 },
  },
  draw: (random, dials) => draw(random, dials, true),
  drawFalse: (random, dials) => draw(random, dials, false),
};
