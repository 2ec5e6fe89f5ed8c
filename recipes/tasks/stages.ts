/** How a model of a task is made and trained: on what is shown, on what is preferred. */
import { createModel } from "../../src/models/causal-lm.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { tokenObjective } from "../../src/train/objectives/objective.ts";
import {
  type PreferenceBatch,
  type PreferenceOptions,
  preferenceBatches,
  preferenceObjective,
  type ScoredPair,
  scorePairs,
} from "../../src/train/objectives/preference.ts";
import { type Lesson, PackedRows } from "../../src/train/packed-rows.ts";
import { PromptOrder } from "../../src/train/policy/prompts.ts";
import type { Reward } from "../../src/train/policy/rewards.ts";
import type { ArmContext } from "../shared/program.ts";
import { newestStep, once } from "../shared/ready.ts";
import { runStage, type StageBatches } from "../shared/stage.ts";
import { loadPart } from "../shared/weights.ts";
import { END, PAD } from "./alphabet.ts";
import type { Demonstration, Task, TaskSizes } from "./declaration.ts";

export const sizesOf = <Row>({ sizes }: Task<Row>, { small, full }: ArmContext): TaskSizes =>
  small ? sizes.small : full ? sizes.full : sizes.usual;

export const rewardOf = <Row>(
  { reward, smallReward = reward }: Task<Row>,
  { small }: ArmContext,
): Reward<Row> => (small ? smallReward : reward);

export const modelOf = (device: Device, seed: number, vocabulary: number, { width, layers }: TaskSizes) =>
  createModel(
    {
      ...{ model_type: "llama", vocab_size: vocabulary, hidden_size: width, intermediate_size: 2.75 * width },
      ...{ num_hidden_layers: layers, num_attention_heads: 4, num_key_value_heads: 4 },
      ...{ max_position_embeddings: 128, rms_norm_eps: 1e-6, eos_token_id: END },
    },
    device,
    { seed, std: 0.02 },
  );

export type TaskModel = ReturnType<typeof modelOf>;

/** A model of the arm's seed with random weights. */
export const freshModel = <Row>(task: Task<Row>, context: ArmContext): TaskModel =>
  modelOf(context.device, context.seed, task.alphabet.size, sizesOf(task, context));

/** A prompt that is read, and an answer with its end that is learned. */
export function lessonOf<Row>({ alphabet }: Task<Row>, { prompt, answer }: Demonstration): Lesson {
  const [read, written] = [alphabet.encode(prompt), [...alphabet.encode(answer), END]];
  return { ids: [...read, ...written], learned: [...read.map(() => 0), ...written.map(() => 1)] };
}

const SFT_PEAK = 2e-3;
/** Pairs of a step. */
const PAIRS = 32;
/** Tokens of a pass. */
const PASS_TOKENS = 4096;

/** Rate and optimizer of a stage of so many steps. */
export const optionsOf = (peak: number, steps: number, weightDecay: number) => ({
  learningRate: {
    ...{ peak, warmupSteps: Math.min(50, Math.ceil(steps / 4)) },
    ...{ shape: "cosine" as const, finalFraction: 0.1 },
  },
  optimizer: { weightDecay, clipNorm: 1 },
});

interface Tuning {
  readonly name: string;
  /** In all. */
  readonly steps: number;
  readonly lessons: readonly Demonstration[];
  readonly peak?: number;
}

/** Fine-tunes on fixed answers. */
export function tune<Row>(
  task: Task<Row>,
  context: ArmContext,
  model: TaskModel,
  { name, steps, lessons, peak = SFT_PEAK }: Tuning,
  where = context.stages,
) {
  const { seed } = context;
  return runStage(
    {
      ...{ name, model, objective: tokenObjective, config: { stage: name, seed } },
      batches: new PackedRows(
        lessons.map((each) => lessonOf(task, each)),
        { length: task.row, seed, padId: PAD },
      ),
      length: { steps },
      options: { batch: task.rows, ...optionsOf(peak, steps, 0.01) },
    },
    where,
  );
}

/** Fine-tunes on the demonstrations, to the state that all arms of a seed begin with. */
export function tuneShown<Row>(task: Task<Row>, context: ArmContext, model: TaskModel) {
  const sizes = sizesOf(task, context);
  const lessons = task.problems(sizes).demonstrations(context.seed);
  return tune(task, context, model, { name: "tuned", steps: sizes.steps, lessons }, context.shared);
}

/** Folder of the tuned model, which all arms of a seed begin with. */
export const tuned = <Row>(task: Task<Row>, context: ArmContext): Promise<string> =>
  once(context, "tuned", async () => {
    using model = freshModel(task, context);
    await tuneShown(task, context, model);
    return await newestStep(`${context.shared.folder}/tuned`);
  });

/** A model with the weights of a saved step. */
export async function openModel<Row>(task: Task<Row>, context: ArmContext, from: string): Promise<TaskModel> {
  const model = freshModel(task, context);
  await loadPart(from, "", model.parameters, "");
  return model;
}

/** A prompt with an answer that is preferred to another. */
export interface AnsweredPair {
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
}

/** Pairs without end, every pass over them in another order. */
function pairBatches(pairs: readonly ScoredPair[], seed: number): StageBatches<PreferenceBatch> {
  const order = new PromptOrder<ScoredPair>(
    pairs.map((row) => ({ ids: row.prompt, row })),
    seed,
  );
  return {
    next: async (count) =>
      preferenceBatches(
        order.take(count).map(({ row }) => row!),
        PASS_TOKENS,
      ),
    state: () => ({ taken: order.taken }),
    restore: (state) => {
      order.taken = (state as { taken: number }).taken;
    },
  };
}

/** Learns which of two answers is preferred, from the tuned model, which is also the reference. */
export async function prefer<Row>(
  task: Task<Row>,
  context: ArmContext,
  model: TaskModel,
  pairs: readonly AnsweredPair[],
  { peak, ...objective }: PreferenceOptions & { readonly peak: number },
) {
  const { alphabet } = task;
  const { seed } = context;
  const steps = sizesOf(task, context).preferenceSteps;
  using reference = await openModel(task, context, await tuned(task, context));
  const scored = await scorePairs(
    reference,
    pairs.map(({ prompt, chosen, rejected }) => ({
      prompt: alphabet.encode(prompt),
      chosen: [...alphabet.encode(chosen), END],
      rejected: [...alphabet.encode(rejected), END],
    })),
  );
  return await runStage(
    {
      ...{ name: "preferred", model, config: { stage: "preferred", seed } },
      objective: preferenceObjective(objective),
      batches: pairBatches(scored, seed),
      length: { steps },
      options: { batch: PAIRS, ...optionsOf(peak, steps, 0) },
    },
    context.stages,
  );
}
