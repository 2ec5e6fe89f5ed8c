/** GRPO (DeepSeekMath, arXiv 2402.03300) on arithmetic that can be checked, beside further fine-tuning for the same time. */

import { Engine } from "../../src/engine/engine.ts";
import { createModel } from "../../src/models/causal-lm.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { tokenObjective } from "../../src/train/objectives/objective.ts";
import { type Lesson, PackedRows } from "../../src/train/packed-rows.ts";
import { countdownReward } from "../../src/train/policy/checked-rewards.ts";
import { passRates } from "../../src/train/policy/evaluation.ts";
import { PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import type { PolicyPrompt } from "../../src/train/policy/prompts.ts";
import type { PolicySettings } from "../../src/train/policy/settings.ts";
import { runPolicyStage } from "../shared/policy-stage.ts";
import { type Arm, type ArmContext, type ArmOutcome, type Recipe, runProgram } from "../shared/program.ts";
import { newestStep, once } from "../shared/ready.ts";
import { runStage } from "../shared/stage.ts";
import { loadPart } from "../shared/weights.ts";
import type { TextClaim } from "../text/declaration.ts";
import { claimsPage, claimsPicture } from "../text/page.ts";
import {
  checkedProblems,
  decode,
  demonstrations,
  END,
  encode,
  PAD,
  type Problem,
  problemParts,
  promptOf,
  VOCABULARY,
} from "./problems.ts";

interface Sizes {
  readonly width: number;
  readonly layers: number;
  readonly demonstrations: number;
  /** Steps of fine-tuning, each with about 64 demonstrations, and updates of GRPO. */
  readonly steps: number;
  readonly updates: number;
  readonly groups: number;
  readonly samples: number;
  readonly examined: number;
}

const USUAL: Sizes = {
  ...{ width: 64, layers: 3, demonstrations: 6000, steps: 1200, updates: 200 },
  ...{ groups: 32, samples: 16, examined: 250 },
};
const FULL: Sizes = { ...USUAL, width: 128, layers: 4, updates: 300, examined: 400 };
const SMALL: Sizes = {
  ...{ width: 32, layers: 1, demonstrations: 200, steps: 12, updates: 8 },
  ...{ groups: 4, samples: 4, examined: 8 },
};
/** Steps of fine-tuning in the processor time of an update; the page shows both times. */
const STEPS_OF_AN_UPDATE = 11;
const [ROW, ROWS, MOST_TOKENS, DRAWS] = [64, 22, 16, 8] as const;

const sizesOf = ({ small, full }: ArmContext): Sizes => (small ? SMALL : full ? FULL : USUAL);

const modelOf = (device: Device, seed: number, { width, layers }: Sizes) =>
  createModel(
    {
      ...{ model_type: "llama", vocab_size: VOCABULARY, hidden_size: width, intermediate_size: 2.75 * width },
      ...{ num_hidden_layers: layers, num_attention_heads: 4, num_key_value_heads: 4 },
      ...{ max_position_embeddings: 128, rms_norm_eps: 1e-6, eos_token_id: END },
    },
    device,
    { seed, std: 0.02 },
  );

function lessonsOf(seed: number, sizes: Sizes): Lesson[] {
  return demonstrations(problemParts(sizes.examined), seed, sizes.demonstrations).map(
    ({ prompt, answer }) => {
      const [read, written] = [encode(prompt), [...encode(answer), END]];
      return { ids: [...read, ...written], learned: [...read.map(() => 0), ...written.map(() => 1)] };
    },
  );
}

const toPrompt = (problem: Problem): PolicyPrompt<Problem> => ({
  ...{ ids: encode(promptOf(problem)), prompt: promptOf(problem), row: problem },
});
/** 1 for a solution, 0.1 for an expression of the numbers with another value. */
const reward = countdownReward<Problem>(({ row }) => row!, "whole");
const text = (ids: readonly number[]) => decode(ids);

/** Fine-tunes on the fixed demonstrations. @param steps in all, and the folder's name by them */
async function tune(
  context: ArmContext,
  model: ReturnType<typeof modelOf>,
  steps: number,
  name: string,
  where = context.stages,
) {
  const sizes = sizesOf(context);
  const { seed } = context;
  return await runStage(
    {
      ...{ name, model, objective: tokenObjective, config: { stage: name, seed } },
      batches: new PackedRows(lessonsOf(seed, sizes), { length: ROW, seed, padId: PAD }),
      length: { steps },
      options: {
        batch: ROWS,
        learningRate: {
          peak: 2e-3,
          warmupSteps: Math.min(50, Math.ceil(steps / 4)),
          shape: "cosine",
          finalFraction: 0.1,
        },
        optimizer: { weightDecay: 0.01, clipNorm: 1 },
      },
    },
    where,
  );
}

/** Folder of the tuned model, which all arms of a seed begin with. */
const tuned = (context: ArmContext): Promise<string> =>
  once(context, "tuned", async () => {
    using model = modelOf(context.device, context.seed, sizesOf(context));
    await tune(context, model, sizesOf(context).steps, "tuned", context.shared);
    return await newestStep(`${context.shared.folder}/tuned`);
  });

async function open(context: ArmContext, from: string) {
  const model = modelOf(context.device, context.seed, sizesOf(context));
  await loadPart(from, "", model.parameters, "");
  return model;
}

/** Held-out problems, greedily and by 8 samples of each: pass@1 and pass@8. */
async function examine(
  context: ArmContext,
  model: ReturnType<typeof modelOf>,
): Promise<Pick<ArmOutcome, "scores" | "items">> {
  const { heldOut } = problemParts(sizesOf(context).examined);
  const prompts = heldOut.map(toPrompt);
  await using engine = new Engine(model, { maxBatch: 64, maxQueue: 10_000, cacheTokens: 16_384 });
  const judge = { reward, decode: text };
  const solvedIn = async (samples: number, temperature: number) => {
    const passed = {
      ...judge,
      reward: async (...given: Parameters<typeof reward>) =>
        (await reward(...given)).map((each) => (each === 1 ? 1 : 0)),
    };
    const rates = await passRates(engine, prompts, passed, {
      samples,
      maxTokens: MOST_TOKENS,
      temperature,
      seed: 1,
    });
    return rates.map((rate) => rate ?? 0);
  };
  const greedy = await solvedIn(1, 0);
  const sampled = await solvedIn(DRAWS, 1);
  const any = sampled.map((rate) => (rate > 0 ? 1 : 0));
  const share = (rates: readonly number[]) => ({ right: rates.reduce((a, b) => a + b, 0), of: rates.length });
  const items = { "greedy pass@1": greedy, "sampled pass@1": sampled, [`pass@${DRAWS}`]: any };
  return {
    items,
    scores: Object.fromEntries(Object.entries(items).map(([name, rates]) => [name, share(rates)])),
  };
}

async function policy(context: ArmContext, settings: Partial<PolicySettings>): Promise<ArmOutcome> {
  const sizes = sizesOf(context);
  const from = await tuned(context);
  using model = await open(context, from);
  using reference = await open(context, from);
  await using engine = new Engine(model, { maxBatch: 64, maxQueue: 10_000, cacheTokens: 32_768 });
  const prompts = checkedProblems(problemParts(sizes.examined), context.seed).map(toPrompt);
  using trainer = new PolicyTrainer(
    { model, engine, reference, prompts, reward, decode: text },
    {
      ...{ steps: sizes.updates, groups: sizes.groups, samples: sizes.samples, maxTokens: MOST_TOKENS },
      ...{ learningRate: { peak: 2e-4, warmupSteps: 5, shape: "constant" }, seed: context.seed },
      ...{ objective: { beta: 0.04 }, trainer: { optimizer: { weightDecay: 0, clipNorm: 1 } } },
      ...settings,
    },
  );
  const stage = { name: "grpo", saveEvery: 20, printEvery: 10, config: { stage: "grpo" } };
  const { steps, seconds, last } = await runPolicyStage(trainer, stage, context.stages);
  const figures = {
    ...(last?.update?.kl != null && { "KL at the end": last.update.kl }),
    ...(last?.update != null && { "entropy at the end": last.update.entropy }),
  };
  return { ...(await examine(context, model)), figures, stages: { grpo: { steps, minutes: seconds / 60 } } };
}

const arms: readonly Arm[] = [
  {
    ...{ name: "sft", text: "fine-tuned on a fixed set of demonstrations (6000; 200 with --small)" },
    async run(context) {
      using model = await open(context, await tuned(context));
      // Done already: only its steps and time are read.
      const { steps, seconds } = await tune(context, model, sizesOf(context).steps, "tuned", context.shared);
      return { ...(await examine(context, model)), stages: { tuned: { steps, minutes: seconds / 60 } } };
    },
  },
  {
    ...{ name: "grpo", text: "`sft`, then GRPO on other problems, whose answers are only checked" },
    run: (context) => policy(context, {}),
  },
  {
    ...{ name: "more-sft", text: "fine-tuned on the same demonstrations for about the time of both" },
    async run(context) {
      const { steps, updates } = sizesOf(context);
      using model = modelOf(context.device, context.seed, sizesOf(context));
      const done = await tune(context, model, steps + STEPS_OF_AN_UPDATE * updates, "more-sft");
      return {
        ...(await examine(context, model)),
        stages: { tuned: { steps: done.steps, minutes: done.seconds / 60 } },
      };
    },
  },
  {
    ...{ name: "dr-grpo", text: "as `grpo`, without the penalty, the deviation and the lengths (Dr. GRPO)" },
    run: (context) =>
      policy(context, { objective: { beta: 0, average: "constant" }, advantage: "mean-only" }),
  },
];

const claims: readonly TextClaim[] = [
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

const notes =
  "DeepSeekMath (arXiv 2402.03300, section 4) teaches a tuned model by rewards that are checked. Here three numbers from 1 to 12 and a target up to 99, as in " +
  "`3 7 12 24=`; right is an expression of these numbers with that value, which gets 1, one with another value 0.1. Problems are in three parts: held out, " +
  "shown with solutions, only checked. Llama's shape, width 64, 3 layers, a vocabulary of 19; fine-tuning of 1200 steps with about 64 demonstrations; GRPO of 200 " +
  "updates, 32 problems, 16 samples, rate 2e-4, beta 0.04. With endless fresh demonstrations further fine-tuning wins by far (trials in PyTorch " +
  "with the same sizes, seed 1: greedy 0.63 against 0.46): the claim is about problems that can be checked and not shown, hence the fixed set.";

const declaration = {
  ...{ title: "GRPO on arithmetic that can be checked", notes, arms, claims },
  measures: ["sampled pass@1", "greedy pass@1", `pass@${DRAWS}`, "KL at the end"],
  longForm: "trains a model of width 128 for 300 updates",
};

const recipe: Recipe = {
  ...{ name: "countdown", folder: import.meta.dirname, title: declaration.title, notes, arms },
  ...{ measures: declaration.measures, comparisons: [], seeds: [1, 2, 3], minutes: null },
  full: { text: "width 128 and 300 updates, about 12 minutes of two cores an arm", minutes: null },
  report: (page, results, picture) => ({
    page: claimsPage(declaration, page, results, picture),
    picture: claimsPicture(declaration, results),
  }),
};

if (import.meta.main) process.exitCode = await runProgram(recipe, process.argv.slice(2));
