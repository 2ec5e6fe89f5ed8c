/** Answers that the tuned model of a seed gives to prompts which can only be checked, kept for all arms, and pairs of them. */
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Engine } from "../../src/engine/engine.ts";
import { replaceOwnFile } from "../../src/files/owned.ts";
import { Random } from "../../src/tensor/random.ts";
import { judgeGroup } from "../../src/train/policy/judge.ts";
import type { PolicyPrompt } from "../../src/train/policy/prompts.ts";
import { sampleGroups } from "../../src/train/policy/rollouts.ts";
import type { ArmContext } from "../shared/program.ts";
import { StageStopped } from "../shared/stage.ts";
import { END } from "./alphabet.ts";
import type { Demonstration, Task } from "./declaration.ts";
import { type AnsweredPair, openModel, rewardOf, sizesOf, tuned } from "./stages.ts";

/** Answers to a prompt. */
const SAMPLES = 8;
/** Of a prompt, that are learned as if they had been shown. */
const MOST_KEPT = 4;
/** Stream of the seeds that answers are sampled with. */
const ANSWER_STREAM = 91;
const REWARD_SECONDS = 300;

export interface Answered {
  readonly prompt: string;
  /** Distinct. */
  readonly right: readonly string[];
  readonly wrong: readonly string[];
}

export const toPrompt = <Row>({ alphabet, promptOf }: Task<Row>, row: Row): PolicyPrompt<Row> => {
  const prompt = promptOf(row);
  return { ids: alphabet.encode(prompt), prompt, row };
};

/** The tuned model's answers at temperature 1, right and wrong ones. @throws StageStopped */
export async function answersOf<Row>(task: Task<Row>, context: ArmContext): Promise<Answered[]> {
  const from = await tuned(task, context);
  const path = join(context.shared.folder, "answers.json");
  if (existsSync(path)) return JSON.parse(await readFile(path, "utf8"));
  const sizes = sizesOf(task, context);
  const rows = task.problems(sizes).checked(context.seed).slice(0, sizes.paired);
  using model = await openModel(task, context, from);
  await using engine = new Engine(model, { maxBatch: 64, maxQueue: 1024, cacheTokens: 32_768 });
  const stop = new AbortController();
  const stopIds = [END];
  const groups = await sampleGroups(
    engine,
    rows.map((row) => toPrompt(task, row)),
    { samples: SAMPLES, maxTokens: task.maxTokens, temperature: 1, stopIds },
    new Random(context.seed, ANSWER_STREAM),
    async (group, signal): Promise<Answered> => {
      if (context.stages.stopped()) stop.abort(new StageStopped("stopped while answers were sampled"));
      const judge = { reward: rewardOf(task, context), decode: task.alphabet.decode };
      const settings = { stopIds, rewardSeconds: REWARD_SECONDS };
      const { completions, rewards } = await judgeGroup(judge, group, settings, signal);
      const of = (wanted: (reward: number) => boolean) => [
        ...new Set(
          completions.flatMap(({ ids, truncated }, i) =>
            // What never ended has no end to learn.
            !truncated && wanted(rewards[i] ?? 0) ? [task.alphabet.decode(ids)] : [],
          ),
        ),
      ];
      const prompt = task.promptOf(group.prompt.row!);
      return { prompt, right: of((reward) => reward === 1), wrong: of((reward) => reward < 1) };
    },
    stop.signal,
  );
  // Groups end in any order.
  const order = new Map(rows.map((row, i) => [task.promptOf(row), i]));
  groups.sort((a, b) => order.get(a.prompt)! - order.get(b.prompt)!);
  await mkdir(context.shared.folder, { recursive: true });
  await replaceOwnFile(path, JSON.stringify(groups));
  return groups;
}

/** A right and a wrong answer of each prompt that has both, the first that came. @throws Error if no prompt has both */
export function pairsIn(answers: readonly Answered[]): AnsweredPair[] {
  const pairs = answers.flatMap(({ prompt, right, wrong }) =>
    right.length > 0 && wrong.length > 0 ? [{ prompt, chosen: right[0], rejected: wrong[0] }] : [],
  );
  if (pairs.length > 0) return pairs;
  throw new Error(`no prompt of ${answers.length} has a right and a wrong answer: there are no pairs`);
}

/** Right answers, some of a prompt: rejection sampling. */
export const keptAnswers = (answers: readonly Answered[]): Demonstration[] =>
  answers.flatMap(({ prompt, right }) => right.slice(0, MOST_KEPT).map((answer) => ({ prompt, answer })));
