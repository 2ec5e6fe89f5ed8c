/**
 * The blocks inside a checked proof: what stands behind `by`, a bullet or `=>` and closes its own goal. In a file each may be a
 * `sorry` that `fillFile` asks for in its place, so a model learns to write it from the text above and the state there, and to end
 * where the block ends.
 */
import type { TacticStep } from "../lean/session.ts";
import { type PromptOptions, type PromptProblem, resumePrompt, STOP, withoutEnd } from "../text/prompts.ts";
import { stateComment, stateText } from "../text/states.ts";
import { codeTokens } from "../text/tokens.ts";

export interface ProofBlock {
  /** The proof up to the line on which the block begins. */
  readonly before: string;
  /** The state at its beginning as a comment in its column. */
  readonly comment: string;
  /** Its text, every line in its column. */
  readonly code: string;
}

/** A sequence of tactics opens behind one of these. */
const OPENERS = new Set(["by", "·", "=>"]);

/**
 * Blocks of a proof in the order of the text, nested ones behind those around them; none of a proof by one sequence of tactics.
 * @param text what was checked: statement and proof
 * @param proofStart index where the proof begins
 */
export function proofBlocks(text: string, proofStart: number, steps: readonly TacticStep[]): ProofBlock[] {
  const blocks: ProofBlock[] = [];
  for (const [i, first] of steps.entries()) {
    if (first.depth === 0 || first.start.index < proofStart || first.goalsBefore === null) continue;
    const opener = codeTokens(text.slice(0, first.start.index)).at(-1);
    if (opener === undefined || opener.start < proofStart || !OPENERS.has(opener.text)) continue;
    const last = endOfSequence(text, steps, i);
    if (last.goalsAfter === null || last.goalsAfter.length > 0) continue;
    const line = text.lastIndexOf("\n", first.start.index - 1) + 1;
    if (line < proofStart) continue;
    const column = [...text.slice(line, first.start.index)].length;
    blocks.push({
      before: text.slice(proofStart, line),
      comment: stateComment(stateText(first.goalsBefore), column),
      code: `${" ".repeat(column)}${text.slice(first.start.index, last.end.index)}`,
    });
  }
  return blocks;
}

/** The last step of the sequence that step `i` opens: those of its depth with nothing but `;` and comments between them. */
function endOfSequence(text: string, steps: readonly TacticStep[], i: number): TacticStep {
  let last = steps[i];
  for (const step of steps.slice(i + 1)) {
    if (step.depth < last.depth) break;
    if (step.depth > last.depth) continue;
    const between = codeTokens(text.slice(last.end.index, step.start.index));
    if (!between.every(({ text: word }) => word === ";")) break;
    last = step;
  }
  return last;
}

/** What is read and written of a block, as `fillFile` asks for it. */
export const blockExample = (
  problem: PromptProblem,
  { before, comment, code }: ProofBlock,
  options: PromptOptions = {},
): { readonly read: string; readonly written: string } => ({
  read: resumePrompt(problem, { code: before, comment }, options),
  written: `${withoutEnd(code)}\n${STOP}`,
});
