/**
 * Scores of models that see on the world's test samples: answers are generated greedily, many at a time, and compared as
 * `data/world/score.ts` says. Shares come with the interval of Wilson (1927), 95 %.
 */
import { type WorldStream, worldIndex } from "../../src/data/world/generator.ts";
import { type WorldOptions, type WorldSample, worldSample } from "../../src/data/world/sample.ts";
import { type DescribeScore, describeTotals, scoreAnswer } from "../../src/data/world/score.ts";
import { worldPieces } from "../../src/data/world/vocabulary.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { Interval } from "../../src/statistics/sample.ts";
import { shareInterval } from "../../src/statistics/share-interval.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import type { TrainableImageModel } from "../../src/train/objectives/images.ts";

/** How many of how many. */
export interface Count {
  readonly right: number;
  readonly of: number;
}

/** Scores by name: `color`, `text clean z=1`, `text clean z=1 glyphs`, .. */
export type Scores = Readonly<Record<string, Count>>;

/** Prompts of a system: what its processor and its template make of pictures and questions. */
export interface ScoredSystem {
  readonly model: Pick<TrainableImageModel, "language">;
  /** Embeddings of the samples' pictures, null for text alone; the caller's to free. */
  encode(samples: readonly WorldSample[]): Promise<readonly (Tensor | null)[]>;
  /** Ids before and after the picture's place. */
  prompt(sample: WorldSample): { readonly before: number[]; readonly after: number[] };
  readonly stopIds: readonly number[];
  decode(ids: readonly number[]): string;
}

/** What is asked. */
export interface Exam {
  readonly stream: WorldStream;
  readonly count: number;
  readonly options?: WorldOptions;
}

/** Half the width of a share's interval is at most about 1/sqrt(n): 400 samples tell 5 points apart. */
export const interval = ({ right, of }: Count): Interval => shareInterval(of === 0 ? 0 : right / of, of);

const MOST_TOKENS = 150;
/** Pictures seen at once, and answers under way. */
const BATCH = 16;

export async function answersTo(
  system: ScoredSystem,
  samples: readonly WorldSample[],
  onAnswer?: (done: number) => void,
): Promise<string[]> {
  const { model, stopIds } = system;
  const answers: string[] = [];
  await using engine = new Engine(model.language, {
    maxBatch: 2 * BATCH,
    cacheTokens: 16_384,
    prefillChunk: 2048,
  });
  let done = 0;
  for (let first = 0; first < samples.length; first += 2 * BATCH) {
    const part = samples.slice(first, first + 2 * BATCH);
    const seen: (Tensor | null)[] = [];
    for (let at = 0; at < part.length; at += BATCH)
      seen.push(...(await system.encode(part.slice(at, at + BATCH))));
    const texts = part.map(async (sample, i) => {
      const { before, after } = system.prompt(sample);
      const embeddings = seen[i];
      const prompt =
        embeddings === null
          ? [...before, ...after]
          : [before, { embeddings, hash: `${first + i}`, placeholderId: 3 }, after];
      const ids: number[] = [];
      for await (const { id } of engine.submit({ prompt, maxTokens: MOST_TOKENS, stopIds, temperature: 0 })) {
        if (!stopIds.includes(id)) ids.push(id);
      }
      onAnswer?.(++done);
      return system.decode(ids);
    });
    answers.push(...(await Promise.all(texts)));
    for (const each of seen) each?.dispose();
  }
  return answers;
}

class Sums {
  readonly counts: Record<string, { right: number; of: number }> = {};

  add(name: string, right: number, of = 1): void {
    const count = (this.counts[name] ??= { right: 0, of: 0 });
    count.right += right;
    count.of += of;
  }
}

/** Glyphs of an answer that stand in their places. */
function glyphsRight(expected: string, given: string): number {
  const pieces = worldPieces(given);
  return worldPieces(expected).filter((piece, i) => piece === pieces[i]).length;
}

/** All answers to these tasks as one count. */
export function together(scores: Scores, tasks: readonly string[]): Count {
  const counts = tasks.flatMap((task) => scores[task] ?? []);
  const total = (key: keyof Count) => counts.reduce((sum, count) => sum + count[key], 0);
  return { right: total("right"), of: total("of") };
}

/** The tasks of questions about scenes, and of language. */
export const QUESTION_TASKS = ["count", "color", "exists", "relation", "find", "describe"];
export const LANGUAGE_TASKS = ["add", "reverse", "order"];

/** Scores of one exam, with `mark` after the task's name. */
export const examine = (
  system: ScoredSystem,
  { stream, count, options }: Exam,
  mark = "",
  onAnswer?: (done: number) => void,
): Promise<Scores> =>
  scoresOf(
    system,
    Array.from({ length: count }, (_, i) => worldSample(stream, 1, worldIndex("test", i), options)),
    (task) => `${task}${mark}`,
    onAnswer,
  );

/** @param nameOf scores by their samples' tasks; text has scores by size of its glyphs too */
export async function scoresOf(
  system: ScoredSystem,
  samples: readonly WorldSample[],
  nameOf: (task: string) => string,
  onAnswer?: (done: number) => void,
): Promise<Scores> {
  const answers = await answersTo(system, samples, onAnswer);
  const sums = new Sums();
  const described: DescribeScore[] = [];
  samples.forEach((sample, i) => {
    const score = scoreAnswer(sample, answers[i]);
    if (score.kind === "describe") described.push(score);
    const name = nameOf(sample.task);
    sums.add(name, score.correct ? 1 : 0);
    if (sample.stream !== "text") return;
    const sized = `${name} z=${sample.glyphScale}`;
    sums.add(sized, score.correct ? 1 : 0);
    sums.add(`${sized} glyphs`, glyphsRight(sample.answer, answers[i]), sample.answer.length);
  });
  if (described.length > 0) {
    const { matched, named, present } = describeTotals(described);
    // F1 = 2 matched / (named + present), as a share of what both lists hold.
    sums.add(nameOf("describe F1"), 2 * matched, named + present);
  }
  return sums.counts;
}
