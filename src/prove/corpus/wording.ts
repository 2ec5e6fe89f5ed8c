/**
 * Informal problems: a theorem told in one of eight frames, or by a story of its family's, with synonyms and other names for
 * its variables. Two frames of each family are held out, so that translation can be tested on wordings never seen.
 */

import { hash128 } from "../../data/hash.ts";
import type { WorldRandom } from "../../data/world/generator.ts";
import { chance, shuffled } from "./draws.ts";
import type { Draft } from "./family.ts";
import type { Term } from "./term.ts";
import { renameTheorem, type Theorem } from "./theorem.ts";
import { clause, listed, objects } from "./verbal.ts";

interface Told {
  readonly objects: string;
  readonly facts: readonly string[];
  readonly claim: string;
}

/** Names of variables and functions stay as they are. */
const capital = (text: string): string =>
  /^[a-z]{2,}[ ,]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
const let_ = (told: Told): string => (told.objects === "" ? "" : `Let ${told.objects} be given. `);
const facts = (told: Told): string => told.facts.join(", and ");

type Frame = (told: Told) => string;

const FRAMES: readonly Frame[] = [
  (t) => `${let_(t)}${t.facts.length > 0 ? `Suppose that ${facts(t)}. ` : ""}Show that ${t.claim}.`,
  (t) =>
    `Prove that ${t.claim}${t.facts.length > 0 ? `, provided that ${facts(t)}` : ""}.${t.objects === "" ? "" : ` Here we have ${t.objects}.`}`,
  (t) =>
    `${t.objects === "" ? "" : `Consider ${t.objects}. `}${t.facts.length > 0 ? `We know this: ${listed(t.facts)}. ` : ""}Prove: ${t.claim}.`,
  (t) =>
    `${t.objects === "" ? "Show" : `Given ${t.objects}, show`} that ${t.facts.length > 0 ? `whenever ${facts(t)}, we have: ` : ""}${t.claim}.`,
  (t) =>
    `${t.facts.length > 0 ? `Assume that ${facts(t)}. Deduce` : "Convince yourself"} that ${t.claim}${t.objects === "" ? "" : `, for ${t.objects}`}.`,
  (t) =>
    `${t.objects === "" ? "" : `Take ${t.objects}. `}${t.facts.length > 0 ? `If ${facts(t)}, then why is it true that ${t.claim}?` : `Why is it true that ${t.claim}?`}`,
  (t) =>
    `Claim: ${t.claim}. ${t.facts.length > 0 ? `What is known: ${t.facts.join("; ")}. ` : ""}${t.objects === "" ? "" : `Objects: ${t.objects}. `}Prove the claim.`,
  (t) =>
    `${t.facts.length > 0 ? `${capital(t.facts.join(". "))}. ` : ""}Is it true that ${t.claim}${t.objects === "" ? "" : ` for ${t.objects}`}? Show that it is.`,
];

/** Number of frames; stories of a family have higher numbers. */
export const FRAME_COUNT = FRAMES.length;

/** The two frames that training never shows for this family. */
export function heldOutFrames(family: string): readonly [number, number] {
  const [hash] = hash128(family);
  const first = hash % FRAME_COUNT;
  return [first, (first + 1 + ((hash >>> 8) % (FRAME_COUNT - 1))) % FRAME_COUNT];
}

export interface Wording {
  readonly text: string;
  /** The frame, or `FRAME_COUNT` and above for a story. */
  readonly template: number;
}

const NUMBER_NAMES = "x y z a b c k n m r s t u v w i j".split(" ");

/** Tells a theorem of a family. With `heldOut` in the frames kept for tests, otherwise in the others or by a story. */
export function tell(random: WorldRandom, family: string, draft: Draft, heldOut: boolean): Wording {
  const stories = draft.stories ?? [];
  if (!heldOut && stories.length > 0 && chance(random, 35)) {
    const story = random.int(stories.length);
    return { text: stories[story], template: FRAME_COUNT + story };
  }
  const held = heldOutFrames(family);
  const open = FRAMES.map((_frame, i) => i).filter((i) => held.includes(i) === heldOut);
  const template = random.pick(open);
  const { binders, goal } = renamed(random, draft.theorem);
  const told: Told = {
    objects: objects(binders),
    facts: binders.flatMap((each) => (each.kind === "hypothesis" ? [clause(random, each.says)] : [])),
    claim: clause(random, goal),
  };
  const defined = draft.preamble === undefined ? "" : "By the definitions above: ";
  return { text: defined + FRAMES[template](told), template };
}

/** The theorem with other letters for its numbers and propositions. */
function renamed(random: WorldRandom, theorem: Theorem): Theorem {
  const found = new Set<string>();
  const numbers = new Set<string>();
  for (const binder of theorem.binders) {
    if (binder.kind === "hypothesis") everyName(binder.says, found, numbers);
    else
      for (const each of binder.names) {
        found.add(each);
        if (binder.type === "Nat" || binder.type === "Int" || binder.type === "S") numbers.add(each);
      }
  }
  everyName(theorem.goal, found, numbers);
  const taken = [...found].filter((each) => !numbers.has(each));
  const free = shuffled(random, NUMBER_NAMES).filter((each) => !taken.includes(each));
  return renameTheorem(theorem, new Map([...numbers].map((each, i) => [each, free[i] ?? each])));
}

function everyName(term: Term, found: Set<string>, numbers: Set<string>): void {
  switch (term.kind) {
    case "number":
      break;
    case "name":
      found.add(term.name);
      break;
    case "apply":
      found.add(term.head);
      for (const arg of term.args) everyName(arg, found, numbers);
      break;
    case "unary":
      everyName(term.of, found, numbers);
      break;
    case "binary":
      everyName(term.left, found, numbers);
      everyName(term.right, found, numbers);
      break;
    case "quantified":
      for (const each of term.names) {
        found.add(each);
        if (term.type !== "Prop") numbers.add(each);
      }
      everyName(term.body, found, numbers);
  }
}
