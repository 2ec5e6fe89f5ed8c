/**
 * The work of `jobs.ts` in a thread of its own, for programs whose own thread must stay free while models are read and texts become
 * tokens. This file is the program's side; `work-worker.ts` is the thread's.
 */
import type { RunJobs } from "./jobs.ts";
import { endOf, startThread } from "./training-thread.ts";

/** What a thread is asked to do. */
export interface ThreadWork<K extends keyof RunJobs = keyof RunJobs> {
  readonly kind: K;
  readonly task: RunJobs[K]["task"];
}

/** What it tells before its end. */
export interface WorkNews<K extends keyof RunJobs = keyof RunJobs> {
  readonly type: "news";
  readonly event: RunJobs[K]["event"];
}

/** Does the work of a kind; resolves or rejects once its thread has ended. @throws what the work throws */
export async function workInThread<K extends Exclude<keyof RunJobs, "train">>(
  kind: K,
  task: RunJobs[K]["task"],
  onEvent: (event: RunJobs[K]["event"]) => void,
  signal?: AbortSignal,
): Promise<RunJobs[K]["result"]> {
  const worker = startThread(import.meta.url, "work-worker", { kind, task } satisfies ThreadWork<K>);
  return await endOf<WorkNews<K>, RunJobs[K]["result"]>(worker, ({ event }) => onEvent(event), signal);
}
