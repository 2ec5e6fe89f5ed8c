/** What trained models of a task are asked: held-out prompts, greedily and by samples. */
import { Engine } from "../../src/engine/engine.ts";
import { evaluate } from "../../src/train/evaluate.ts";
import { PackedRows } from "../../src/train/packed-rows.ts";
import { passAt, passRates } from "../../src/train/policy/evaluation.ts";
import type { Reward, RewardSample } from "../../src/train/policy/rewards.ts";
import type { ArmContext } from "../shared/program.ts";
import { PAD } from "./alphabet.ts";
import { toPrompt } from "./answers.ts";
import type { Task, TaskExam, TaskFigures } from "./declaration.ts";
import { lessonOf, rewardOf, sizesOf, type TaskModel } from "./stages.ts";

/** Characters that an answer of about the right length may be away from it. */
const NEAR = 3;
/** Samples of a prompt. */
export const DRAWS = 8;

export const share = (rates: readonly number[]) => ({
  right: rates.reduce((a, b) => a + b, 0),
  of: rates.length,
});

const engineFor = (model: TaskModel) =>
  new Engine(model, { maxBatch: 64, maxQueue: 10_000, cacheTokens: 16_384 });

/** 1 for right answers alone. */
const rightOnly =
  <Row>(reward: Reward<Row>): Reward<Row> =>
  async (samples: readonly RewardSample<Row>[], options) =>
    (await reward(samples, options)).map((each) => (each === 1 ? 1 : 0));

/** Held-out prompts, greedily and by 8 samples of each: pass@1 and pass@8, and what else the task asks. */
export async function examine<Row>(
  task: Task<Row>,
  context: ArmContext,
  model: TaskModel,
): Promise<Required<TaskFigures>> {
  const { heldOut } = task.problems(sizesOf(task, context));
  const prompts = heldOut.map((row) => toPrompt(task, row));
  await using engine = engineFor(model);
  const judge = { reward: rightOnly(rewardOf(task, context)), decode: task.alphabet.decode };
  const solvedIn = async (samples: number, temperature: number) => {
    const settings = { samples, maxTokens: task.maxTokens, temperature, seed: 1 };
    return (await passRates(engine, prompts, judge, settings)).map((rate) => rate ?? 0);
  };
  const greedy = await solvedIn(1, 0);
  const sampled = await solvedIn(DRAWS, 1);
  const any = sampled.map((rate) => (rate > 0 ? 1 : 0));
  const kinds = Object.entries(task.kinds ?? {}).map(
    ([name, isOne]) => [name, greedy.filter((_, i) => isOne(heldOut[i]))] as const,
  );
  const items: Record<string, readonly number[]> = {
    ...{ "greedy pass@1": greedy, "sampled pass@1": sampled, [`pass@${DRAWS}`]: any },
    ...Object.fromEntries(kinds),
  };
  const outcome = {
    items,
    scores: Object.fromEntries(Object.entries(items).map(([name, rates]) => [name, share(rates)])),
    figures: {} as Record<string, number>,
  };
  for (const exam of task.exams ?? []) {
    const more = await exam(task, context, model);
    Object.assign(outcome.scores, more.scores);
    Object.assign(outcome.figures, more.figures);
    Object.assign(outcome.items, more.items);
  }
  return outcome;
}

/** 1 for answers that are the right text. */
export const exactly =
  <Row>(answerOf: (row: Row) => string): Reward<Row> =>
  (samples) =>
    samples.map(({ completion, row }) => (completion === answerOf(row!) ? 1 : 0));

/** 1 for answers of about the right length. */
export const aboutAsLong =
  <Row>(answerOf: (row: Row) => string): Reward<Row> =>
  (samples) =>
    samples.map(({ completion, row }) => {
      return Math.abs(completion.length - answerOf(row!).length) <= NEAR ? 1 : 0;
    });

/** Whether greedy answers to held-out prompts end, and how long they are. */
export const endings = async <Row>(
  task: Task<Row>,
  context: ArmContext,
  model: TaskModel,
): Promise<TaskFigures> => {
  const { heldOut } = task.problems(sizesOf(task, context));
  await using engine = engineFor(model);
  const { length, truncated } = await passAt(
    engine,
    heldOut.map((row) => toPrompt(task, row)),
    { reward: (samples) => samples.map(() => 0) },
    { samples: 1, maxTokens: task.maxTokens, temperature: 0, seed: 1 },
  );
  const of = heldOut.length;
  return {
    scores: { "answers that end": { right: Math.round((1 - truncated) * of), of } },
    figures: { "tokens of an answer": length },
    items: {},
  };
};

/** Nats of a token of right answers to held-out prompts: what further training must not unlearn. */
export const rightAnswers =
  <Row>(answerOf: (row: Row) => string): TaskExam<Row> =>
  async (task, context, model) => {
    const { heldOut } = task.problems(sizesOf(task, context));
    const lessons = heldOut.map((row) =>
      lessonOf(task, { prompt: task.promptOf(row), answer: answerOf(row) }),
    );
    const rows = new PackedRows(lessons, { length: task.row, padId: PAD });
    const { loss } = await evaluate(model, rows.once(task.rows));
    return { scores: {}, figures: { "loss of right answers": loss }, items: {} };
  };
