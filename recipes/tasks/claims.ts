/** What DeepSeekMath (arXiv 2402.03300, section 4) says of GRPO after fine-tuning, as every task tries it. */
import type { TextClaim } from "../text/declaration.ts";
import { DRAWS } from "./exam.ts";

/** Of the arms `sft`, `grpo` and `more-sft`. */
export const policyClaims: readonly TextClaim[] = [
  {
    claim: "GRPO raises the share of single answers that are right",
    paper: "GSM8K 82.9 to 88.2, MATH 46.8 to 51.7",
    ...{ arm: "grpo", with: "sft", measure: "sampled pass@1", expects: { kind: "higher" } },
  },
  {
    claim: "of the greedy ones too",
    paper: "GSM8K 82.9 to 88.2, MATH 46.8 to 51.7",
    ...{ arm: "grpo", with: "sft", measure: "greedy pass@1", expects: { kind: "higher" } },
  },
  {
    claim: "what 8 answers reach stays the same, within 3 points",
    paper: "Maj@K rises, Pass@K does not (figure 7)",
    ...{ arm: "grpo", with: "sft", measure: `pass@${DRAWS}`, expects: { kind: "same", within: 0.03 } },
  },
  {
    claim: "it does more than further fine-tuning for the same time",
    paper: "not tried",
    ...{ arm: "grpo", with: "more-sft", measure: "sampled pass@1", expects: { kind: "higher" } },
  },
];
