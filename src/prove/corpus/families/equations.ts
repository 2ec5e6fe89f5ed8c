/** Equations in a structure: chains of equalities, products in a monoid and in a group, functions that undo each other. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, names, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, lean, name, type Term } from "../term.ts";
import { type Binder, hypothesis, line, script, variables } from "../theorem.ts";

function equalities(random: WorldRandom, dials: Dials): Draft {
  const all = shuffled(random, names("a b c d e k l")).slice(0, dials.steps + 1);
  const links = all.slice(1).map((to, i) => ({ from: all[i], to, turned: chance(random, 50), h: `h${i}` }));
  const facts = links.map(({ from, to, turned, h }) =>
    hypothesis(h, turned ? equal(name(to), name(from)) : equal(name(from), name(to))),
  );
  const proof = links
    .map(({ h, turned }) => (turned ? `${h}.symm` : h))
    .reduceRight((rest, each) => `${each}.trans (${rest})`);
  return {
    theorem: {
      binders: [
        variables(["S"], "Type"),
        variables([...all].sort(), "S"),
        ...shuffled<Binder>(random, facts),
      ],
      goal: equal(name(all[0]), name(all[dials.steps])),
    },
    truth: true,
    script: script(
      "Follow the equalities from left to right.",
      line(`exact ${proof}`, "one after the other"),
    ),
  };
}

const m = (a: Term, b: Term): Term => apply("m", a, b);
const [x, y, z, e] = [name("x"), name("y"), name("z"), name("e")];
const law = (h: string, bound: readonly string[], left: Term, right: Term): Binder =>
  hypothesis(h, every(bound, undefined, equal(left, right)));

const ASSOCIATIVE = law("assoc", ["x", "y", "z"], m(m(x, y), z), m(x, m(y, z)));
const LEFT_ONE = law("one", ["x"], m(e, x), x);
const RIGHT_ONE = law("eno", ["x"], m(x, e), x);
const LEFT_INVERSE = law("inv", ["x"], m(apply("i", x), x), e);
const RIGHT_INVERSE = law("vni", ["x"], m(x, apply("i", x)), e);

/** A product with brackets in random places. */
function bracketed(random: WorldRandom, factors: readonly Term[]): Term {
  if (factors.length === 1) return factors[0];
  const cut = between(random, 1, factors.length - 1);
  return m(bracketed(random, factors.slice(0, cut)), bracketed(random, factors.slice(cut)));
}

/** Two products of the same letters; ones and pairs that cancel are on the left side only. */
function word(random: WorldRandom, dials: Dials): Draft {
  const letters = shuffled(random, names("a b c d")).slice(0, between(random, 2, 3));
  const right = Array.from({ length: between(random, 2, dials.factors) }, () => name(random.pick(letters)));
  const left: Term[] = [...right];
  const group = dials.pairs > 0;
  for (let i = 0; i < dials.ones; i++) left.splice(random.int(left.length + 1), 0, e);
  for (let i = 0; i < dials.pairs; i++) {
    const of = name(random.pick(letters));
    const pair = chance(random, 50) ? [apply("i", of), of] : [of, apply("i", of)];
    left.splice(random.int(left.length + 1), 0, ...pair);
  }
  const laws = [
    ASSOCIATIVE,
    ...(dials.ones + dials.pairs > 0 ? [LEFT_ONE, RIGHT_ONE] : []),
    ...(group ? [LEFT_INVERSE, RIGHT_INVERSE] : []),
  ];
  const used = letters.filter((each) => left.some((term) => lean(term).split(" ").includes(each)));
  const [p, q] = [bracketed(random, left), bracketed(random, right)];
  const binders: Binder[] = [
    variables(["S"], "Type"),
    variables(["m"], "S → S → S"),
    ...(laws.length > 1 ? [variables(["e"], "S")] : []),
    ...(group ? [variables(["i"], "S → S")] : []),
    ...shuffled(random, laws),
    variables([...used].sort(), "S"),
  ];
  const usesOnes = laws.length > 1 ? ["one", "eno"] : [];
  const lines = group
    ? [
        line(
          "have c1 : ∀ x y, m (i x) (m x y) = y := fun x y => by rw [← assoc, inv, one]",
          "cancel from the left",
        ),
        line(
          "have c2 : ∀ x y, m x (m (i x) y) = y := fun x y => by rw [← assoc, vni, one]",
          "and the other way round",
        ),
        line("simp only [assoc, inv, vni, one, eno, c1, c2]", "bracket to the right and cancel"),
      ]
    : [line(`simp only [${["assoc", ...usesOnes].join(", ")}]`, "bracket both sides to the right")];
  return {
    theorem: { binders, goal: chance(random, 50) ? equal(p, q) : equal(q, p) },
    truth: true,
    script: script("Both sides are the same product once brackets are moved.", ...lines),
  };
}

/** `f` undoes `g`, and `f` takes no value twice: then `g` undoes `f` as well. */
function inverse(random: WorldRandom, dials: Dials): Draft {
  const [f, g] = random.pick([names("f g"), names("p q"), names("u v")]);
  const a = name("a");
  let left: Term = a;
  for (let i = 0; i < dials.depth; i++)
    left = chance(random, 60) ? apply(g, apply(f, left)) : apply(f, apply(g, left));
  const outer = chance(random, 50) ? random.pick([f, g]) : null;
  const goal =
    outer === null
      ? equal(apply(g, apply(f, left)), a)
      : equal(apply(outer, apply(g, apply(f, left))), apply(outer, a));
  const binders: Binder[] = [
    variables(["S"], "Type"),
    variables([f, g], "S → S"),
    ...shuffled(random, [
      hypothesis("h", every(["x"], undefined, equal(apply(f, apply(g, x)), x))),
      hypothesis(
        "inj",
        every(["x", "y"], undefined, binary(equal(apply(f, x), apply(f, y)), "→", equal(x, y))),
      ),
    ]),
    variables(["a"], "S"),
  ];
  return {
    theorem: { binders, goal: chance(random, 70) ? goal : swap(goal) },
    truth: true,
    script: script(
      `${g} undoes ${f} as well, since ${f} takes no value twice.`,
      line(`have k : ∀ y, ${g} (${f} y) = y := fun y => inj _ _ (h (${f} y))`, `${g} undoes ${f}`),
      line("simp only [k, h]", "remove what undoes itself"),
    ),
  };
}

const swap = (term: Term): Term => (term.kind === "binary" ? binary(term.right, term.op, term.left) : term);

export const equ: Family = {
  name: "equ",
  about: "equations in a structure",
  levels: {
    1: { steps: 3, equalities: 50, inverse: 10, factors: 4, ones: 0, pairs: 0, depth: 0 },
    2: { steps: 4, equalities: 15, inverse: 35, factors: 4, ones: 2, pairs: 0, depth: 1 },
    3: { steps: 6, equalities: 10, inverse: 25, factors: 4, ones: 1, pairs: 2, depth: 2 },
  },
  draw(random, dials) {
    const kind = random.int(100);
    if (kind < dials.equalities) return equalities(random, dials);
    return kind < dials.equalities + dials.inverse ? inverse(random, dials) : word(random, dials);
  },
};
