/**
 * Judges a language model by tasks: choices by their likelihood, answers and infills that it writes, texts in rolling windows.
 *
 * Rows are worked off in waves, each by an engine of its own whose requests are all made before any of them ends. So what comes of
 * a wave depends on its rows alone, and an evaluation that was stopped goes on from its finished waves to the same figures. Within a
 * wave the longest go first, and what several begin with is read once.
 */
import { checkNumber } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type Estimate, estimate, type Metric, type MetricValue } from "./metrics.ts";
import type { TaskForm, TaskRow } from "./rows.ts";
import { type EvaluatedModel, type EvaluationSettings, extentOf, workSettings } from "./settings.ts";
import { metricsOf, TaskValues } from "./task-values.ts";
import { type DoneWave, type EvaluationTask, runWave, wavesOf, worksOf } from "./waves.ts";
import type { EvaluationJudge, WorkCounts } from "./work.ts";

export interface EvaluationProgress {
  readonly task: string;
  /** Rows of the task that are done, with the share of one that is begun, and all; null if that is not known. */
  readonly rows: number;
  readonly of: number | null;
  /** Tokens of the requests that ended since the evaluation began, as if each read all of its own. */
  readonly tokens: number;
}

export interface EvaluateOptions extends EvaluationSettings {
  /** Judges answers in place of their comparison. */
  readonly judge?: EvaluationJudge;
  /** Whether works carry what a log shows; default false. */
  readonly log?: boolean;
  /** Waves that an earlier start has done, in order. */
  readonly done?: AsyncIterable<DoneWave> | Iterable<DoneWave>;
  /** Keeps a wave; the next one begins when it is kept. */
  readonly onWave?: (wave: DoneWave, rows: ReadonlyMap<number, TaskRow>) => void | Promise<void>;
  readonly onProgress?: (progress: EvaluationProgress) => void;
  /** Ends the evaluation, which throws its reason. */
  readonly signal?: AbortSignal;
}

/** A task's figures. */
export interface TaskEvaluation {
  readonly name: string;
  readonly form: TaskForm;
  readonly metrics: readonly (Metric & Estimate)[];
  /** Rows that were judged, and all that there are if that is known. */
  readonly rows: number;
  readonly of: number | null;
  readonly shots: number;
  readonly counts: Required<WorkCounts>;
  readonly seconds: number;
  /** Values of each row, by metric. */
  readonly values: Readonly<Record<string, readonly MetricValue[]>>;
}

export interface Evaluation {
  readonly tasks: readonly TaskEvaluation[];
}

/** Number of rows of a task, as far as that is known. */
function countOf({ rows, count }: EvaluationTask, limit: number): number | null {
  const all = Array.isArray(rows) ? rows.length : count;
  return all === undefined ? null : Math.min(all, limit);
}

/**
 * Judges a model by tasks, one after the other.
 * @throws ConfigError, FormatError naming what cannot be asked; LogitsError; DeepseekError of the judge; the signal's reason
 */
export async function evaluate(
  subject: EvaluatedModel,
  tasks: readonly EvaluationTask[],
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { judge = null, log = false, done = [], onWave, onProgress } = options;
  const { signal = new AbortController().signal } = options;
  const extent = extentOf(options);
  checkEvaluation(subject, tasks, options);
  const settings = workSettings(subject, options, judge, log);
  const found = new Map(
    tasks.map(({ name, form }) => [name, new TaskValues(name, metricsOf(form, settings))]),
  );
  for await (const wave of done) {
    const values = found.get(wave.task);
    if (values === undefined) {
      throw new ConfigError("kept work of another task", { where: "evaluate", found: wave.task });
    }
    values.add(wave);
  }
  let tokens = 0;
  for (const task of tasks) {
    const values = found.get(task.name)!;
    const of = countOf(task, extent.limit);
    let through = values.rows;
    const tell = () => onProgress?.({ task: task.name, rows: through, of, tokens });
    tell();
    // What a whole task needs is not prepared for one that is done.
    if (of !== null && values.rows >= of) continue;
    const works = worksOf(task, extent, values.next, settings);
    for await (const wave of wavesOf(works, task.form, extent.batchSize)) {
      signal.throwIfAborted();
      const began = performance.now();
      const results = await runWave(
        subject,
        wave,
        { batchSize: extent.batchSize, ...(options.cacheDtype && { cacheDtype: options.cacheDtype }) },
        signal,
      );
      const seconds = (performance.now() - began) / 1000;
      const finished: DoneWave = { task: task.name, done: results, seconds };
      values.add(finished);
      await onWave?.(finished, new Map(wave.map(({ place, row }) => [place.row, row])));
      through = wave[wave.length - 1].through;
      tokens += wave.reduce((sum, { work }) => sum + work.prompt.length + work.further, 0);
      tell();
    }
    if (values.rows === 0) throw new ConfigError("a task without rows", { where: task.name });
  }
  return {
    tasks: tasks.map((task) => {
      const { values, counts, seconds, rows } = found.get(task.name)!;
      const metrics = metricsOf(task.form, settings);
      return {
        ...{ name: task.name, form: task.form, rows, counts, seconds, values },
        of: countOf(task, Number.POSITIVE_INFINITY),
        shots: task.form === "choices" || task.form === "answer" ? extent.shots : 0,
        metrics: metrics.map((metric) => ({ ...metric, ...estimate(metric, values[metric.name]) })),
      };
    }),
  };
}

/**
 * Refuses what `evaluate` would refuse before it asks anything.
 * @throws ConfigError for no tasks, names that repeat, settings that no task obeys, or that contradict each other or the model
 */
export function checkEvaluation(
  subject: EvaluatedModel,
  tasks: readonly EvaluationTask[],
  options: Pick<EvaluateOptions, keyof EvaluationSettings | "judge">,
): void {
  extentOf(options);
  workSettings(subject, options, options.judge ?? null, false);
  checkTasks(tasks, options);
}

function checkTasks(tasks: readonly EvaluationTask[], options: EvaluateOptions): void {
  const where = "evaluate";
  checkNumber({ where }, "number of tasks", tasks.length, { min: 1 });
  const names = tasks.map(({ name }) => name);
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined) throw new ConfigError("two tasks of one name", { where, found: repeated });
  const forms = new Set(tasks.map(({ form }) => form));
  const needed: readonly (readonly [keyof EvaluateOptions, readonly TaskForm[]])[] = [
    ...(["judge", "samples", "ks"] as const).map((name) => [name, ["answer"]] as const),
    ...(["maxTokens", "stop", "temperature", "topP"] as const).map(
      (name) => [name, ["answer", "infill"]] as const,
    ),
    ...(["chat", "system", "shots"] as const).map((name) => [name, ["choices", "answer"]] as const),
  ];
  for (const [name, wanted] of needed) {
    if (options[name] === undefined || options[name] === false || options[name] === 0) continue;
    if (wanted.some((form) => forms.has(form))) continue;
    throw new ConfigError("no task is of a form that this setting is for", {
      ...{ where, name, expected: wanted.join(" or "), found: [...forms].join(", ") },
    });
  }
  for (const { name, form, rows, shotRows } of tasks) {
    if (!options.shots || !(form === "choices" || form === "answer")) continue;
    if (shotRows === undefined && !Array.isArray(rows)) {
      throw new ConfigError("examples need rows to draw them from", { where: name, expected: "shotRows" });
    }
    const other = shotRows?.find((row) => row.form !== form);
    if (other !== undefined) {
      throw new ConfigError("examples of another form", { where: name, expected: form, found: other.form });
    }
  }
}
