/**
 * DeepSeek-Prover and DeepSeek-Prover-V1.5 on a corpus for Lean without libraries: what the papers claim, tried with a model of 5.3M
 * parameters.
 *
 *     npm run recipe:prover -- --small                   a prover that `deepseek-ts prove` opens, in under 10 minutes
 *     npm run recipe:prover -- --arm rmaxts-16           one arm, seed 1
 *     npm run recipe:prover -- --seed 1,2,3              everything; Ctrl-C saves, and the same command goes on
 */
import { runProgram } from "../shared/program.ts";
import type { Comparison } from "../shared/results.ts";
import { MINUTES, proverArms, smallArm } from "./arms.ts";
import { Parts } from "./parts.ts";

const searches = (budget: number): Comparison[] => {
  const at = (claim: string, better: string, worse: string): Comparison => ({
    claim: `${claim}, ${budget} generations`,
    ...{ better: `${better}-${budget}`, worse: `${worse}-${budget}`, measure: `solved@${budget}` },
  });
  return [
    at("RMaxTS solves more than sampling", "rmaxts", "sample"),
    at("greedy resuming solves more than sampling", "resume", "sample"),
    at("RMaxTS solves more than greedy resuming", "rmaxts", "resume"),
    at("the intrinsic reward helps", "rmaxts", "no-reward"),
    at("the discounted bound helps", "rmaxts", "ucb1"),
    at("the tactic state in the prompt helps", "rmaxts", "no-state"),
  ];
};

const over = (claim: string, better: string, worse: string, measure: string): Comparison => ({
  ...{ claim, better, worse, measure },
});
const provers: readonly Comparison[] = [
  over("the first round of expert iteration raises the pass rate", "rounds-1", "taught", "pass@16"),
  over("the second round raises it", "rounds-2", "rounds-1", "pass@16"),
  over("the third round raises it", "rounds-3", "rounds-2", "pass@16"),
  over("proving a statement or its negation decides more", "rounds-1", "no-negation", "decided"),
  ...["pass@1", "pass@8", "pass@32"].map((measure) =>
    over(`reinforcement learning raises ${measure}`, "rl", "taught", measure),
  ),
  over("thoughts help", "cot", "taught", "pass@16"),
  over("thoughts in half of the samples help", "mix", "taught", "pass@16"),
  over("learning with states helps whole proofs", "taught", "whole-only", "pass@16"),
];

await using parts = new Parts();
process.exitCode = await runProgram(
  {
    ...{ name: "prover", folder: import.meta.dirname, title: "Provers", minutes: MINUTES },
    ...{ arms: proverArms(parts), small: smallArm(parts) },
    comparisons: [...searches(16), ...provers, ...searches(64)],
    measures: [
      ...["solved@1", "solved@4", "solved@16", "solved@64"],
      ...["pass@1", "pass@8", "pass@16", "pass@32", "pass@8, no script"],
      ...["decided", "decided of those tried"],
      ...["score", "vacuity", "refutation"].flatMap((filter) => [`${filter} precision`, `${filter} recall`]),
    ],
    pictured: ["solved@4", "solved@16", "solved@64", "pass@1", "pass@8", "pass@32"],
    notes: [
      "Statements are those of `mini-coref2f.jsonl` (README.md says what they are, and what fixed scripts prove of them, by family). Searches",
      "are tried on those that no fixed script proves, four of each family. All arms of a seed search with one model, the `taught` prover:",
      "`models/world-prover`, which knows whole proofs, taught the other forms on the corpus' scripted proofs (whole proofs, with thoughts,",
      "with states, resumed behind a state; translations, grades, refutations). Seeds differ in what is taught and in what is sampled, and",
      "begin with the same weights. solved@k is the share of statements with a proof among the first k generations, at temperature 1,",
      "top-p 0.95, at most 384 tokens each; every generation counts, also one that fails. A search asks for one generation after the other.",
      "pass@k is the unbiased estimator over independent whole proofs, of eight statements of each family, including those that scripts",
      "prove; `first` is examined on all. A round starts from 150 problems in words and 250 statements; `decided` are problems whose statement",
      "was proved or refuted. Precision and recall are of filters against the truth of problems in words, which the pipeline does not read:",
      "`score` should drop what is wrong, contradictory or trivial, `vacuity` hypotheses that contradict each other, `refutation` what is false.",
    ].join("\n"),
  },
  process.argv.slice(2),
);
