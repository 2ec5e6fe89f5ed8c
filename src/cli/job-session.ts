/** Work of a command as a job: its events are shown as they come, and a request to stop cancels it. */

import { JobCanceledError } from "../jobs/errors.ts";
import type { Job } from "../jobs/job.ts";
import { MemoryQueue } from "../jobs/memory-queue.ts";
import { listenForInterrupt } from "./interrupt.ts";

/** Events are shown at once: the queue needs to keep only the last ones. */
const LIMITS = { maxEvents: 256 };

export interface JobSession<E> {
  onEvent(event: E): void;
  /** Answers the first request to stop; default: nothing, where the work ends at once. */
  onInterrupt?(): void;
  /** Whether the work must end by itself if its output is no longer read, as after Ctrl-C; default false. */
  readonly outlivesReader?: boolean;
}

/** What a job gave; null where it was canceled and gave nothing. */
export interface JobEnd<R> {
  readonly result: R | null;
  /** 0, or where a request to stop came that of its signal. */
  readonly exitCode: number;
  /** What failed after it was canceled, where something did. */
  readonly cause?: unknown;
}

/** Adds a job to a queue of its own with `add` and waits for its end. @throws what the job throws */
export async function runJob<E, R>(
  add: (queue: MemoryQueue) => Promise<Job<E, R>>,
  { onEvent, onInterrupt = () => {}, outlivesReader = false }: JobSession<E>,
): Promise<JobEnd<R>> {
  await using queue = new MemoryQueue(LIMITS);
  using interrupt = listenForInterrupt(onInterrupt, { outlivesReader });
  const job = await add(queue);
  const cancel = () => void job.cancel("interrupted");
  if (interrupt.signal.aborted) cancel();
  else interrupt.signal.addEventListener("abort", cancel, { once: true });
  for await (const { event } of job.events()) onEvent(event);
  try {
    return { result: await job.result(), exitCode: interrupt.exitCode };
  } catch (error) {
    if (!(error instanceof JobCanceledError)) throw error;
    return { result: null, exitCode: interrupt.exitCode, cause: error.cause };
  }
}
