/**
 * The stages of DeepSeek-Prover V1 (arXiv 2405.14333, section 3) as functions of records: what a model wrote and what Lean said
 * go in, an outcome comes out. Who asks them, and in which order, is `round.ts`.
 */
import { FormatError } from "../../tensor/errors.ts";
import { type CheckOptions, faultOf, type LeanSession, type VerifyAnswer } from "../lean/session.ts";
import { canonicalForm, sha256 } from "../text/canonical.ts";
import { formalizedStatement, gradeOf, KEPT_GRADES } from "../text/formalize.ts";
import { answerOf, proofText } from "../text/prompts.ts";
import { parseStatement, theoremHead } from "../text/statements.ts";

/** Where statements end, and where they go on (`formalized`, `elaborates`, `new`, `kept`, `consistent`). */
export type Outcome =
  | "formalized"
  | "unparsable"
  | "elaborates"
  | "does-not-elaborate"
  | "new"
  | "duplicate"
  | "kept"
  | "graded out"
  | "ungraded"
  | "consistent"
  | "vacuous"
  | "proved"
  | "refuted"
  | "open"
  /** Lean came to no answer: the machine's fault, so nothing is known of the statement. */
  | "unchecked";

export interface StageVerdict {
  readonly outcome: Outcome;
  readonly detail: string;
}

export interface Formalized {
  /** `theorem … := by` and a line end. */
  readonly lean: string;
  readonly canonicalSha256: string;
}

/** What a translation holds. @returns null for text that is no statement */
export async function formalized(generated: string, preamble: string): Promise<Formalized | null> {
  const written = formalizedStatement(generated);
  if (written === null) return null;
  try {
    const lean = theoremHead(parseStatement(written));
    // The same text below other definitions is another statement.
    return { lean, canonicalSha256: await sha256(`${preamble}\n${canonicalForm(lean)}`) };
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

/** Whether Lean takes a statement: with `sorry` for its proof, and no fault but that. */
export async function elaborate(
  lean: LeanSession,
  preamble: string,
  statement: string,
  options: CheckOptions,
): Promise<StageVerdict> {
  const code = `${statement}  sorry\n`;
  const answer = await lean.check({ preamble, trustedPreamble: true, code }, options);
  if (answer.failure !== null) return { outcome: "unchecked", detail: answer.failure };
  const fault = faultOf(answer);
  if (fault !== "") return { outcome: "does-not-elaborate", detail: fault };
  // A `sorry` in the statement itself claims nothing.
  if (answer.sorries.length !== 1) return { outcome: "does-not-elaborate", detail: "sorry in the statement" };
  return { outcome: "elaborates", detail: "" };
}

/** By the class that a model gave; one that gave none drops the statement too, under its own name. */
export function graded(generated: string): StageVerdict {
  const grade = gradeOf(generated);
  if (grade === null) return { outcome: "ungraded", detail: "" };
  return { outcome: KEPT_GRADES.has(grade) ? "kept" : "graded out", detail: grade };
}

/** Whether what a model wrote behind `head` (`theorem … := by` and a line end) proves it. */
export async function verifyProof(
  lean: LeanSession,
  preamble: string,
  head: string,
  generated: string,
  options: CheckOptions,
): Promise<{ readonly proof: string; readonly answer: VerifyAnswer | null }> {
  const proof = proofText("", answerOf(generated));
  // Lean is not asked about nothing.
  if (proof.trim() === "") return { proof, answer: null };
  const problem = { preamble, trustedPreamble: true, statement: `${head}  sorry` };
  return { proof, answer: await lean.verify(problem, head + proof, options) };
}
