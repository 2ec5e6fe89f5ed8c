/** Results in the form of lm-evaluation-harness: `results`, `configs`, `versions`, `n-shot`, `higher_is_better`, `n-samples`. */
import type { Evaluation, TaskEvaluation } from "./evaluate.ts";
import { ANSWER_DELIMITER, SHOT_DELIMITER } from "./prompts.ts";
import type { TaskForm } from "./rows.ts";

/** What stands behind a metric's name: the answers were taken as they are. */
const FILTER = "none";
/** Of the rules by which rows become figures: another one makes figures that cannot be compared. */
export const TASK_VERSION = 1;

const OUTPUT_TYPES: Readonly<Record<TaskForm, string>> = {
  choices: "multiple_choice",
  answer: "generate_until",
  infill: "generate_until",
  text: "loglikelihood_rolling",
};

/** What the figures do not say of themselves. */
export interface ResultsAbout {
  readonly model: string;
  /** How the model was opened, and all settings, as plain data. */
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly batchSize: number;
  readonly limit: number | null;
  /** Milliseconds since 1970 at the evaluation's start. */
  readonly date: number;
  readonly version: string;
  readonly chatTemplate: string | null;
  readonly system: string | null;
  /** By task: where it is from, the hash of its rows, how texts were written. */
  readonly tasks: Readonly<Record<string, TaskAbout>>;
}

export interface TaskAbout {
  readonly path: string;
  readonly hash: string;
  readonly generation?: Readonly<Record<string, unknown>>;
  readonly samples?: number;
}

function figuresOf({ name, metrics }: TaskEvaluation): Record<string, unknown> {
  const figures: Record<string, unknown> = { alias: name };
  for (const { name: metric, value, standardError } of metrics) {
    figures[`${metric},${FILTER}`] = value;
    figures[`${metric}_stderr,${FILTER}`] = standardError ?? "N/A";
  }
  return figures;
}

function configOf(task: TaskEvaluation, about: TaskAbout | undefined, seed: number): Record<string, unknown> {
  const { name, form, metrics, shots } = task;
  return {
    task: name,
    dataset_path: about?.path ?? null,
    output_type: OUTPUT_TYPES[form],
    ...(form !== "text" && { target_delimiter: ANSWER_DELIMITER, fewshot_delimiter: SHOT_DELIMITER }),
    num_fewshot: shots,
    metric_list: metrics.map(({ name: metric, aggregation, higherIsBetter }) => ({
      ...{ metric, aggregation, higher_is_better: higherIsBetter },
    })),
    ...(about?.generation && { generation_kwargs: about.generation }),
    repeats: about?.samples ?? 1,
    should_decontaminate: false,
    metadata: { version: TASK_VERSION, form, fewshot_seed: seed, data_sha256: about?.hash ?? null },
  };
}

/**
 * The results as one object. Beside what the harness writes: `intervals` with the ends that hold 95 %, and `counts` of what went
 * otherwise than asked.
 */
export function harnessResults({ tasks }: Evaluation, about: ResultsAbout): Record<string, unknown> {
  const each = <T>(value: (task: TaskEvaluation) => T) =>
    Object.fromEntries(tasks.map((task) => [task.name, value(task)]));
  return {
    results: each(figuresOf),
    group_subtasks: each(() => []),
    configs: each((task) => configOf(task, about.tasks[task.name], about.seed)),
    versions: each(() => TASK_VERSION),
    "n-shot": each(({ shots }) => shots),
    higher_is_better: each(({ metrics }) =>
      Object.fromEntries(metrics.map(({ name, higherIsBetter }) => [name, higherIsBetter])),
    ),
    "n-samples": each(({ rows, of }) => ({ original: of ?? rows, effective: rows })),
    intervals: each(({ metrics }) =>
      Object.fromEntries(metrics.map(({ name, interval }) => [`${name},${FILTER}`, interval])),
    ),
    counts: each(({ counts }) => counts),
    config: {
      ...{ model: "deepseek-ts", model_args: about.arguments, batch_size: about.batchSize },
      ...{ limit: about.limit, bootstrap_iters: null, random_seed: about.seed, fewshot_seed: about.seed },
    },
    git_hash: null,
    date: about.date / 1000,
    deepseek_ts_version: about.version,
    model_source: "deepseek-ts",
    model_name: about.model,
    model_name_sanitized: about.model.replace(/["<>:/|\\?*[\]]+/g, "__"),
    system_instruction: about.system,
    chat_template: about.chatTemplate,
    task_hashes: each((task) => about.tasks[task.name]?.hash ?? null),
    total_evaluation_time_seconds: String(tasks.reduce((sum, { seconds }) => sum + seconds, 0)),
  };
}

/** The time as it stands in file names. */
export const dateName = (date: number) => new Date(date).toISOString().replace("Z", "").replaceAll(":", "-");
