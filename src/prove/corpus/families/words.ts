/**
 * Words in unary functions: equal under equations (`rewrite`), or one below the other in an order that the functions keep
 * (`calc`, with products of numbers as its other kind). Every step is forced by one law at one place.
 */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { ConfigError } from "../../../tensor/errors.ts";
import { between, chance, names, shuffled, untilDrawn } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, every, lean, name, type Term } from "../term.ts";
import { type Binder, hypothesis, line, script, variables } from "../theorem.ts";

type Word = string;
interface Law {
  readonly h: string;
  readonly left: Word;
  readonly right: Word;
}
interface Step {
  readonly law: Law;
  /** Letters before and after the place where it applies. */
  readonly before: Word;
  readonly after: Word;
  readonly forward: boolean;
  readonly to: Word;
}

const wordTerm = (word: Word, at: Term): Term => [...word].reduceRight<Term>((of, f) => apply(f, of), at);

function randomWord(random: WorldRandom, letters: readonly string[], length: number): Word {
  return Array.from({ length }, () => random.pick(letters)).join("");
}

/** The longer side first, unless `turning`: in an order, laws that go one way must be able to lengthen a word. */
function laws(random: WorldRandom, letters: readonly string[], dials: Dials, turning: boolean): Law[] {
  const found: Law[] = [];
  while (found.length < dials.laws) {
    let left = randomWord(random, letters, between(random, 2, 3));
    let right = randomWord(random, letters, between(random, 1, 2));
    if (turning && chance(random, 50)) [left, right] = [right, left];
    if (
      left === right ||
      found.some((law) => law.left === left || (law.left === right && law.right === left))
    )
      continue;
    found.push({ h: `h${found.length}`, left, right });
  }
  return found;
}

/** A walk that meets no word twice. `both` allows laws from right to left. */
function walk(
  random: WorldRandom,
  all: readonly Law[],
  start: Word,
  dials: Dials,
  both: boolean,
): Step[] | null {
  const seen = new Set([start]);
  const steps: Step[] = [];
  let at = start;
  while (steps.length < dials.steps) {
    const next: Step[] = [];
    for (const law of all)
      for (const forward of both ? [true, false] : [true]) {
        const [from, to] = forward ? [law.left, law.right] : [law.right, law.left];
        for (let i = at.indexOf(from); i >= 0; i = at.indexOf(from, i + 1)) {
          const [before, after] = [at.slice(0, i), at.slice(i + from.length)];
          const word = before + to + after;
          if (word.length <= dials.longest && !seen.has(word))
            next.push({ law, before, after, forward, to: word });
        }
      }
    if (next.length === 0) return null;
    const step = random.pick(next);
    steps.push(step);
    seen.add(step.to);
    at = step.to;
  }
  return steps;
}

const LAW_VARIABLE = name("x");

function drawRewrite(random: WorldRandom, dials: Dials): Draft | null {
  const letters = names(random.pick(["f g", "f g h", "p q", "g h"])).slice(0, dials.functions);
  const all = laws(random, letters, dials, false);
  const start = randomWord(random, letters, between(random, 3, 5));
  const steps = walk(random, all, start, dials, true);
  if (!steps || all.filter((law) => steps.some((step) => step.law === law)).length < 2) return null;
  const a = name("a");
  const facts = all.map(({ h, left, right }) =>
    hypothesis(
      h,
      every(["x"], undefined, binary(wordTerm(left, LAW_VARIABLE), "=", wordTerm(right, LAW_VARIABLE))),
    ),
  );
  const lines = steps.map(({ law, before, after, forward, to }, i) => {
    const at = lean(wordTerm(after, a), 1024);
    const fact = forward ? `${law.h} ${at}` : `(${law.h} ${at}).symm`;
    const inside = lean(wordTerm(before, name("z")));
    const proof = before === "" ? fact : `congrArg (fun z => ${inside}) ${forward ? `(${fact})` : fact}`;
    const head = i === 0 ? `calc ${lean(wordTerm(start, a))}` : "  _";
    const note = `${law.h} ${forward ? "from left to right" : "from right to left"}`;
    return line(`${head} = ${lean(wordTerm(to, a))} := ${proof}`, i === 0 ? note : undefined);
  });
  const end = steps[steps.length - 1].to;
  return {
    theorem: {
      binders: [
        variables(["S"], "Type"),
        variables(letters, "S → S"),
        ...shuffled<Binder>(random, facts),
        variables(["a"], "S"),
      ],
      goal: binary(wordTerm(start, a), "=", wordTerm(end, a)),
    },
    truth: true,
    script: script(`Rewrite the left side ${steps.length} times.`, ...lines),
  };
}

export const rewrite: Family = {
  name: "rewrite",
  about: "words under equations",
  levels: {
    1: { functions: 2, laws: 2, steps: 2, longest: 7 },
    2: { functions: 2, laws: 3, steps: 4, longest: 8 },
    3: { functions: 3, laws: 4, steps: 7, longest: 9 },
  },
  draw: (random, dials) => untilDrawn(() => drawRewrite(random, dials)),
};

