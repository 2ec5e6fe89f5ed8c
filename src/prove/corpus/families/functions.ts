/** Values of functions that are known by equations: formulas, recurrences, additive laws. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, linear, names, nonzero, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, lean, name, number, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

const x = name("x");

/** One or two affine functions, composed. The refutation of a wrong value names them. */
function composed(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const heads = names(random.pick(["f g", "g h", "p q"])).slice(0, dials.functions);
  const maps = heads.map(() => ({ a: nonzero(random, dials.size), b: between(random, -9, 9) }));
  const square = dials.square > 0 && chance(random, dials.square);
  const formula = (i: number): Term =>
    square && i === 0
      ? linear(
          [
            [1, binary(x, "*", x)],
            [maps[0].a, x],
          ],
          maps[0].b,
        )
      : linear([[maps[i].a, x]], maps[i].b);
  const value = (i: number, at: number) => (square && i === 0 ? at * at : 0) + maps[i].a * at + maps[i].b;
  const start = between(random, -5, 9);
  let [inner, result]: [Term, number] = [number(start), start];
  const used: number[] = [];
  for (let i = 0; i < dials.depth; i++) {
    const which = random.int(heads.length);
    used.unshift(which);
    inner = apply(heads[which], inner);
    result = value(which, result);
  }
  const said = truth ? result : result + nonzero(random, 5);
  const facts = heads.map((head, i) =>
    hypothesis(`h${head}`, every(["x"], undefined, equal(apply(head, x), formula(i)))),
  );
  const theorem = {
    binders: [variables(heads, "Int → Int"), ...shuffled(random, facts)],
    goal: equal(inner, number(said)),
  };
  const args = theorem.binders.flatMap((binder) =>
    binder.kind === "variables"
      ? heads.map((_head, i) => `(fun x => ${lean(formula(i))})`)
      : ["(fun _ => rfl)"],
  );
  const sumPart = maps[0].b >= 0 ? `increased by ${maps[0].b}` : `decreased by ${-maps[0].b}`;
  return {
    theorem,
    truth,
    script: truth
      ? script(
          "Replace the functions by their formulas and compute.",
          line(`simp only [${heads.map((head) => `h${head}`).join(", ")}]`, "unfold every value"),
          line("decide", "compute"),
        )
      : script(
          "The formulas themselves are a counterexample.",
          line("intro h", "suppose that it holds for all functions"),
          line(`have h1 := h ${args.join(" ")}`, "look at the functions of these formulas"),
          line("revert h1", "their value is another"),
          line("decide"),
        ),
    stories:
      dials.depth === 1 && !square
        ? [
            `A machine takes a number and gives it back multiplied by ${maps[0].a} and ${sumPart}. It is fed ${start}. Show that it gives ${said}.`,
          ]
        : [],
  };
}

/** `f (n + 1)` from `f n`, and one value far off. */
function recurrence(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const a = between(random, 1, dials.factor);
  const b = between(random, a === 1 ? 1 : 0, 7);
  const from = chance(random, 30) ? 1 : 0;
  // A first value at 1 has to come from a natural one at 0, or no function would fulfill the law.
  const first = from === 1 ? a * between(random, 0, 3) + b : between(random, 0, 6);
  const steps = between(random, 2, dials.depth);
  const values = [first];
  for (let i = 0; i < steps; i++) values.push(a * values[i] + b);
  const said = truth ? values[steps] : values[steps] + between(random, 1, 4);
  const n = name("n");
  const law = hypothesis(
    "h",
    every(["n"], undefined, equal(apply("f", binary(n, "+", number(1))), linear([[a, apply("f", n)]], b))),
  );
  const start = hypothesis("h0", equal(apply("f", number(from)), number(first)));
  const theorem = {
    binders: [variables(["f"], "Nat → Nat"), ...shuffled(random, [law, start])],
    goal: equal(apply("f", number(from + steps)), number(said)),
  };
  const lines: ProofLine[] = [];
  for (let i = 1; i <= steps; i++) {
    const [to, before] = [from + i, from + i - 1];
    const right = lean(linear([[a, apply("f", number(before))]], b));
    lines.push(line(`have h${i} : f ${to} = ${right} := h ${before}`, `the law at ${before}`));
  }
  lines.push(line("omega", "the value follows"));
  const grows = a === 1 ? `then ${b} more every day` : `every day ${a} times as many and ${b} more`;
  return {
    theorem,
    truth,
    script: truth ? script("Compute one value after the other.", ...lines) : null,
    stories:
      from === 0
        ? [`A pond has ${first} lilies at first, ${grows}. Show that it has ${said} after ${steps} days.`]
        : [],
  };
}

/**
 * `f (x + y) = f x + f y` (or with a constant), one value, and another that needs the law at chosen places. Only
 * `f x = slope * x - shift` fulfills the law, which takes negative values where there is a shift.
 */
function additive(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const shift = chance(random, 40) ? between(random, 1, 3) : 0;
  const known = between(random, 1, 3);
  const value = known * between(random, 1, 6) - shift;
  const [a, b] = [name("x"), name("y")];
  const law = every(
    ["x", "y"],
    undefined,
    equal(
      apply("f", binary(a, "+", b)),
      linear(
        [
          [1, apply("f", a)],
          [1, apply("f", b)],
        ],
        shift,
      ),
    ),
  );
  const values = new Map([[known, value]]);
  const lines: ProofLine[] = [];
  let last = known;
  for (let i = 1; i <= dials.additions; i++) {
    const other = random.pick([...values.keys()]);
    const to = last + other;
    if (values.has(to) || to > 40) continue;
    const right = lean(
      linear(
        [
          [1, apply("f", number(last))],
          [1, apply("f", number(other))],
        ],
        shift,
      ),
    );
    lines.push(
      line(`have s${i} : f ${to} = ${right} := h ${last} ${other}`, `the law at ${last} and ${other}`),
    );
    values.set(to, values.get(last)! + values.get(other)! + shift);
    last = to;
  }
  const result = values.get(last)!;
  const theorem = {
    binders: [
      variables(["f"], shift > 0 ? "Int → Int" : "Nat → Nat"),
      ...shuffled<Binder>(random, [
        hypothesis("h", law),
        hypothesis("h1", equal(apply("f", number(known)), number(value))),
      ]),
    ],
    goal: equal(apply("f", number(last)), number(truth ? result : result + between(random, 1, 3))),
  };
  return {
    theorem,
    truth,
    script: truth
      ? script(
          "Build the value from the known one by the law.",
          ...lines,
          line("omega", "put the values together"),
        )
      : null,
  };
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const kind = random.int(100);
  if (kind < dials.composed) return composed(random, dials, truth);
  return kind < dials.composed + dials.recurrence
    ? recurrence(random, dials, truth)
    : additive(random, dials, truth);
}

export const funval: Family = {
  name: "funval",
  about: "values of functions given by laws",
  levels: {
    1: { functions: 1, depth: 2, size: 7, square: 0, factor: 1, additions: 1, composed: 60, recurrence: 30 },
    2: { functions: 2, depth: 3, size: 7, square: 20, factor: 3, additions: 3, composed: 30, recurrence: 30 },
    3: { functions: 2, depth: 5, size: 4, square: 20, factor: 3, additions: 5, composed: 20, recurrence: 25 },
  },
  draw: (random, dials) => draw(random, dials, true),
  drawFalse: (random, dials) => draw(random, dials, false),
};
