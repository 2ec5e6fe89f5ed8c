/**
 * What of a checked proof may stay: the text before its first error (DeepSeek-Prover-V1.5, section 3.1; `prover/lean/proof.py`).
 */
import type { CheckAnswer, LeanMessage } from "../lean/session.ts";

/** What truncation and segmentation read of an answer. */
export type CheckedProof = Pick<
  CheckAnswer,
  "complete" | "messages" | "sorries" | "refused" | "failure" | "steps"
>;

/** Stands where a block begins whose goals are left open, so it says nothing against the text inside. */
export const saysUnsolved = ({ kind, text }: LeanMessage): boolean =>
  kind.endsWith("unsolvedGoals") || text.trimStart().startsWith("unsolved goals");

/**
 * Index at which the part of a proof ends that may stay: the first error, `sorry` or refused word at or behind `proofStart`, or
 * `end`. The proof's start if the check came to no end of its own.
 */
export function keptEnd(answer: CheckedProof, proofStart: number, end: number): number {
  if (answer.failure !== null) return proofStart;
  let kept = end;
  const stop = (at: number) => {
    if (at >= proofStart && at < kept) kept = at;
  };
  for (const message of answer.messages) {
    if (message.severity === "error" && !saysUnsolved(message)) stop(message.start.index);
  }
  for (const { start } of answer.sorries) stop(start.index);
  if (answer.refused !== null) stop(answer.refused.at.index);
  return kept;
}
