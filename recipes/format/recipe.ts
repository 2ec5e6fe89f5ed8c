/** Direct preference optimization after fine-tuning (DeepSeek LLM, arXiv 2401.02954, section 4.2), on formats that can be checked. */
import { alphabet } from "../tasks/alphabet.ts";
import { chosenArm, preferenceArm, rejectionArm, tunedArm } from "../tasks/arms.ts";
import type { Task, TaskRecipe, TaskSizes } from "../tasks/declaration.ts";
import { aboutAsLong, DRAWS, endings, exactly, rightAnswers } from "../tasks/exam.ts";
import { runTask } from "../tasks/program.ts";
import { answerOf, CHARACTERS, type FormatRow, formatProblems, isUnseen, promptOf } from "./rules.ts";

const usual: TaskSizes = {
  ...{ width: 64, layers: 3, demonstrations: 20_000, steps: 1500, updates: 100 },
  ...{ groups: 32, samples: 8, examined: 300, paired: 1000, preferenceSteps: 100 },
};

const task: Task<FormatRow> = {
  alphabet: alphabet(CHARACTERS),
  ...{ row: 64, rows: 32, maxTokens: 32 },
  promptOf,
  reward: exactly(answerOf),
  smallReward: aboutAsLong(answerOf),
  problems: ({ examined, demonstrations }) => formatProblems(examined, demonstrations),
  sizes: {
    usual,
    full: {
      ...usual,
      width: 128,
      layers: 4,
      steps: 3000,
      examined: 2000,
      paired: 4000,
      preferenceSteps: 400,
    },
    small: {
      ...{ width: 32, layers: 1, demonstrations: 200, steps: 30, updates: 4 },
      ...{ groups: 4, samples: 4, examined: 8, paired: 24, preferenceSteps: 4 },
    },
  },
  kinds: { "rules seen": (row) => !isUnseen(row), "combinations unseen": isUnseen },
  exams: [endings, rightAnswers(answerOf)],
};

const recipe: TaskRecipe = {
  ...{ name: "format", folder: import.meta.dirname, title: "Preferences, on formats that can be checked" },
  notes:
    "DeepSeek LLM (arXiv 2401.02954, section 4.2) lets a fine-tuned model learn from pairs of its own answers: MT-Bench rises from 8.35 to 8.76, benchmarks hardly move, and " +
    "answers that never end become fewer (section 5.4.2). Here three or four words and one rule of twelve, or two, for what is to be done with them: `bat wok nim|turn+list=` asks for " +
    '`["nim","wok","bat"]`; right is that text alone. 30 % of the demonstrations have one wrong letter, which the tuned model learns to make; a third of the combinations of two ' +
    "rules is never shown. Llama's shape, width 64, 3 layers, a vocabulary of 52; fine-tuning of 1500 steps; DPO of 100 steps with 32 pairs, the first right and the first wrong one of 8 " +
    "answers to each of 1000 prompts. Rates of arms are the better of 5e-5 and 2e-5, with 2e-4 for `dpo`, on a seed that is not used: at 2e-4 DPO makes both answers of a pair improbable, and " +
    "greedy answers fall from 53 to 19 %. `loss of right answers` is in nats a token, on held-out prompts.",
  seeds: [1, 2, 3],
  arms: [
    tunedArm(task, {
      name: "sft",
      text: "fine-tuned on 20,000 demonstrations, 30 % of them with a wrong letter",
    }),
    preferenceArm(
      task,
      { name: "dpo", text: "`sft`, then DPO on pairs of its own answers, beta 0.1" },
      { beta: 0.1, peak: 2e-5 },
    ),
    chosenArm(
      task,
      { name: "chosen", text: "`sft`, then fine-tuned as many steps on the preferred answers alone" },
      5e-5,
    ),
    preferenceArm(task, { name: "dpo-0.03", text: "as `dpo`, beta 0.03" }, { beta: 0.03, peak: 2e-5 }),
    preferenceArm(task, { name: "dpo-0.3", text: "as `dpo`, beta 0.3" }, { beta: 0.3, peak: 2e-5 }),
    preferenceArm(
      task,
      { name: "dpo-sft", text: "as `dpo`, with the likelihood of preferred answers, weight 1" },
      { beta: 0.1, sftWeight: 1, peak: 5e-5 },
    ),
    rejectionArm(task, {
      name: "rejection",
      text: "from random weights on right answers of `sft` alone, up to 4 of a prompt",
    }),
  ],
  claims: [
    {
      claim: "DPO raises the share of single answers that follow the rules",
      paper: "MT-Bench 8.35 to 8.76",
      ...{ arm: "dpo", with: "sft", measure: "sampled pass@1", expects: { kind: "higher" } },
    },
    {
      claim: "of the greedy ones too",
      paper: "MT-Bench 8.35 to 8.76",
      ...{ arm: "dpo", with: "sft", measure: "greedy pass@1", expects: { kind: "higher" } },
    },
    {
      claim: "also for combinations of rules that were never shown",
      paper: "not tried",
      ...{ arm: "dpo", with: "sft", measure: "combinations unseen", expects: { kind: "higher" } },
    },
    {
      claim: "it does more than fine-tuning on the preferred answers",
      paper: "not tried",
      ...{ arm: "dpo", with: "chosen", measure: "sampled pass@1", expects: { kind: "higher" } },
    },
    {
      claim: "and more than rejection sampling from the beginning",
      paper: "not tried",
      ...{ arm: "dpo", with: "rejection", measure: "sampled pass@1", expects: { kind: "higher" } },
    },
    {
      claim: "the likelihood of preferred answers beside it keeps right answers likelier",
      paper: "not tried",
      ...{ arm: "dpo-sft", with: "dpo", measure: "loss of right answers", expects: { kind: "lower" } },
    },
    {
      claim: "more answers come to an end",
      paper: "answers without end become fewer",
      ...{ arm: "dpo", with: "sft", measure: "answers that end", expects: { kind: "higher" } },
    },
  ],
  measures: [
    ...["sampled pass@1", "greedy pass@1", `pass@${DRAWS}`, "rules seen", "combinations unseen"],
    ...["answers that end", "tokens of an answer", "loss of right answers", "pairs"],
  ],
  longForm: "trains a model of width 128",
  fullText: "width 128, twice the steps",
};

if (import.meta.main) process.exitCode = await runTask(recipe, process.argv.slice(2));
