/** Goals as Lean prints them, taken apart, and what a tactic changed in them. */

export interface Hypothesis {
  readonly name: string;
  /** Type, and value of a `let`, over as many lines as Lean printed. */
  readonly type: string;
}

export interface Goal {
  /** Name of the case; null for none. */
  readonly name: string | null;
  readonly hypotheses: readonly Hypothesis[];
  readonly target: string;
}

export type Change = "same" | "added" | "removed" | "changed";

export interface GoalLine extends Hypothesis {
  readonly change: Change;
  /** What it was, where it changed. */
  readonly before: string | null;
}

export interface GoalChange {
  readonly name: string | null;
  readonly lines: readonly GoalLine[];
  readonly target: GoalLine;
  /** Whether the tactic touched it at all. */
  readonly touched: boolean;
  readonly text: string;
}

/** A goal of its text. Names that share a line (`a b : Nat`) become lines of their own. */
export function parseGoal(text: string): Goal {
  let name: string | null = null;
  const hypotheses: Hypothesis[] = [];
  const lines = text.split("\n");
  let at = 0;
  if (lines[0].startsWith("case ")) name = lines[at++].slice(5);
  for (; at < lines.length && !lines[at].startsWith("⊢"); at++) {
    let line = lines[at];
    while (/^\s/.test(lines[at + 1] ?? "")) line += `\n${lines[++at]}`;
    const colon = /^([^:]+?) :(?!:)\s*/.exec(line);
    if (colon === null) hypotheses.push({ name: "", type: line });
    else
      for (const each of colon[1].split(" "))
        hypotheses.push({ name: each, type: line.slice(colon[0].length) });
  }
  return { name, hypotheses, target: lines.slice(at).join("\n").replace(/^⊢\s*/, "") };
}

const unchanged = (line: Hypothesis): GoalLine => ({ ...line, change: "same", before: null });

function diffGoal(before: Goal, after: Goal, text: string): GoalChange {
  const old = new Map(before.hypotheses.map(({ name, type }) => [name, type]));
  const kept = new Set(after.hypotheses.map(({ name }) => name));
  const lines: GoalLine[] = after.hypotheses.map((line) => {
    const was = old.get(line.name);
    if (was === undefined) return { ...line, change: "added", before: null };
    return was === line.type ? unchanged(line) : { ...line, change: "changed", before: was };
  });
  // What is gone stands where it stood: behind what was before it.
  for (const [i, line] of before.hypotheses.entries()) {
    if (kept.has(line.name)) continue;
    const above = before.hypotheses
      .slice(0, i)
      .findLast(({ name }) => lines.some((each) => each.name === name));
    const place = above === undefined ? 0 : lines.findLastIndex(({ name }) => name === above.name) + 1;
    lines.splice(place, 0, { ...line, change: "removed", before: null });
  }
  const same = before.target === after.target;
  return {
    ...{ name: after.name, lines, text, touched: true },
    target: {
      name: "⊢",
      type: after.target,
      change: same ? "same" : "changed",
      before: same ? null : before.target,
    },
  };
}

/** Goals with what changed in them. @param before null where nothing is compared */
export function diffGoals(before: readonly string[] | null, after: readonly string[]): readonly GoalChange[] {
  const main = before?.find((goal) => !after.includes(goal));
  return after.map((text) => {
    const goal = parseGoal(text);
    if (main !== undefined && !before!.includes(text)) return diffGoal(parseGoal(main), goal, text);
    return {
      ...{ name: goal.name, lines: goal.hypotheses.map(unchanged), text, touched: false },
      target: unchanged({ name: "⊢", type: goal.target }),
    };
  });
}

/** Goals as a comment of Lean. */
export const goalComment = (goals: readonly string[]): string =>
  `/-\n${(goals.length === 0 ? "no goals" : goals.join("\n\n")).replaceAll("-/", "- /")}\n-/\n`;

/** A tactic, as `check` gives it. */
export interface Step {
  readonly start: { readonly index: number };
  readonly end: { readonly index: number };
  readonly goalsBefore: readonly string[] | null;
  readonly goalsAfter: readonly string[] | null;
}

export interface GoalsAt {
  readonly tactic: string;
  /** Whether they are those before the tactic. */
  readonly before: boolean;
  readonly goals: readonly string[];
  /** With what they are compared; null for nothing. */
  readonly against: readonly string[] | null;
}

/** What is behind a tactic on its way to the cursor when the cursor is still in its proof. */
const BETWEEN = /^[\s·.;<>|)⟩\]]*$/;

/** The goals at a place of a text; null outside of proofs, and where the tactic did not run. */
export function goalsAt(text: string, steps: readonly Step[], at: number): GoalsAt | null {
  let found: Step | null = null;
  for (const step of steps) {
    if (step.start.index > at) continue;
    const inside = at <= step.end.index;
    if (!inside && !BETWEEN.test(text.slice(step.end.index, at))) continue;
    // Of those around the cursor the innermost; else the last before it, of several the one that ends last.
    const better =
      found === null ||
      step.start.index > found.start.index ||
      (step.start.index === found.start.index && step.end.index <= found.end.index);
    if (better) found = step;
  }
  if (found === null || found.goalsBefore === null) return null;
  const tactic = text.slice(found.start.index, found.end.index);
  if (at <= found.start.index || found.goalsAfter === null)
    return { tactic, before: true, goals: found.goalsBefore, against: null };
  return { tactic, before: false, goals: found.goalsAfter, against: found.goalsBefore };
}
