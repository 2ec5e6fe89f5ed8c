/** Answers of chat models that explain before they prove: the Lean code in them (Goedel-Prover, Kimina-Prover, STP). */

const FENCE = /```(lean4|lean|tactics)?[^\S\n]*\n([\s\S]*?)(?:\n?[^\S\n]*```|$)/g;

/**
 * The code in the last `lean4` or `lean` fence of an answer, or in its last plain fence; null if there is none: such text is
 * never sent to Lean. A fence that is not closed reaches to the end.
 */
export function fencedCode(answer: string): string | null {
  let named: string | null = null;
  let plain: string | null = null;
  for (const [, language, code] of answer.matchAll(FENCE)) {
    if (language === "lean4" || language === "lean") named = code;
    else if (language === undefined) plain = code;
  }
  const code = named ?? plain;
  return code === null || code.trim() === "" ? null : code;
}
