/**
 * Texts that a tokenizer for small provers learns from, and its training: byte-level BPE of 1,024 entries with digits split
 * singly, so that any text comes back as it was and numbers are read digit by digit.
 */

import type { TokenizerJson } from "../../tokenizer/schema.ts";
import { trainBpe } from "../../tokenizer/train-bpe.ts";
import { parseStatement } from "../text/statements.ts";
import { corpusItem } from "./sample.ts";

export const PROVER_VOCABULARY = 1024;

/** The goal as Lean prints it at the start, near enough to learn tokens from: one line a binder, then the claim. */
function goalText(statement: string): string {
  const { binders, conclusion } = parseStatement(statement);
  const lines = [...binders.matchAll(/\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)/g)].map((match) => match[1]);
  return `  /- tactic state:\n${[...lines, `⊢ ${conclusion}`].map((each) => `    ${each}\n`).join("")}  -/\n`;
}

/** What a prover reads and writes: statements, goals, proofs with and without thoughts, informal problems. */
export function* proverTexts(seed: number, count: number): Generator<string> {
  for (let i = 0; i < count; i++) {
    const { preamble, statement, informal, proof, thoughts } = corpusItem({ seed, split: "train" }, i);
    yield `${preamble === "" ? "" : `${preamble}\n\n`}${statement}${(i % 2 === 0 ? proof : thoughts) ?? ""}`;
    yield goalText(statement);
    if (i % 2 === 0) yield informal;
  }
}

/** Trains on `count` items of the training split. The result depends on seed and count alone. */
export function trainProverTokenizer(
  seed: number,
  count: number,
  signal?: AbortSignal,
): Promise<TokenizerJson> {
  return trainBpe(proverTexts(seed, count), { vocabSize: PROVER_VOCABULARY, preTokenizer: "qwen2", signal });
}
