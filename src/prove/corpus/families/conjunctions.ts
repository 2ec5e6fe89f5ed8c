/** Conjunctions of two to four small theorems of other families, each of which needs its own idea. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, closed, introduced } from "../draws.ts";
import type { Dials, Draft, Family, Level } from "../family.ts";
import { chain, type Domain, lean } from "../term.ts";
import { bullet, line, type ProofLine, script } from "../theorem.ts";
import { bounded } from "./bounded.ts";
import { ineq } from "./inequalities.ts";
import { ladder } from "./ladders.ts";
import { prop } from "./logic.ts";
import { mod, nosol } from "./residues.ts";
import { exist, refute } from "./witnesses.ts";

const PARTS: readonly (readonly [Family, Level])[] = [
  [exist, 1],
  [exist, 2],
  [refute, 1],
  [refute, 2],
  [ineq, 1],
  [ineq, 2],
  [mod, 1],
  [mod, 2],
  [nosol, 1],
  [bounded, 1],
  [prop, 1],
  [ladder, 1],
];

/** A theorem whose text is short enough to stand beside others, closed, with its proof from there. */
function part(random: WorldRandom, longest: number, truth: boolean): Draft {
  for (;;) {
    const [family, level] = random.pick(PARTS);
    const dials = family.levels[level];
    const draft = truth ? family.draw(random, dials) : (family.drawFalse?.(random, dials) ?? null);
    if (draft?.script && lean(closed(draft.theorem)).length <= longest) return draft;
  }
}

function proofOf(draft: Draft): readonly ProofLine[] {
  const intros = introduced(draft.theorem);
  const { plan, lines } = draft.script!;
  if (intros.length === 0) return lines.map((each, i) => (i === 0 ? { ...each, note: plan } : each));
  return [line(`intro ${intros.join(" ")}`, plan), ...lines];
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft {
  const count = between(random, dials.least, dials.most);
  const parts = Array.from({ length: count }, () => part(random, dials.longest, true));
  const wrong = random.int(count);
  if (!truth) parts[wrong] = part(random, dials.longest, false);
  const goal = chain(
    "∧",
    parts.map((each) => closed(each.theorem)),
  );
  const theorem = { binders: [], goal };
  if (truth)
    return {
      theorem,
      truth,
      parts: count,
      domain: domainOf(parts),
      script: script(
        `Prove the ${count} parts one by one.`,
        line(`refine ⟨${parts.map(() => "?_").join(", ")}⟩`, "one goal for each part"),
        ...parts.flatMap((each) => bullet(proofOf(each))),
      ),
    };
  // The refutation of a part denies its closed form, which is what the conjunction holds at that place.
  const path = [...Array.from({ length: wrong }, () => "2"), ...(wrong < count - 1 ? ["1"] : [])];
  const at = ["hall", ...path].join(".");
  const { plan, lines } = parts[wrong].script!;
  return {
    theorem,
    truth,
    parts: count,
    domain: domainOf(parts),
    script: script(plan, line("intro hall", "suppose that all parts hold"), ...reopened(lines, at)),
  };
}

/** `intro h` of a refutation becomes `have h := ..`: the same fact, now a part of a larger one. */
function reopened(lines: readonly ProofLine[], at: string): ProofLine[] {
  const [first, ...rest] = lines;
  return [{ ...first, code: first.code.replace("intro h", `have h := ${at}`) }, ...rest];
}

function domainOf(parts: readonly Draft[]): Domain | undefined {
  return parts.every((each) => each.domain !== undefined) ? parts[0].domain : undefined;
}

export const conj: Family = {
  name: "conj",
  about: "several theorems at once",
  levels: {
    1: { least: 2, most: 2, longest: 45 },
    2: { least: 2, most: 3, longest: 60 },
    3: { least: 3, most: 4, longest: 60 },
  },
  draw: (random, dials) => draw(random, dials, true),
  drawFalse: (random, dials) => draw(random, dials, false),
};
