/**
 * Training in its own thread, so that the program's own thread is always free to answer signals and to draw,
 * however long a step takes. This file is the program's side.
 */
import { Worker } from "node:worker_threads";
import { siblingModule, threadExecArgv } from "../tensor/cpu/thread-options.ts";
import { DeepseekError } from "../tensor/errors.ts";
import type { Evaluation } from "../train/evaluate.ts";
import type { TrainingMemory } from "../train/memory.ts";
import type { StepMetrics } from "../train/trainer.ts";
import type { RunLength } from "./loop.ts";
import type { RunResult } from "./run.ts";

export interface TrainingTask {
  readonly folder: string;
  /** Threads to compute with; default: the machine's cores. */
  readonly threads?: number;
}

/** What the run is, once it is open. */
export interface OpenedRun {
  readonly modelType: string;
  readonly parameters: { readonly total: number; readonly activated: number; readonly mtp: number };
  /** Steps made before. */
  readonly step: number;
}

/** What a trained or stopped run leaves. */
export interface TrainedRun extends RunResult {
  readonly memory: TrainingMemory;
}

/** What a training tells. */
export type TrainEvent =
  | { readonly type: "opened"; readonly run: OpenedRun }
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "step"; readonly metrics: StepMetrics; readonly length: RunLength }
  | { readonly type: "evaluation"; readonly step: number; readonly evaluation: Evaluation };

/** Why a thread failed: an error as plain data. */
export interface ThreadFailure {
  readonly type: "failed";
  readonly message: string;
  /** Whether it was thrown on purpose. */
  readonly foreseen: boolean;
  readonly stack?: string;
  readonly code?: string;
}

/** The last that a thread tells: what its run left, or why it failed. */
export type ThreadEnd<R> = { readonly type: "ended"; readonly run: R } | ThreadFailure;

/** From the thread. */
export type FromTraining = TrainEvent | ThreadEnd<TrainedRun>;

/** To the thread: finish the step, save and end. */
export interface ToTraining {
  readonly type: "stop";
}

/** An error of the thread as it would have been thrown here. */
export function errorOf(failed: ThreadFailure): Error {
  const error = failed.foreseen ? new DeepseekError(failed.message) : new Error(failed.message);
  if (failed.stack !== undefined) error.stack = failed.stack;
  return failed.code === undefined ? error : Object.assign(error, { code: failed.code });
}

/** Starts the thread of a task, plain data; `script` is its module, without an ending, beside that of `base`. */
export function startThread(base: string, script: string, task: unknown): Worker {
  return new Worker(siblingModule(base, script), {
    name: "deepseek-ts training",
    workerData: task,
    execArgv: threadExecArgv(),
  });
}

/**
 * Waits for the end of a thread, which it is then freed of; all that it tells before goes to `onMessage`. Told to stop when `signal`
 * aborts. @throws DeepseekError and what the thread threw
 */
export async function endOf<M extends { readonly type: string }, R>(
  worker: Worker,
  onMessage: (message: M) => void,
  signal?: AbortSignal,
): Promise<R> {
  const stop = () => worker.postMessage({ type: "stop" } satisfies ToTraining);
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    return await new Promise<R>((resolve, reject) => {
      worker.on("message", (message: M | ThreadEnd<R>) => {
        if (message.type === "ended") resolve((message as ThreadEnd<R> & { type: "ended" }).run);
        else if (message.type === "failed") reject(errorOf(message as ThreadFailure));
        else onMessage(message as M);
      });
      worker.on("error", reject);
      worker.on("exit", (code) => reject(new Error(`the training thread ended with code ${code}`)));
    });
  } finally {
    signal?.removeEventListener("abort", stop);
    await worker.terminate();
  }
}

/**
 * Trains the run of `task` from where it stands until its end, or until `signal` aborts: then the step in progress is
 * finished and saved. @throws DeepseekError and what the thread threw
 */
export async function trainInThread(
  task: TrainingTask,
  onEvent: (event: TrainEvent) => void,
  signal?: AbortSignal,
): Promise<TrainedRun> {
  return await endOf(startThread(import.meta.url, "training-worker", task), onEvent, signal);
}
