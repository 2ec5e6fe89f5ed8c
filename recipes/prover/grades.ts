/**
 * Grades of statements by rule, with a line that says why: what the prover learns to write (DeepSeek-Prover V1, section 3.2). The
 * rules look at the text alone: whether the claim is assumed or says nothing, what nothing uses, how many different symbols there
 * are, and how long it is.
 */
import { canonicalForm } from "../../src/prove/text/canonical.ts";
import type { Grade } from "../../src/prove/text/formalize.ts";
import { parseStatement } from "../../src/prove/text/statements.ts";
import { codeTokens, nesting } from "../../src/prove/text/tokens.ts";

export interface RuledGrade {
  readonly grade: Grade;
  readonly analysis: string;
}

/** Points from which on a statement has a grade: each different symbol gives one, ten words of length one more. */
const CLASSES: readonly { readonly grade: Grade; readonly least: number }[] = [
  { grade: "excellent", least: 30 },
  { grade: "good", least: 25 },
  { grade: "above average", least: 19 },
  { grade: "fair", least: 15 },
  { grade: "poor", least: Number.NEGATIVE_INFINITY },
];
/** Points that a variable costs which nothing uses. */
const IDLE = 3;

/** A binder that says one of these is a hypothesis, any other a variable. */
const RELATIONS = new Set("= ≠ < > ≤ ≥ ∣ ∧ ∨ → ↔ ¬ ∀ ∃ <= >=".split(" "));

const words = (text: string): string[] => codeTokens(text).map((token) => token.text);
const isName = (word: string) => /^[\p{L}_]/u.test(word);

interface BinderGroup {
  readonly names: readonly string[];
  readonly says: readonly string[];
}

/** `(x y : Nat) (h : x ≤ 3)` as names and what is said of them. */
function binderGroups(text: string): BinderGroup[] {
  const groups: BinderGroup[] = [];
  let depth = 0;
  let own: string[] = [];
  for (const token of codeTokens(text)) {
    const before = depth;
    depth += nesting(token);
    if (before === 0) own = [];
    else if (depth > 0) own.push(token.text);
    if (depth > 0 || before === 0) continue;
    const colon = Math.max(0, own.indexOf(":"));
    groups.push({ names: own.slice(0, colon), says: own.slice(colon + 1) });
  }
  return groups;
}

/** Whether the goal says that a term equals itself, or compares numerals. */
function saysNothing(goal: readonly string[]): boolean {
  const at = goal.indexOf("=");
  if (at < 0) return false;
  return goal.slice(0, at).join(" ") === goal.slice(at + 1).join(" ") || !goal.some(isName);
}

/** @throws FormatError for text that is no statement */
export function ruledGrade(statement: string): RuledGrade {
  const { binders, conclusion } = parseStatement(statement);
  const goal = words(conclusion);
  const groups = binderGroups(binders);
  const isHypothesis = ({ says }: BinderGroup) => says.some((word) => RELATIONS.has(word));
  const hypotheses = groups.filter(isHypothesis);
  if (saysNothing(goal)) {
    return { grade: "poor", analysis: "The claim compares numbers or a term with itself." };
  }
  if (hypotheses.some(({ says }) => says.join(" ") === goal.join(" "))) {
    return { grade: "poor", analysis: "The claim is one of the hypotheses." };
  }
  const symbols = new Set(words(canonicalForm(statement))).size;
  const length = words(statement).length;
  const used = new Set([...goal, ...hypotheses.flatMap(({ says }) => says)]);
  const idle = groups.filter((group) => !isHypothesis(group) && !group.names.some((name) => used.has(name)));
  const points = symbols + Math.floor(length / 10) - IDLE * idle.length;
  const { grade } = CLASSES.find(({ least }) => points >= least)!;
  const unused = idle.length > 0 ? `, ${idle.length} unused` : "";
  return { grade, analysis: `The statement has ${symbols} different symbols, ${length} words${unused}.` };
}
