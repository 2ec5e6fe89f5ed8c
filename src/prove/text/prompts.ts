/**
 * Prompts of DeepSeek-Prover-V1.5 (`prover/utils.py`, `prover/lean/proof.py`, the few-shot script): an instruction and an open
 * code fence that holds the text up to where the model goes on. `official` gives them to the letter, which the released 7B
 * checkpoints need; `short` says the same in few tokens for models trained here.
 */
import { ConfigError } from "../../tensor/errors.ts";

/** Whether proofs come with comments that explain them. */
export type ProofMode = "cot" | "non-cot";
export type PromptStyle = "official" | "short";

interface StyleText {
  readonly instructions: Readonly<Record<ProofMode, string>>;
  /** Opens the file where the problem brings no header. */
  readonly header: string;
}

export const STYLES: Readonly<Record<PromptStyle, StyleText>> = {
  official: {
    instructions: {
      "non-cot": "Complete the following Lean 4 code:",
      cot: "Complete the following Lean 4 code with explanatory comments preceding each line of code:",
    },
    header:
      "import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\nopen BigOperators Real Nat Topology Rat\n\n",
  },
  short: { instructions: { "non-cot": "Prove:", cot: "Explain and prove:" }, header: "" },
};

const FENCE = "```";

/** A problem as prompts show it. */
export interface PromptProblem {
  /** Text above the statement: imports, options, definitions. Undefined: the style's own. */
  readonly header?: string;
  /** A doc comment with the problem in words, its line end included; it is shown and never verified. */
  readonly informalPrefix?: string;
  /** `theorem … := by` and a line end, or `… :=` where the model writes `by` itself. */
  readonly statement: string;
}

/** A problem with its proof, shown before another one. */
export interface Shot extends PromptProblem {
  readonly proof: string;
}

export interface PromptOptions {
  /** Default `non-cot`. */
  readonly mode?: ProofMode;
  /** Default `official`. */
  readonly style?: PromptStyle;
  /** Solved problems that come first, for models without instruction tuning. */
  readonly shots?: readonly Shot[];
}

/** The mode by any of its spellings in the reference's files. @throws ConfigError */
export function proofMode(name: string): ProofMode {
  if (name === "cot" || name === "non-cot") return name;
  if (name === "non_cot") return "non-cot";
  throw new ConfigError("no such mode of proofs", { name: "mode", expected: "cot or non-cot", found: name });
}

/** What a model reads before it writes the whole proof. */
export function proofPrompt(problem: PromptProblem, options: PromptOptions = {}): string {
  return (options.shots ?? []).map((shot) => shotText(shot, options)).join("") + opened(problem, options);
}

/** What a model reads before it goes on behind `code`, verified text of the proof, whose last state `comment` shows. */
export const resumePrompt = (
  problem: PromptProblem,
  { code, comment }: { readonly code: string; readonly comment: string },
  options: PromptOptions = {},
): string => proofPrompt(problem, options) + code + comment;

function opened({ header, informalPrefix = "", statement }: PromptProblem, options: PromptOptions): string {
  const { instructions, header: standard } = STYLES[options.style ?? "official"];
  const instruction = instructions[options.mode ?? "non-cot"];
  return `${instruction}\n\n${FENCE}lean4\n${header ?? standard}${informalPrefix}${statement}`;
}

/** One solved problem with the blank lines before the next. */
export const shotText = (shot: Shot, options: PromptOptions = {}): string =>
  `${opened(shot, options)}${shot.proof}\n${FENCE}\n\n\n`;

/** Ends an answer: the string at which generation may stop. */
export const STOP = FENCE;

/** The Lean text of what a model wrote: all before the first fence. */
export function answerOf(generated: string): string {
  const end = generated.indexOf(FENCE);
  return end < 0 ? generated : generated.slice(0, end);
}

/** Text that is verified: the statement and the proof without blanks and line ends behind it, whatever follows below. */
export const proofText = (statement: string, proof: string, tailer = ""): string =>
  statement + withoutEnd(proof) + tailer;

/** A proof without the blanks and line ends behind it. */
export function withoutEnd(proof: string): string {
  let end = proof.length;
  while (end > 0 && (proof[end - 1] === " " || proof[end - 1] === "\n")) end--;
  return proof.slice(0, end);
}
