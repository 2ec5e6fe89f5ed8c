/** Inequalities between products of natural numbers. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import {
  between,
  chance,
  counterexample,
  findCounterexample,
  letters,
  linear,
  product,
  shuffled,
} from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { binary, lean, name, number, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

interface Part {
  readonly factor: number;
  readonly less: Term;
  readonly more: Term;
  /** What proves `less ≤ more`; null where linear arithmetic sees it. */
  readonly proof: string | null;
  readonly note: string;
}

const le = (a: Term, b: Term): Term => binary(a, "≤", b);

/** One product on both sides, larger on the right by one or two hypotheses. */
function monotone(
  random: WorldRandom,
  pairs: readonly (readonly [string, string, string])[],
  extra: string,
): Part {
  const [a, b, h] = random.pick(pairs);
  const [c, d, k] = random.pick(pairs);
  const factor = between(random, 1, 3);
  const kind = random.int(4);
  if (kind === 0) {
    const proof = `Nat.mul_le_mul_right ${extra} ${h}`;
    return {
      factor,
      less: product(name(a), name(extra)),
      more: product(name(b), name(extra)),
      proof,
      note: `multiply by ${extra}`,
    };
  }
  if (kind === 1) {
    const proof = `Nat.mul_le_mul_left ${extra} ${h}`;
    return {
      factor,
      less: product(name(extra), name(a)),
      more: product(name(extra), name(b)),
      proof,
      note: `multiply by ${extra}`,
    };
  }
  const proof = `Nat.mul_le_mul ${h} ${k}`;
  const note = h === k ? "multiply the fact by itself" : "multiply the two facts";
  return { factor, less: product(name(a), name(c)), more: product(name(b), name(d)), proof, note };
}

/** Sums of such parts, with some slack on the right. */
function sums(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const xs = letters(random, dials.variables);
  const extra = xs[xs.length - 1];
  const pairs: (readonly [string, string, string])[] = [];
  for (let i = 0; i + 1 < xs.length - 1; i += 2) pairs.push([xs[i], xs[i + 1], `h${pairs.length}`]);
  const parts: Part[] = [];
  for (let i = 0; i < dials.products; i++) parts.push(monotone(random, pairs, extra));
  for (const [a, b] of pairs)
    if (dials.products === 0 || chance(random, dials.linear))
      parts.push({ factor: between(random, 1, 5), less: name(a), more: name(b), proof: null, note: "" });
  const [low, slack] = [between(random, 0, 9), between(random, 0, 4)];
  const side = (of: "less" | "more", constant: number) =>
    linear(
      shuffled(random, parts).map((part) => [part.factor, part[of]] as const),
      constant,
    );
  const strict = slack > 0 && chance(random, 30);
  const [left, right] = [side("less", low + (truth ? 0 : slack + 1)), side("more", low + slack)];
  const theorem = {
    binders: [
      variables(xs, "Nat"),
      ...shuffled<Binder>(
        random,
        pairs.map(([a, b, h]) => hypothesis(h, le(name(a), name(b)))),
      ),
    ],
    goal: binary(left, strict ? "<" : "≤", right),
  };
  if (!truth) {
    const values = new Map(xs.map((x) => [x, 0]));
    return { theorem, truth, domain: "Nat", script: counterexample(theorem, "Nat", values) };
  }
  const lines: ProofLine[] = [];
  for (const { proof, note } of parts)
    if (proof !== null) lines.push(line(`have s${lines.length} := ${proof}`, note));
  const plan =
    lines.length > 0 ? "Compare the products one by one and add." : "Add multiples of the hypotheses.";
  return {
    theorem,
    truth,
    domain: "Nat",
    script: script(plan, ...lines, line("omega", "the rest is linear")),
  };
}

/** Lower bounds of a product from lower bounds of its factors. */
function bounds(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const xs = letters(random, Math.min(3, dials.products + 1));
  const low = xs.map(() => between(random, 2, 6));
  const result = low.reduce((a, b) => a * b);
  const said = truth ? result - between(random, 0, 1) : result + between(random, 1, 3);
  const facts = xs.map((x, i) => hypothesis(`h${i}`, le(number(low[i]), name(x))));
  const theorem = {
    binders: [variables(xs, "Nat"), ...shuffled<Binder>(random, facts)],
    goal: le(number(said), product(...xs.map(name))),
  };
  if (!truth)
    return {
      theorem,
      truth,
      domain: "Nat",
      script: counterexample(theorem, "Nat", new Map(xs.map((x, i) => [x, low[i]]))),
    };
  const lines = xs
    .slice(1)
    .map((_x, i) =>
      line(`have s${i + 1} := Nat.mul_le_mul ${i === 0 ? "h0" : `s${i}`} h${i + 1}`, "multiply the bounds"),
    );
  return {
    theorem,
    truth,
    domain: "Nat",
    script: script(
      "Multiply the lower bounds.",
      ...lines,
      line("omega", "compute the product of the bounds"),
    ),
    stories:
      xs.length === 2
        ? [
            `A garden is at least ${low[0]} meters long and at least ${low[1]} meters wide, both whole numbers of meters. Show that its area is at least ${said} square meters.`,
            `There are at least ${low[0]} boxes with at least ${low[1]} apples each. Show that there are at least ${said} apples.`,
          ]
        : [],
  };
}

/** `2 * (x * y) ≤ x * x + y * y` with factors and additions, by cases on which is larger. */
function squares(random: WorldRandom, _dials: Dials, truth: boolean): Draft | null {
  const [x, y] = letters(random, 2);
  const [a, b] = [name(x), name(y)];
  const factor = between(random, 1, 3);
  const [low, slack, more] = [between(random, 0, 4), between(random, 0, 3), between(random, 0, 2)];
  const mixed = chance(random, 50) ? product(a, b) : product(b, a);
  const left = linear([[2 * factor + (truth ? 0 : 1), mixed]], low);
  const right = linear(
    shuffled(random, [
      [factor, product(a, a)],
      [factor, product(b, b)],
      [more, chance(random, 50) ? a : b],
    ]),
    low + slack,
  );
  const theorem = { binders: [variables([x, y], "Nat")], goal: le(left, right) };
  if (!truth) {
    const values = findCounterexample(random, theorem, "Nat", 9);
    return values && { theorem, truth, domain: "Nat", script: counterexample(theorem, "Nat", values) };
  }
  const branch = (): ProofLine[] => [
    line("· obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le h", "write the larger as the smaller and a rest d"),
    line("grind", "what remains is the square of d", 2),
  ];
  return {
    theorem,
    truth,
    domain: "Nat",
    script: script(
      "The difference is a multiple of a square.",
      line(`rcases Nat.le_total ${lean(a)} ${lean(b)} with h | h`, "one of them is not larger"),
      ...branch(),
      ...branch(),
    ),
  };
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const kind = random.int(100);
  if (kind < dials.squares) return squares(random, dials, truth);
  if (kind < dials.squares + dials.bounds) return bounds(random, dials, truth);
  return sums(random, dials, truth);
}

export const ineq: Family = {
  name: "ineq",
  about: "inequalities of products",
  levels: {
    1: { variables: 3, products: 0, linear: 100, bounds: 30, squares: 0 },
    2: { variables: 5, products: 1, linear: 50, bounds: 20, squares: 15 },
    3: { variables: 5, products: 3, linear: 60, bounds: 10, squares: 20 },
  },
  draw: (random, dials) => draw(random, dials, true)!,
  drawFalse: (random, dials) => draw(random, dials, false),
};
