/**
 * From rows to a run's folder: everything that can be refused is refused before anything is trained, and what is read of the
 * data stays in the folder, so that a resumed run needs neither the data nor the network.
 */
import { join } from "node:path";
import { BUILTIN_TEMPLATES } from "../../chat/builtin.ts";
import { heldOutBelow } from "../../data/rows/held-out.ts";
import {
  type LocatedRow,
  type OpenRowsOptions,
  openRows,
  type RowSource,
} from "../../data/rows/node-rows.ts";
import type { RowKind } from "../../data/rows/row.ts";
import { stageFolder } from "../../files/folder-sink.ts";
import { makeFolder } from "../../files/temporary.ts";
import { ConfigError, DeepseekError, FormatError } from "../../tensor/errors.ts";
import { formatCount, plural } from "../../text/units.ts";
import { bestFitRows } from "../../train/best-fit.ts";
import type { Lesson } from "../../train/packed-rows.ts";
import { MOST_STEPS } from "../../train/schedule.ts";
import { writeJson, writeText } from "../json-file.ts";
import { type BaseFiles, baseReader } from "./base-model.ts";
import { checkTuned, type TunedConfig } from "./config.ts";
import { type LessonRow, LessonStore, learnedTargets, writeLessons } from "./lesson-store.ts";
import { cutLesson, cutPair, RowLessons } from "./row-lessons.ts";

/** A run to be prepared. What the data decide may be left open. */
export interface TunedTask {
  /** The run's folder, new. */
  readonly out: string;
  /**
   * Settings; `sequenceLength` is the most that rows may take, and shorter if all are. With `epochs` the number of steps follows
   * from the data.
   */
  readonly config: TunedConfig;
  /** Passes over the data, where neither steps nor seconds are given. */
  readonly epochs: number | null;
  /** The model's files beside its weights, by name. */
  readonly files: BaseFiles;
  /** What was asked for where the data would decide: rows of a batch, steps of warm-up, and between saved states. */
  readonly asked?: { readonly batch?: number; readonly warmupSteps?: number; readonly saveEvery?: number };
  /** A chat template in place of the model's own: the name of a built-in one, or a Jinja source. */
  readonly template?: string;
  readonly hub?: Pick<OpenRowsOptions, "offline">;
}

/** What became of the rows. */
export interface TunedRows {
  readonly rows: number;
  /** Rows that are scored and never learned. */
  readonly heldOut: number;
  /** Rows longer than `sequenceLength` that lost their ends, and those that were left out for it. */
  readonly cut: number;
  readonly dropped: number;
  /** Rows in which nothing is left to learn. */
  readonly empty: number;
  /** Answers without reasoning, where the prompts of the chat template open it: such a model has to be asked without. */
  readonly unprompted: number;
  readonly tokens: number;
  readonly learned: number;
}

/** Sequences are as long as the longest row, up to a multiple of this. */
const ROUNDING = 64;
/** Least tokens of a packed row: shorter ones hold few conversations and leave more room empty. */
const SHORTEST = 256;

const KIND: Readonly<Record<TunedConfig["kind"], RowKind>> = { sft: "supervised", dpo: "preference" };

/** Counts rows while they are tokenized. */
interface Counts {
  cut: number;
  dropped: number;
  empty: number;
  learned: number;
  longest: number;
}

async function* lessonRows(
  source: RowSource,
  config: TunedConfig,
  lessons: RowLessons,
  counts: Counts,
  onProgress: (text: string) => void,
  signal?: AbortSignal,
): AsyncGenerator<LessonRow> {
  const { sequenceLength, overlong } = config;
  const progress = ({ rows, filesDone, files }: { rows: number; filesDone: number; files: number }) =>
    onProgress(`${plural(rows, "row")}, ${formatCount(filesDone)} of ${plural(files, "file")} read`);
  const read = source.read(KIND[config.kind], { signal, onProgress: progress });
  for await (const located of read) {
    const made = tokenized(config, lessons, located);
    const length = Math.max(...made.lessons.map(({ ids }) => ids.length));
    if (length > sequenceLength) {
      if (overlong === "drop") {
        counts.dropped++;
        continue;
      }
      counts.cut++;
    }
    const kept = length > sequenceLength ? made.cut(sequenceLength) : made.lessons;
    const targets = kept.map(learnedTargets);
    if (targets.some((count) => count === 0)) {
      counts.empty++;
      continue;
    }
    counts.learned += targets.reduce((a, b) => a + b, 0);
    counts.longest = Math.max(counts.longest, ...kept.map(({ ids }) => ids.length));
    yield { lessons: kept, hash: located.hash };
  }
}

/** A pair's two sides, each with the prompt. */
function pairLessons({ prompt, chosen, rejected }: ReturnType<RowLessons["pair"]>): Lesson[] {
  return [chosen, rejected].map((answer) => ({
    ids: [...prompt, ...answer],
    learned: [...prompt.map(() => 0), ...answer.map(() => 1)],
  }));
}

/** The lessons of a row, and how they are cut. @throws FormatError naming file and line */
function tokenized(
  { kind }: TunedConfig,
  lessons: RowLessons,
  { row, where }: LocatedRow<RowKind>,
): { readonly lessons: readonly Lesson[]; cut(length: number): Lesson[] } {
  try {
    if (row.form === "preference") {
      const pair = lessons.pair(row);
      return { lessons: pairLessons(pair), cut: (length) => pairLessons(cutPair(pair, length)) };
    }
    if (row.form === "prompt" || row.form === "fields")
      throw new ConfigError("a row without an answer teaches nothing", { where: kind });
    const lesson = lessons.supervised(row);
    return { lessons: [lesson], cut: (length) => [cutLesson(lesson, length)] };
  } catch (error) {
    if (!(error instanceof DeepseekError)) throw error;
    throw new FormatError(error.message, { where, cause: error });
  }
}

