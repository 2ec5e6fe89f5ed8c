/** Arms of recipes on tasks: what goes on from the tuned model of a seed, and how. */
import { Engine } from "../../src/engine/engine.ts";
import type { PreferenceOptions } from "../../src/train/objectives/preference.ts";
import { PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import type { PolicySettings } from "../../src/train/policy/settings.ts";
import { runPolicyStage } from "../shared/policy-stage.ts";
import type { Arm, ArmContext, ArmOutcome } from "../shared/program.ts";
import { answersOf, keptAnswers, pairsIn, toPrompt } from "./answers.ts";
import type { Task } from "./declaration.ts";
import { examine } from "./exam.ts";
import { freshModel, openModel, prefer, rewardOf, sizesOf, tune, tuned, tuneShown } from "./stages.ts";

interface Named {
  readonly name: string;
  readonly text: string;
}

/** Fine-tuned on what is shown. */
export const tunedArm = <Row>(task: Task<Row>, named: Named): Arm => ({
  ...named,
  async run(context) {
    using model = await openModel(task, context, await tuned(task, context));
    // Done already: only its steps and time are read.
    const { steps, seconds } = await tuneShown(task, context, model);
    return { ...(await examine(task, context, model)), stages: { tuned: { steps, minutes: seconds / 60 } } };
  },
});

/** Fine-tuned on the same for longer. @param stepsOfAnUpdate steps in the processor time of an update; the page shows both times */
export const longerArm = <Row>(task: Task<Row>, named: Named, stepsOfAnUpdate: number): Arm => ({
  ...named,
  async run(context) {
    const sizes = sizesOf(task, context);
    using model = freshModel(task, context);
    const lessons = task.problems(sizes).demonstrations(context.seed);
    const steps = sizes.steps + stepsOfAnUpdate * sizes.updates;
    const done = await tune(task, context, model, { name: named.name, steps, lessons });
    const stages = { tuned: { steps: done.steps, minutes: done.seconds / 60 } };
    return { ...(await examine(task, context, model)), stages };
  },
});

async function trainPolicy<Row>(
  task: Task<Row>,
  context: ArmContext,
  settings: Partial<PolicySettings>,
): Promise<ArmOutcome> {
  const sizes = sizesOf(task, context);
  const from = await tuned(task, context);
  using model = await openModel(task, context, from);
  using reference = await openModel(task, context, from);
  await using engine = new Engine(model, { maxBatch: 64, maxQueue: 10_000, cacheTokens: 32_768 });
  const prompts = task
    .problems(sizes)
    .checked(context.seed)
    .map((row) => toPrompt(task, row));
  using trainer = new PolicyTrainer(
    { model, engine, reference, prompts, reward: rewardOf(task, context), decode: task.alphabet.decode },
    {
      ...{ steps: sizes.updates, groups: sizes.groups, samples: sizes.samples, maxTokens: task.maxTokens },
      ...{ learningRate: { peak: 2e-4, warmupSteps: 5, shape: "constant" }, seed: context.seed },
      ...{ objective: { beta: 0.04 }, trainer: { optimizer: { weightDecay: 0, clipNorm: 1 } } },
      ...settings,
    },
  );
  const stage = { name: "grpo", saveEvery: 20, printEvery: 10, config: { stage: "grpo" } };
  const { steps, seconds, last } = await runPolicyStage(trainer, stage, context.stages);
  const found = await examine(task, context, model);
  const figures = {
    ...found.figures,
    ...(last?.update?.kl != null && { "KL at the end": last.update.kl }),
    ...(last?.update != null && { "entropy at the end": last.update.entropy }),
  };
  return { ...found, figures, stages: { grpo: { steps, minutes: seconds / 60 } } };
}

/** GRPO on prompts whose answers are only checked. */
export const policyArm = <Row>(
  task: Task<Row>,
  named: Named,
  settings: Partial<PolicySettings> = {},
): Arm => ({
  ...named,
  run: (context) => trainPolicy(task, context, settings),
});

/** DPO on pairs of the tuned model's own answers. @param objective with the peak of its rate */
export const preferenceArm = <Row>(
  task: Task<Row>,
  named: Named,
  objective: PreferenceOptions & { readonly peak: number },
): Arm => ({
  ...named,
  async run(context) {
    const pairs = pairsIn(await answersOf(task, context));
    using model = await openModel(task, context, await tuned(task, context));
    const { steps, seconds } = await prefer(task, context, model, pairs, objective);
    const found = await examine(task, context, model);
    const figures = { ...found.figures, pairs: pairs.length };
    return { ...found, figures, stages: { preferred: { steps, minutes: seconds / 60 } } };
  },
});

/** Fine-tuned further on the answers that DPO prefers, as many steps. @param peak of its rate */
export const chosenArm = <Row>(task: Task<Row>, named: Named, peak: number): Arm => ({
  ...named,
  async run(context) {
    const pairs = pairsIn(await answersOf(task, context));
    const lessons = pairs.map(({ prompt, chosen }) => ({ prompt, answer: chosen }));
    using model = await openModel(task, context, await tuned(task, context));
    const steps = sizesOf(task, context).preferenceSteps;
    const done = await tune(task, context, model, { name: "chosen", steps, lessons, peak });
    const stages = { chosen: { steps: done.steps, minutes: done.seconds / 60 } };
    return { ...(await examine(task, context, model)), stages };
  },
});

/** From random weights on right answers of the tuned model's alone: rejection sampling. */
export const rejectionArm = <Row>(task: Task<Row>, named: Named): Arm => ({
  ...named,
  async run(context) {
    const lessons = keptAnswers(await answersOf(task, context));
    using model = freshModel(task, context);
    const { steps } = sizesOf(task, context);
    const done = await tune(task, context, model, { name: "kept", steps, lessons });
    const found = await examine(task, context, model);
    const figures = { ...found.figures, "answers kept": lessons.length };
    return { ...found, figures, stages: { kept: { steps: done.steps, minutes: done.seconds / 60 } } };
  },
});
