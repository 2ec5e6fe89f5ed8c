/**
 * The stream of informal problems that the pipeline starts from, with defects in known numbers: of 100 problems 20 claim a
 * wrong answer, 8 assume what contradicts itself, 5 are trivial and 5 repeat an earlier one in other words.
 */
import { WorldRandom } from "../../data/world/generator.ts";
import { between, chance, equal, linear, swapped, untilDrawn } from "./draws.ts";
import { FAMILIES } from "./families.ts";
import type { Draft, Level } from "./family.ts";
import { type Defect, HiddenTruth, type ProblemTruth } from "./hidden.ts";
import { fits } from "./sample.ts";
import { placeOf } from "./split.ts";
import { binary, name, number, type Term } from "./term.ts";
import {
  type Binder,
  hypothesis,
  line,
  proofText,
  script,
  statementText,
  type Theorem,
  variables,
} from "./theorem.ts";
import { tell } from "./wording.ts";

export interface InformalProblem {
  readonly id: string;
  readonly source: "corelean";
  readonly informal: string;
}

export interface ProblemRow {
  readonly problem: InformalProblem;
  readonly hidden: HiddenTruth;
}

const STREAM = 3;
/** Percent of all problems, in this order; the rest is sound. */
const DEFECTS: readonly (readonly [Defect, number])[] = [
  ["wrong answer", 20],
  ["contradiction", 8],
  ["trivial", 5],
  ["duplicate", 5],
];
/** Families that are told without definitions. */
const TOLD = FAMILIES.filter(({ name }) => name !== "list");
const REFUTED = TOLD.filter((family) => family.drawFalse !== undefined);
/** Those whose variables are numbers, so that what contradicts itself can be assumed of one. */
const NUMERIC = TOLD.filter(({ name }) =>
  ["linint", "mod", "nosol", "ineq", "ring", "bounded"].includes(name),
);

interface Drawn {
  readonly draft: Draft;
  readonly defect: Defect;
  readonly family: string;
  readonly level: Level;
  readonly repeats?: number;
}

/** Problem `index` of the stream: any machine gives the same one. */
export function problemRow(seed: number, index: number): ProblemRow {
  const random = new WorldRandom(seed, STREAM, index);
  const drawn = drawProblem(seed, index, random);
  const { text } = tell(random, drawn.family, drawn.draft, false);
  return {
    problem: { id: `corelean-${seed}-${index}`, source: "corelean", informal: text },
    hidden: new HiddenTruth(truthOf(drawn)),
  };
}

function truthOf({ draft, defect, family, level, repeats }: Drawn): ProblemTruth {
  return {
    truth: defect === "contradiction" ? "vacuous" : draft.truth ? "true" : "false",
    defect,
    family,
    level,
    gold: statementText(draft.theorem),
    ...(repeats !== undefined && { repeats }),
    proof: draft.script && proofText(draft.script),
  };
}

/** Draws what the wording then continues from; a repeated problem draws the earlier one anew. */
function drawProblem(seed: number, index: number, random: WorldRandom): Drawn {
  let at = random.int(100);
  let defect: Defect = "none";
  for (const [each, percent] of DEFECTS) {
    if (at >= 0 && at < percent) defect = each;
    at -= percent;
  }
  if (defect === "duplicate") {
    // Near enough that a pipeline which works in blocks sees both.
    for (let back = 1 + random.int(Math.max(1, Math.min(200, index))); back <= index && back < 400; back++) {
      const of = index - back;
      const original = drawProblem(seed, of, new WorldRandom(seed, STREAM, of));
      if (original.defect === "none") return { ...original, defect, repeats: of };
    }
    defect = "trivial";
  }
  const level = random.pick([1, 1, 2, 2, 3] as const);
  if (defect === "trivial") return { draft: trivial(random), defect, family: "linint", level: 1 };
  const families = defect === "wrong answer" ? REFUTED : defect === "contradiction" ? NUMERIC : TOLD;
  return untilDrawn(() => {
    const family = random.pick(families);
    const dials = family.levels[level];
    const draft = defect === "wrong answer" ? family.drawFalse!(random, dials) : family.draw(random, dials);
    const kept = draft !== null && defect === "contradiction" ? contradicted(random, draft) : draft;
    if (kept === null || kept.preamble !== undefined || !fits(kept)) return null;
    // Problems are training data: statements of the other splits must not come in by this door.
    if (placeOf("", statementText(kept.theorem)).split !== "train") return null;
    return { draft: kept, defect, family: family.name, level };
  });
}

/** What one look proves. */
function trivial(random: WorldRandom): Draft {
  const [a, b] = [between(random, 2, 20), between(random, 2, 20)];
  const x = name("x");
  const kind = random.int(3);
  const theorem: Theorem =
    kind === 0
      ? { binders: [], goal: equal(binary(number(a), "+", number(b)), number(a + b)) }
      : kind === 1
        ? { binders: [variables(["x"], "Nat")], goal: equal(linear([[a, x]], b), linear([[a, x]], b)) }
        : {
            binders: [variables(["x"], "Nat"), hypothesis("h", binary(x, "≤", number(a)))],
            goal: binary(x, "≤", number(a)),
          };
  const proof = kind === 2 ? line("exact h", "the claim is assumed") : line("rfl", "both sides are the same");
  return { theorem, truth: true, domain: "Nat", script: script("Nothing is to be done.", proof) };
}

/** The theorem with two more assumptions on one of its numbers, or one, that nothing fulfills. */
function contradicted(random: WorldRandom, draft: Draft): Draft | null {
  const { binders, goal } = draft.theorem;
  const numbers = binders.flatMap((each) =>
    each.kind === "variables" && (each.type === "Nat" || each.type === "Int") ? [...each.names] : [],
  );
  if (numbers.length === 0) return null;
  const x = name(random.pick(numbers));
  const k = between(random, 1, 12);
  const wrong: Term[] = random.pick([
    [swapped(random, "=", linear([[2, x]], 0), number(2 * k + 1))],
    [swapped(random, "=", binary(x, "+", x), number(2 * k + 1))],
    [binary(x, "<", number(k)), binary(number(k + between(random, 0, 4)), "<", x)],
    [binary(x, "≤", number(k)), equal(x, number(k + between(random, 1, 5)))],
    [equal(binary(x, "%", number(4)), number(1)), equal(binary(x, "%", number(2)), number(0))],
  ]);
  const added = wrong.map((says, i): Binder => hypothesis(`w${i}`, says));
  const all = [...binders];
  for (const each of added) {
    const last = all.findLastIndex((binder) => binder.kind === "variables");
    all.splice(chance(random, 50) ? all.length : last + 1, 0, each);
  }
  return {
    ...draft,
    theorem: { binders: all, goal },
    stories: [],
    script: script("The assumptions contradict each other.", line("omega", "no number fulfills them")),
  };
}
