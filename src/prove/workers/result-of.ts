/** The result of a job, waited for as long as its reader wants it. */
import { setTimeout as wait } from "node:timers/promises";
import type { JobQueue } from "../../jobs/job.ts";
import { ConfigError } from "../../tensor/errors.ts";

const FULL = "the queue is full";
const AGAIN_MS = 200;

/**
 * Adds a job, or finds the one of its id, and waits for its result. A full queue is waited for: those who ask are slower then. The
 * job goes on if the reader goes away: another one may want the same. @throws the signal's reason, JobFailedError
 */
export async function resultOf<R>(
  queue: JobQueue,
  kind: string,
  data: unknown,
  id: string,
  signal?: AbortSignal,
): Promise<R> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      const job = await queue.add<unknown, never, R>(kind, data, { id });
      return await unlessAborted(job.result(), signal);
    } catch (error) {
      if (!(error instanceof ConfigError) || !error.message.includes(FULL)) throw error;
      await wait(AGAIN_MS, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}

async function unlessAborted<R>(result: Promise<R>, signal?: AbortSignal): Promise<R> {
  if (signal === undefined) return await result;
  result.catch(() => {});
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
