/**
 * Long work on disk as jobs (`src/jobs`): preparing a run, training it, quantizing or converting a model. Each has an id, numbered
 * events that can be read again, a result and a way to cancel it; none depends on who watches. Data, events and results
 * are plain JSON.
 */
import type { Job, JobContext, JobQueue } from "../jobs/job.ts";
import type { RunConfig } from "./config.ts";
import { type ConvertEvent, type ConvertResult, type ConvertTask, convertModel } from "./convert.ts";
import { type PreparedRun, type Progress, prepareRun, selectTexts } from "./preparation.ts";
import { type QuantizeEvent, type QuantizeResult, type QuantizeTask, quantizeModel } from "./quantize.ts";
import type { StagedConfig } from "./staged/config.ts";
import { prepareStaged } from "./staged/preparation.ts";
import { type TrainEvent, type TrainedRun, type TrainingTask, trainInThread } from "./training-thread.ts";
import { prepareTuned, type TunedRows, type TunedTask } from "./tuned/preparation.ts";

export interface PrepareTask {
  /** The folder of text, or the file, to learn from. */
  readonly folder: string;
  /** The run's folder, new. */
  readonly out: string;
  readonly config: RunConfig;
}

export interface PrepareStagesTask {
  /** The run's folder, new. */
  readonly out: string;
  readonly config: StagedConfig;
}

/** A line of progress. */
export interface PrepareEvent {
  readonly stage: Parameters<Progress>[0] | "data";
  readonly message: string;
}

/** What each kind takes, tells and gives. */
export interface RunJobs {
  /** Canceled, it leaves no folder. */
  readonly prepare: { task: PrepareTask; event: PrepareEvent; result: PreparedRun };
  /** Canceled, it leaves no folder. */
  readonly "prepare-stages": { task: PrepareStagesTask; event: PrepareEvent; result: null };
  /** Rows to learn from; canceled, it leaves no folder. */
  readonly "prepare-tuned": { task: TunedTask; event: PrepareEvent; result: TunedRows };
  /**
   * Canceled, it finishes the step in progress, saves, and gives what it has: a `TrainedRun` that is not finished, from
   * which another job continues with the same bits.
   */
  readonly train: { task: TrainingTask; event: TrainEvent; result: TrainedRun };
  /** Canceled, it leaves no file. */
  readonly convert: { task: ConvertTask; event: ConvertEvent; result: ConvertResult };
  /** Canceled, it leaves no folder. */
  readonly quantize: { task: QuantizeTask; event: QuantizeEvent; result: QuantizeResult };
}

type RunContext = Pick<JobContext<PrepareEvent>, "emit" | "signal">;

async function prepare(
  { folder, out, config }: PrepareTask,
  { emit, signal }: RunContext,
): Promise<PreparedRun> {
  const progress: Progress = (stage, message) => emit({ stage, message });
  const texts = await selectTexts(folder, config, progress, signal);
  return prepareRun(texts, out, config, progress, signal);
}

async function prepareStages(
  { out, config }: PrepareStagesTask,
  { emit, signal }: RunContext,
): Promise<null> {
  await prepareStaged(config, out, (message) => emit({ stage: "data", message }), signal);
  return null;
}

function prepareRows(task: TunedTask, { emit, signal }: RunContext): Promise<TunedRows> {
  return prepareTuned(task, (message) => emit({ stage: "data", message }), signal);
}

/** Does the work of a kind. */
type RunWork<K extends keyof RunJobs> = (
  task: RunJobs[K]["task"],
  context: Pick<JobContext<RunJobs[K]["event"]>, "emit" | "signal">,
) => Promise<RunJobs[K]["result"]>;

/** How each kind is done, in the thread that asks for it; training has a thread of its own. */
export const RUN_WORK: { readonly [K in keyof RunJobs]: RunWork<K> } = {
  prepare,
  "prepare-stages": prepareStages,
  "prepare-tuned": prepareRows,
  train: (task, { emit, signal }) => trainInThread(task, emit, signal),
  convert: (task, { emit, signal }) => convertModel(task, emit, signal),
  quantize: (task, { emit, signal }) => quantizeModel(task, emit, signal),
};

/** Lets `queue` do the work of this file, one job of a kind at a time: each uses all cores. */
export function processRuns(queue: JobQueue): void {
  for (const [kind, work] of Object.entries(RUN_WORK)) queue.process(kind, work as RunWork<"prepare">);
}

/** Adds a job of this file's kinds, with their types. @throws ConfigError as `JobQueue.add` */
export function addRunJob<K extends keyof RunJobs>(
  queue: JobQueue,
  kind: K,
  task: RunJobs[K]["task"],
  options?: { id?: string },
): Promise<Job<RunJobs[K]["event"], RunJobs[K]["result"]>> {
  return queue.add(kind, task, options);
}
