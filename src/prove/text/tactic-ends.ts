/**
 * Where a proof can be cut and go on: behind tactics of its own sequence, of focused blocks (bullets, `case`, `next`) and of the
 * alternatives of `induction`, `cases`, `match` and `if`. Not inside `have … := by`, `first`, `all_goals` and other tactics
 * whose state on the inside is not the state of the proof. Each comes with all goals that are left: those in focus, then those
 * that wait outside.
 */
import type { TacticStep } from "../lean/session.ts";
import { codeTokens, tokensOf } from "./tokens.ts";
import { type CheckedProof, saysUnsolved } from "./truncate.ts";

/** A tactic of the text and the goals behind it. */
export interface TacticEnd {
  readonly start: number;
  readonly end: number;
  readonly goals: readonly string[];
}

/** A step with the steps directly inside. */
interface Nested {
  readonly step: TacticStep;
  readonly start: number;
  readonly end: number;
  readonly inner: Nested[];
}

const FOCUS = /^(?:·|\.(?=\s)|\{|case'?(?=\s)|next(?=\s)|focus(?=\s))/;
const ALTERNATIVES = /^(?:induction|cases|fun_induction|fun_cases|match|if)(?=\s)/;

/**
 * @param text statement and proof
 * @param proofStart index where the proof begins
 * @param kept index up to which it may stay
 */
export function tacticEnds(
  text: string,
  proofStart: number,
  kept: number,
  answer: CheckedProof,
): TacticEnd[] {
  const outermost = nest(answer, proofStart);
  const opening = openingOf(text, proofStart);
  const first = outermost[0];
  // A proof by a term has tactics in some of its parts only, and no state between them.
  if (opening === null || first === undefined || !isTrivia(text.slice(opening, first.start))) return [];
  const found: TacticEnd[] = [];
  const cutter: Cutter = { text, kept, found };
  sequence(cutter, outermost, 0, [], true);
  const open = unsolved(text, answer, outermost, proofStart);
  return found.filter(
    ({ start, end }) =>
      end <= kept && !open.some(({ at, limit }) => end > limit || (start <= at && at < end)),
  );
}

/** Index behind the `by` that opens the proof; null for a proof by a term. */
function openingOf(text: string, proofStart: number): number | null {
  if (/(?:^|\s)by\s*$/.test(text.slice(0, proofStart))) return proofStart;
  for (const token of tokensOf(text.slice(proofStart))) {
    if (token.kind !== "comment") return token.text === "by" ? proofStart + token.end : null;
  }
  return null;
}

function nest({ steps }: CheckedProof, proofStart: number): Nested[] {
  const outermost: Nested[] = [];
  const path: Nested[] = [];
  for (const step of steps) {
    if (step.start.index < proofStart) continue;
    while (path.length > 0 && path[path.length - 1].step.depth >= step.depth) path.pop();
    const nested = { step, start: step.start.index, end: step.end.index, inner: [] };
    (path.at(-1)?.inner ?? outermost).push(nested);
    path.push(nested);
  }
  return outermost;
}

/** What is being cut, and the ends that were found. */
interface Cutter {
  readonly text: string;
  readonly kept: number;
  readonly found: TacticEnd[];
}

/** The steps of one sequence from index `at` on, and what lies in their blocks. */
function sequence(
  cutter: Cutter,
  steps: readonly Nested[],
  at: number,
  waiting: readonly string[],
  outermost: boolean,
): void {
  let i = at;
  do {
    const { step, start, end } = steps[i];
    if (step.goalsAfter !== null) {
      const goals = [...step.goalsAfter, ...waiting];
      // Inside a block this means that some goal elsewhere is not known.
      if (goals.length > 0 || outermost) cutter.found.push({ start, end, goals });
    }
    blocks(cutter, steps[i], waiting);
    i++;
  } while (i < steps.length && isSeparator(cutter.text.slice(steps[i - 1].end, steps[i].start)));
}

/** Cuts inside a step, if its inside is part of the proof's own course. */
function blocks(cutter: Cutter, { step, start, end, inner }: Nested, waiting: readonly string[]): void {
  const { text, kept } = cutter;
  const before = step.goalsBefore;
  if (inner.length === 0 || before === null) return;
  const source = text.slice(start, end);
  const starts = blockStarts(text, inner);
  const tail = text.slice(inner[inner.length - 1].end, end);
  if (FOCUS.test(source)) {
    // Of a block that is cut short, what stood behind the cut does not matter.
    const stays = source.startsWith("{") ? tail.replace(/\}\s*$/, "") : tail;
    if (starts.length !== 1 || (end <= kept && !isTrivia(stays))) return;
    const outside = unfocused(before, text.slice(start, inner[0].start));
    if (outside !== null) sequence(cutter, inner, 0, [...outside, ...waiting], false);
  } else if (ALTERNATIVES.test(source) && isTrivia(tail)) {
    const gaps = starts.map((at) => text.slice(at === 0 ? start : inner[at - 1].end, inner[at].start));
    // An alternative that is no sequence, `| zero => ?_`, leaves goals that no step shows.
    if (gaps.some((gap) => gap.split("=>").length > 2)) return;
    for (const [k, at] of starts.entries()) {
      const later = starts.slice(k + 1).map((other) => inner[other].step.goalsBefore);
      if (later.includes(null)) continue;
      sequence(cutter, inner, at, [...(later as string[][]).flat(), ...before.slice(1), ...waiting], false);
    }
  }
}

/** Indices of the steps that begin a block: nothing but a separator stands between two steps of one sequence. */
const blockStarts = (text: string, steps: readonly Nested[]): number[] =>
  steps.flatMap((step, i) => (i === 0 || !isSeparator(text.slice(steps[i - 1].end, step.start)) ? [i] : []));

/** The goals that wait while one is in focus; null if the opening of the block focuses several. */
function unfocused(goals: readonly string[], opening: string): readonly string[] | null {
  if (!opening.startsWith("case")) return goals.slice(1);
  const tokens = codeTokens(opening);
  if (tokens.some(({ text }) => text === "|")) return null;
  const tag = tokens[1]?.text ?? "";
  const tags = goals.map((goal) => /^case (\S+)/.exec(goal)?.[1] ?? "");
  const exact = tags.indexOf(tag);
  const at =
    exact >= 0
      ? exact
      : Math.max(
          tags.findIndex((full) => full.endsWith(`.${tag}`)),
          0,
        );
  return goals.filter((_, i) => i !== at);
}

/**
 * Blocks that were left with open goals: text behind their end does not help them, so no cut may hold them as a whole. `at` is
 * where Lean says so, `limit` the end of the block.
 */
function unsolved(
  text: string,
  answer: CheckedProof,
  outermost: readonly Nested[],
  proofStart: number,
): { at: number; limit: number }[] {
  return answer.messages.flatMap((message) => {
    const at = message.start.index;
    if (message.severity !== "error" || !saysUnsolved(message) || at < proofStart) return [];
    let around: Nested | undefined;
    let inside: Nested | undefined = outermost.find(({ start, end }) => start <= at && at < end);
    while (inside !== undefined) {
      around = inside;
      inside = around.inner.find(({ start, end }) => start <= at && at < end);
    }
    if (around === undefined) return [];
    const next = around.inner.findIndex(({ end }) => end > at);
    if (next < 0) return [{ at, limit: around.start }];
    return [{ at, limit: endOfBlock(text, around.inner, next) }];
  });
}

/** End of the block in which the step with this index stands. */
function endOfBlock(text: string, steps: readonly Nested[], index: number): number {
  let i = index;
  while (i + 1 < steps.length && isSeparator(text.slice(steps[i].end, steps[i + 1].start))) i++;
  return steps[i].end;
}

const isTrivia = (text: string): boolean => text.trim() === "" || codeTokens(text).length === 0;

/** Whether what lies between two steps only separates them. */
const isSeparator = (text: string): boolean =>
  text.trim() === "" || codeTokens(text).every((token) => token.text === ";");
