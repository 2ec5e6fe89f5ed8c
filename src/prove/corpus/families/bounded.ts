/** Claims about the numbers below a bound, which a check of all of them decides. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import {
  between,
  chance,
  closed,
  counterexample,
  equal,
  letters,
  linear,
  product,
  shuffled,
  untilDrawn,
} from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { binary, chain, evaluate, name, number, type Term, type Value } from "../term.ts";
import { type Binder, hypothesis, line, script, type Theorem, variables } from "../theorem.ts";

/** A polynomial of degree two, with a square or a product in it. */
function polynomial(random: WorldRandom, xs: readonly Term[], dials: Dials): Term {
  const parts: (readonly [number, Term])[] = xs.map((x) => [
    between(random, 1, dials.size),
    chance(random, 70) ? product(x, x) : x,
  ]);
  if (xs.length === 2 && chance(random, 40)) parts.push([between(random, 1, 2), product(...xs)]);
  if (xs.length === 1) parts[0] = [parts[0][0], product(xs[0], xs[0])] as const;
  if (xs.length === 1 && chance(random, 60)) parts.push([between(random, 1, dials.size), xs[0]]);
  return linear(shuffled(random, parts), chance(random, 40) ? between(random, 1, 9) : 0);
}

interface Point {
  readonly values: ReadonlyMap<string, Value>;
  readonly value: number;
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const xs = letters(random, dials.variables);
  const bounds = xs.map(() => between(random, dials.least, dials.most));
  const body = polynomial(random, xs.map(name), dials);
  const points: Point[] = [];
  const total = bounds.reduce((a, b) => a * b);
  for (let i = 0; i < total; i++) {
    const values = new Map(
      xs.map((x, k) => [x, k === 0 ? i % bounds[0] : Math.floor(i / bounds[0])] as const),
    );
    points.push({ values, value: evaluate(body, { domain: "Nat", values, reach: 0 }) as number });
  }
  const [facts, goal] = claim(random, xs, body, points, truth);
  if (goal === null) return null;
  const binders: Binder[] = xs.flatMap((x, i) => [
    variables([x], "Nat"),
    hypothesis(`h${x}`, binary(name(x), "<", number(bounds[i]))),
  ]);
  const open: Theorem = { binders: [...binders, ...facts], goal };
  if (!truth) {
    const wrong = points.find((point) => violates(open, point.values));
    return wrong
      ? { theorem: open, truth, domain: "Nat", script: counterexample(open, "Nat", wrong.values) }
      : null;
  }
  if (points.some((point) => violates(open, point.values))) return null;
  if (
    facts.length > 0 &&
    !points.some((point) =>
      facts.every(
        (f) => f.kind === "hypothesis" && evaluate(f.says, { domain: "Nat", values: point.values, reach: 0 }),
      ),
    )
  )
    return null;
  const free = chance(random, dials.free);
  return free
    ? {
        theorem: open,
        truth,
        domain: "Nat",
        script: script(
          "There are few such numbers.",
          line(`revert ${xs.join(" ")}`, "say it for all of them"),
          line("decide", "try all of them"),
        ),
      }
    : {
        theorem: { binders: [], goal: closed(open) },
        truth,
        domain: "Nat",
        script: script("There are few such numbers.", line("decide", "try all of them")),
      };
}

function violates(theorem: Theorem, values: ReadonlyMap<string, Value>): boolean {
  const at = { domain: "Nat" as const, values, reach: 0 };
  return (
    theorem.binders.every((each) => each.kind === "variables" || evaluate(each.says, at)) &&
    !evaluate(theorem.goal, at)
  );
}

/** A fact about the polynomial and what follows from it below the bounds. */
function claim(
  random: WorldRandom,
  xs: readonly string[],
  body: Term,
  points: readonly Point[],
  truth: boolean,
): [Binder[], Term | null] {
  const values = points.map((point) => point.value);
  const most = Math.max(...values);
  const kind = random.int(4);
  if (kind === 0) {
    const missed = Array.from({ length: most + 1 }, (_, i) => i).filter((v) => values.includes(v) !== truth);
    return [[], missed.length > 0 ? binary(body, "≠", number(random.pick(missed))) : null];
  }
  if (kind === 1) return [[], binary(body, "<", number(truth ? most + between(random, 1, 5) : most))];
  if (kind === 2) {
    const m = between(random, 3, 9);
    const rests = Array.from({ length: m }, (_, r) => r).filter(
      (r) => values.some((v) => v % m === r) !== truth,
    );
    return [
      [],
      rests.length > 0 ? binary(binary(body, "%", number(m)), "≠", number(random.pick(rests))) : null,
    ];
  }
  const picked = random.pick(points).value;
  const roots = points.filter((point) => point.value === picked);
  if (roots.length > 3) return [[], null];
  const x = random.pick(xs);
  const found = [...new Set(roots.map((point) => point.values.get(x) as number))];
  const said = truth ? found : found.map((value, i) => (i === 0 ? value + 1 : value));
  return [
    [hypothesis("h", equal(body, number(picked)))],
    chain(
      "∨",
      shuffled(random, said).map((value) => equal(name(x), number(value))),
    ),
  ];
}

export const bounded: Family = {
  name: "bounded",
  about: "checks of finitely many numbers",
  levels: {
    1: { variables: 1, least: 5, most: 12, size: 1, free: 40 },
    2: { variables: 1, least: 12, most: 22, size: 3, free: 75 },
    3: { variables: 2, least: 5, most: 8, size: 3, free: 85 },
  },
  draw: (random, dials) => untilDrawn(() => draw(random, dials, true)),
  drawFalse: (random, dials) => draw(random, dials, false),
};
