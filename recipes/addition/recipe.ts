/** GRPO and DPO on sums of three digits, which a model that sees its own carry only late learns slowly from few examples. */
import { alphabet } from "../tasks/alphabet.ts";
import { longerArm, policyArm, preferenceArm, tunedArm } from "../tasks/arms.ts";
import { policyClaims } from "../tasks/claims.ts";
import type { Task, TaskRecipe, TaskSizes } from "../tasks/declaration.ts";
import { aboutAsLong, DRAWS, exactly } from "../tasks/exam.ts";
import { runTask } from "../tasks/program.ts";
import { answerOf, CHARACTERS, promptOf, type Sum, sumProblems } from "./problems.ts";

const usual: TaskSizes = {
  ...{ width: 64, layers: 3, demonstrations: 10_000, steps: 2000, updates: 150 },
  ...{ groups: 32, samples: 16, examined: 250, paired: 2000, preferenceSteps: 150 },
};

const task: Task<Sum> = {
  alphabet: alphabet(CHARACTERS),
  ...{ row: 64, rows: 22, maxTokens: 6 },
  promptOf,
  reward: exactly(answerOf),
  smallReward: aboutAsLong(answerOf),
  problems: ({ examined, demonstrations }) => sumProblems(examined, demonstrations),
  sizes: {
    usual,
    full: { ...usual, width: 128, layers: 4, updates: 300, examined: 1000, preferenceSteps: 300 },
    small: {
      ...{ width: 32, layers: 1, demonstrations: 200, steps: 30, updates: 8 },
      ...{ groups: 4, samples: 4, examined: 8, paired: 24, preferenceSteps: 4 },
    },
  },
};

const recipe: TaskRecipe = {
  ...{ name: "addition", folder: import.meta.dirname, title: "Sums that can be checked" },
  notes:
    "The second task of DeepSeekMath's claim (arXiv 2402.03300, section 4), and DPO's beside it (arXiv 2305.18290): sums of two numbers of three digits, as in " +
    "`123+456=`, written from the first digit on, so that every digit depends on a carry that comes later. Right is the exact sum. Sums are in three parts, held out, " +
    "shown with answers, only checked. Llama's shape, width 64, 3 layers, a vocabulary of 14; fine-tuning of 2000 steps on 10,000 sums; GRPO of 150 updates, 32 sums, 16 " +
    "samples, rate 2e-4, beta 0.04; DPO of 150 steps with 32 pairs, a right and a wrong answer of the tuned model's to one of 2000 sums, rate 2e-5.",
  seeds: [1, 2, 3],
  arms: [
    tunedArm(task, { name: "sft", text: "fine-tuned on a fixed set of 10,000 sums" }),
    policyArm(task, { name: "grpo", text: "`sft`, then GRPO on other sums, whose answers are only checked" }),
    longerArm(task, { name: "more-sft", text: "fine-tuned on the same sums for about the time of both" }, 6),
    preferenceArm(
      task,
      { name: "dpo", text: "`sft`, then DPO on pairs of its own answers, beta 0.1" },
      { beta: 0.1, peak: 2e-5 },
    ),
  ],
  claims: [
    ...policyClaims,
    {
      claim: "DPO on the model's own answers raises the share of right ones",
      paper: "MT-Bench 8.35 to 8.76, benchmarks hardly",
      ...{ arm: "dpo", with: "sft", measure: "sampled pass@1", expects: { kind: "higher" } },
    },
    {
      claim: "GRPO does more than DPO",
      paper: "online above offline (DeepSeekMath, figure 5)",
      ...{ arm: "grpo", with: "dpo", measure: "sampled pass@1", expects: { kind: "higher" } },
    },
  ],
  measures: ["sampled pass@1", "greedy pass@1", `pass@${DRAWS}`, "KL at the end"],
  longForm: "trains a model of width 128 for 300 updates",
  fullText: "width 128 and 300 updates",
};

if (import.meta.main) process.exitCode = await runTask(recipe, process.argv.slice(2));