/** The model's files with the template that its users need: one that was chosen, or the built-in one that fits. */
export async function withTemplate(
  files: BaseFiles,
  folder: string,
  name: string,
  chosen: string | undefined,
): Promise<void> {
  const source =
    chosen !== undefined && Object.hasOwn(BUILTIN_TEMPLATES, chosen)
      ? BUILTIN_TEMPLATES[chosen as keyof typeof BUILTIN_TEMPLATES]
      : chosen;
  for (const [file, text] of Object.entries(files)) await writeText(join(folder, file), text);
  if (source !== undefined) await writeText(join(folder, "chat_template.jinja"), source);
  const { template } = await baseReader(folder, name);
  if (template?.builtin) await writeText(join(folder, "chat_template.jinja"), template.source);
}

/** Updates of a pass at least: few rows are learned in smaller batches. */
const LEAST_UPDATES = 8;

/** Steps of a run: those given, or so many that each row is learned `epochs` times. */
function stepsOf(rows: number, batch: number, epochs: number): number {
  return Math.min(MOST_STEPS, Math.max(1, Math.ceil((epochs * rows) / batch)));
}

/**
 * Reads all rows, tokenizes them and makes the run's folder, which appears when it is ready.
 * @throws ConfigError, FormatError naming the setting, or file, line and field; HubError; the signal's reason
 */
export async function prepareTuned(
  { out, config, epochs, files, template, asked = {}, hub = {} }: TunedTask,
  onProgress: (text: string) => void = () => {},
  signal?: AbortSignal,
): Promise<TunedRows> {
  checkTuned(config, config.kind);
  const { names, split, subset, heldOut } = config.data;
  const source = await openRows(names, {
    ...{ ...hub, signal, onNotice: onProgress },
    ...(split !== undefined && { split }),
    ...(subset !== undefined && { subset }),
    onProgress: ({ done, total }) =>
      onProgress(`downloading: ${Math.floor((100 * done) / Math.max(1, total))} %`),
  });
  const staged = await stageFolder(out, { kind: "run" });
  try {
    const base = join(staged.path, "base");
    await makeFolder(base);
    await withTemplate(files, base, config.model.name, template);
    const learn = config.kind === "sft" ? config.learn : "answers";
    const lessons = new RowLessons({ ...(await baseReader(base, config.model.name)), learn });
    const counts: Counts = { cut: 0, dropped: 0, empty: 0, learned: 0, longest: 0 };
    const folder = join(staged.path, "data");
    const rows = lessonRows(source, config, lessons, counts, onProgress, signal);
    const index = await writeLessons(folder, rows, signal);
    await using store = await LessonStore.open(folder);
    const below = heldOutBelow(store.hashes, heldOut);
    const train = store.side(false, below);
    const held = store.rows - train.length;
    const { cut, dropped, empty, learned, longest } = counts;
    if (train.length === 0) {
      throw new ConfigError("no row teaches anything", {
        where: names.join(", "),
        found: `${dropped} longer than ${config.sequenceLength} tokens, ${empty} with nothing to learn`,
        hint: "Raise --length.",
      });
    }
    const length = sequenceLengthOf(config, longest);
    const units =
      config.kind === "sft"
        ? bestFitRows(
            train.map((row) => store.lengths[row]),
            length,
          ).length
        : train.length;
    const { training } = config;
    const size = asked.batch ?? Math.max(1, Math.min(training.batch.size, Math.floor(units / LEAST_UPDATES)));
    const steps = epochs === null ? training.steps : stepsOf(units, size, epochs);
    const settled = settledTraining({ ...training, batch: { ...training.batch, size } }, steps, asked);
    await writeJson(join(staged.path, "run.json"), { ...config, sequenceLength: length, training: settled });
    await staged.commit();
    const { unprompted } = lessons;
    return {
      rows: index.rows,
      heldOut: held,
      cut,
      dropped,
      empty,
      unprompted,
      tokens: index.tokens,
      learned,
    };
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

/** Tokens of a row: no more than the longest needs. Pairs run without padding to a length. */
function sequenceLengthOf({ kind, sequenceLength }: TunedConfig, longest: number): number {
  if (kind === "dpo") return sequenceLength;
  const needed = Math.ceil(Math.max(longest, SHORTEST) / ROUNDING) * ROUNDING;
  return Math.min(sequenceLength, needed);
}

/** Warm-up as a share of the run, and least steps of it. */
const WARMUP = 0.03;
const LEAST_WARMUP = 10;

/** What a number of steps decides, where nothing else was asked: the warm-up, and ten scores and saved states on the way. */
function settledTraining(
  training: TunedConfig["training"],
  steps: number | null,
  { warmupSteps, saveEvery }: NonNullable<TunedTask["asked"]>,
): TunedConfig["training"] {
  if (steps === null) return training;
  const warmup = Math.min(Math.floor(steps / 2), Math.max(LEAST_WARMUP, Math.ceil(WARMUP * steps)));
  const tenth = Math.max(1, Math.ceil(steps / 10));
  const every = saveEvery ?? Math.min(training.saveEvery, tenth);
  return {
    ...training,
    ...{ steps, evaluateEvery: every, saveEvery: every },
    learningRate: { ...training.learningRate, warmupSteps: warmupSteps ?? warmup },
  };
}
