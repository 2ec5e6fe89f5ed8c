/** From given witnesses to new ones: numbers of a known form, and what their sums and products look like. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, letters, linear, names, product, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { lean, name, some, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

interface Form {
  readonly x: string;
  /** `x = divisor * k + rest` for some k. */
  readonly divisor: number;
  readonly rest: number;
  readonly k: string;
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const d = between(random, 2, dials.divisor);
  const xs = letters(random, dials.variables, ["a b c d", "m n l i", "x y z w"]);
  const inner = names("k u v").slice(0, xs.length);
  const forms = xs.map((x, i): Form => {
    const divisor = d * between(random, 1, dials.multiple);
    return { x, divisor, rest: between(random, 0, divisor - 1), k: inner[i] };
  });
  const facts = forms.map(({ x, divisor, rest, k }) => {
    const form = linear([[divisor, name("t")]], rest);
    const says = chance(random, 50) ? equal(name(x), form) : equal(form, name(x));
    return { k, binder: hypothesis(`h${k}`, some(["t"], "Nat", says)) };
  });
  const parts: (readonly [number, string[]])[] = xs
    .filter(() => dials.products === 0 || chance(random, 50))
    .map((x) => [between(random, 1, dials.size), [x]]);
  for (let i = 0; i < dials.products; i++)
    parts.push([between(random, 1, 2), [random.pick(xs), random.pick(xs)]]);
  const shift = chance(random, 60) ? between(random, 1, 9) : 0;
  const { witness, rest } = decompose(forms, parts, shift, d);
  const said = truth ? rest : (rest + between(random, 1, d - 1)) % d;
  const left = linear(
    shuffled(random, parts).map(([factor, of]) => [factor, product(...of.map(name))] as const),
    shift,
  );
  const right = linear([[d, name("t")]], said);
  const goal = some(["t"], "Nat", chance(random, 70) ? equal(left, right) : equal(right, left));
  const binders: Binder[] = [variables(xs, "Nat"), ...shuffled(random, facts).map(({ binder }) => binder)];
  if (!truth) {
    const args = binders.flatMap((each) =>
      each.kind === "variables" ? forms.map((form) => String(form.rest)) : ["⟨0, by decide⟩"],
    );
    return {
      theorem: { binders, goal },
      truth,
      script: script(
        `The remainder by ${d} is ${rest}.`,
        line("intro h", "assume that it holds for all"),
        line(`obtain ⟨t, ht⟩ := h ${args.join(" ")}`, "look at the smallest such numbers"),
        line("omega", "the remainders differ"),
      ),
    };
  }
  const opened = forms.map(
    ({ k, x }): ProofLine => line(`obtain ⟨${k}, e${k}⟩ := h${k}`, `what ${x} looks like`),
  );
  const nonlinear = dials.products > 0;
  const bySubstitution = `(by subst ${forms.map(({ k }) => `e${k}`).join(" ")}; grind)`;
  return {
    theorem: { binders, goal },
    truth,
    script: script(
      "Take the given witnesses and build the new one from them.",
      ...opened,
      line(
        `exact ⟨${lean(witness)}, ${nonlinear ? bySubstitution : "by omega"}⟩`,
        `divide by ${d} what they give`,
      ),
    ),
  };
}

/** The quotient and the remainder by d of a sum of products, each variable replaced by its form. */
function decompose(
  forms: readonly Form[],
  parts: readonly (readonly [number, string[]])[],
  shift: number,
  d: number,
): { witness: Term; rest: number } {
  const of = (x: string) => forms.find((form) => form.x === x)!;
  const quotient: (readonly [number, Term])[] = [];
  let constant = shift;
  for (const [factor, [x, y]] of parts) {
    const a = of(x);
    if (y === undefined) {
      quotient.push([(factor * a.divisor) / d, name(a.k)]);
      constant += factor * a.rest;
      continue;
    }
    const b = of(y);
    quotient.push([(factor * a.divisor * b.divisor) / d, product(name(a.k), name(b.k))]);
    quotient.push([(factor * a.divisor * b.rest) / d, name(a.k)]);
    quotient.push([(factor * b.divisor * a.rest) / d, name(b.k)]);
    constant += factor * a.rest * b.rest;
  }
  return { witness: linear(quotient, Math.floor(constant / d)), rest: constant % d };
}

export const decomp: Family = {
  name: "decomp",
  about: "witnesses from witnesses",
  levels: {
    1: { variables: 1, multiple: 3, divisor: 5, products: 0, size: 3 },
    2: { variables: 2, multiple: 2, divisor: 6, products: 0, size: 4 },
    3: { variables: 2, multiple: 2, divisor: 6, products: 1, size: 4 },
  },
  draw: (random, dials) => draw(random, dials, true),
  drawFalse: (random, dials) => draw(random, dials, false),
};