function drawOrder(random: WorldRandom, dials: Dials): Draft | null {
  const letters = names(random.pick(["f g", "p q", "g h"]));
  const all = laws(random, letters, dials, true);
  const start = randomWord(random, letters, between(random, 3, 5));
  const steps = walk(random, all, start, dials, false);
  if (!steps || all.filter((law) => steps.some((step) => step.law === law)).length < 2) return null;
  const a = name("a");
  const [x, y, z] = [name("x"), name("y"), name("z")];
  const below = (p: Term, q: Term) => apply("R", p, q);
  const keeps = letters.map((f) =>
    hypothesis(
      `m${f}`,
      every(["x", "y"], undefined, binary(below(x, y), "→", below(apply(f, x), apply(f, y)))),
    ),
  );
  const transitive = every(
    ["x", "y", "z"],
    undefined,
    binary(below(x, y), "→", binary(below(y, z), "→", below(x, z))),
  );
  const facts = all.map(({ h, left, right }) =>
    hypothesis(h, every(["x"], undefined, below(wordTerm(left, x), wordTerm(right, x)))),
  );
  const lines = steps.map(({ law, before, after, to }, i) => {
    const fact = [...before].reduceRight(
      (proof, f) => `m${f} _ _ (${proof})`,
      `${law.h} ${lean(wordTerm(after, a), 1024)}`,
    );
    const goal = lean(below(wordTerm(start, a), wordTerm(to, a)));
    const proof = i === 0 ? fact : `tr _ _ _ s${i} (${fact})`;
    return line(
      i === steps.length - 1 ? `exact ${proof}` : `have s${i + 1} : ${goal} := ${proof}`,
      `use ${law.h}${before === "" ? "" : ` inside ${before}`}`,
    );
  });
  return {
    theorem: {
      binders: [
        variables(["S"], "Type"),
        variables(["R"], "S → S → Prop"),
        variables(letters, "S → S"),
        hypothesis("tr", transitive),
        ...shuffled<Binder>(random, [...keeps, ...facts]),
        variables(["a"], "S"),
      ],
      goal: below(wordTerm(start, a), wordTerm(steps[steps.length - 1].to, a)),
    },
    truth: true,
    script: script(`Go up ${steps.length} times, each time by one law at one place.`, ...lines),
  };
}

/** A sum or product of letters; every letter once. */
function tree(random: WorldRandom, letters: readonly string[]): Term {
  if (letters.length === 1) return name(letters[0]);
  const cut = between(random, 1, letters.length - 1);
  const op = chance(random, 65) ? "*" : "+";
  return binary(tree(random, letters.slice(0, cut)), op, tree(random, letters.slice(cut)));
}

/** The proof that a tree does not get smaller when one letter in it does not, and the tree after that. */
function raised(term: Term, from: string, to: string, h: string): { proof: string; to: Term } | null {
  if (term.kind === "name") return term.name === from ? { proof: h, to: name(to) } : null;
  if (term.kind !== "binary")
    throw new ConfigError("no sum or product", { where: "raised", found: term.kind });
  const lemma = term.op === "*" ? "Nat.mul_le_mul" : "Nat.add_le_add";
  const inner = (proof: string) => (/^h\d$/.test(proof) ? proof : `(${proof})`);
  const left = raised(term.left, from, to, h);
  if (left) {
    const beside = lean(term.right, 1024);
    const args = term.op === "*" ? `${beside} ${inner(left.proof)}` : `${inner(left.proof)} ${beside}`;
    return { proof: `${lemma}_right ${args}`, to: binary(left.to, term.op, term.right) };
  }
  const right = raised(term.right, from, to, h);
  if (!right) return null;
  const beside = lean(term.left, 1024);
  const args = term.op === "*" ? `${beside} ${inner(right.proof)}` : `${inner(right.proof)} ${beside}`;
  return { proof: `${lemma}_left ${args}`, to: binary(term.left, term.op, right.to) };
}

/** A staircase: the letters of a term are raised one after the other. */
function drawStairs(random: WorldRandom, dials: Dials): Draft {
  const low = names("a b c d e").slice(0, dials.letters);
  const high = names("x y z u v").slice(0, dials.letters);
  const order = shuffled(random, low);
  const start = tree(random, order);
  let at = start;
  const lines = shuffled(random, low).map((letter, i) => {
    const k = low.indexOf(letter);
    const next = raised(at, letter, high[k], `h${k}`)!;
    const head = i === 0 ? `calc ${lean(at)}` : "  _";
    at = next.to;
    return line(
      `${head} ≤ ${lean(at)} := ${next.proof}`,
      i === 0 ? `raise ${letter} to ${high[k]} first` : undefined,
    );
  });
  const facts = low.map((letter, k) => hypothesis(`h${k}`, binary(name(letter), "≤", name(high[k]))));
  return {
    theorem: {
      binders: [variables([...low, ...high], "Nat"), ...shuffled<Binder>(random, facts)],
      goal: binary(start, "≤", at),
    },
    truth: true,
    domain: "Nat",
    script: script("Raise one letter after the other.", ...lines),
  };
}

export const calc: Family = {
  name: "calc",
  about: "chains of forced steps in an order",
  levels: {
    1: { laws: 2, steps: 2, longest: 7, letters: 2, stairs: 50 },
    2: { laws: 3, steps: 4, longest: 8, letters: 3, stairs: 50 },
    3: { laws: 3, steps: 6, longest: 9, letters: 5, stairs: 40 },
  },
  draw: (random, dials) =>
    chance(random, dials.stairs) ? drawStairs(random, dials) : untilDrawn(() => drawOrder(random, dials)),
};
