/** GRPO (DeepSeekMath, arXiv 2402.03300) on arithmetic that can be checked, beside further fine-tuning for the same time. */
import { countdownReward } from "../../src/train/policy/checked-rewards.ts";
import { alphabet } from "../tasks/alphabet.ts";
import { longerArm, policyArm, tunedArm } from "../tasks/arms.ts";
import { policyClaims } from "../tasks/claims.ts";
import type { Task, TaskRecipe, TaskSizes } from "../tasks/declaration.ts";
import { DRAWS } from "../tasks/exam.ts";
import { runTask } from "../tasks/program.ts";
import {
  CHARACTERS,
  checkedProblems,
  demonstrations,
  type Problem,
  problemParts,
  promptOf,
} from "./problems.ts";

const usual: TaskSizes = {
  ...{ width: 64, layers: 3, demonstrations: 6000, steps: 1200, updates: 200 },
  ...{ groups: 32, samples: 16, examined: 250, paired: 1000, preferenceSteps: 100 },
};

const task: Task<Problem> = {
  alphabet: alphabet(CHARACTERS),
  ...{ row: 64, rows: 22, maxTokens: 16 },
  promptOf,
  /** 1 for a solution, 0.1 for an expression of the numbers with another value. */
  reward: countdownReward<Problem>(({ row }) => row!, "whole"),
  problems: ({ examined, demonstrations: count }) => {
    const parts = problemParts(examined);
    return {
      heldOut: parts.heldOut,
      demonstrations: (seed) => demonstrations(parts, seed, count),
      checked: (seed) => checkedProblems(parts, seed),
    };
  },
  sizes: {
    usual,
    full: { ...usual, width: 128, layers: 4, updates: 300, examined: 400 },
    small: {
      ...{ width: 32, layers: 1, demonstrations: 200, steps: 12, updates: 8 },
      ...{ groups: 4, samples: 4, examined: 8, paired: 8, preferenceSteps: 4 },
    },
  },
};
/** Steps of fine-tuning in the processor time of an update. */
const STEPS_OF_AN_UPDATE = 11;

const notes =
  "DeepSeekMath (arXiv 2402.03300, section 4) teaches a tuned model by rewards that are checked. Here three numbers from 1 to 12 and a target up to 99, as in " +
  "`3 7 12 24=`; right is an expression of these numbers with that value, which gets 1, one with another value 0.1. Problems are in three parts: held out, " +
  "shown with solutions, only checked. Llama's shape, width 64, 3 layers, a vocabulary of 19; fine-tuning of 1200 steps with about 64 demonstrations; GRPO of 200 " +
  "updates, 32 problems, 16 samples, rate 2e-4, beta 0.04. With endless fresh demonstrations further fine-tuning wins by far (trials in PyTorch " +
  "with the same sizes, seed 1: greedy 0.63 against 0.46): the claim is about problems that can be checked and not shown, hence the fixed set.";

const recipe: TaskRecipe = {
  ...{
    name: "countdown",
    folder: import.meta.dirname,
    title: "GRPO on arithmetic that can be checked",
    notes,
  },
  ...{ claims: policyClaims, seeds: [1, 2, 3] },
  arms: [
    tunedArm(task, {
      name: "sft",
      text: "fine-tuned on a fixed set of demonstrations (6000; 200 with --small)",
    }),
    policyArm(task, {
      name: "grpo",
      text: "`sft`, then GRPO on other problems, whose answers are only checked",
    }),
    longerArm(
      task,
      { name: "more-sft", text: "fine-tuned on the same demonstrations for about the time of both" },
      STEPS_OF_AN_UPDATE,
    ),
    policyArm(
      task,
      {
        name: "dr-grpo",
        text: "as `grpo`, without the penalty, the deviation and the lengths (Dr. GRPO)",
      },
      { objective: { beta: 0, average: "constant" }, advantage: "mean-only" },
    ),
  ],
  measures: ["sampled pass@1", "greedy pass@1", `pass@${DRAWS}`, "KL at the end"],
  longForm: "trains a model of width 128 for 300 updates",
  fullText: "width 128 and 300 updates, about 12 minutes of two cores an arm",
};

if (import.meta.main) process.exitCode = await runTask(recipe, process.argv.slice(2));
