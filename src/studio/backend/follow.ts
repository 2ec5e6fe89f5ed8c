/** Reads a job's events to their end, over lost connections: what was read is not asked for again. */

import { type Backend, isFault } from "./backend.ts";
import type { JobEvent } from "./wire.ts";

const WAITS = [500, 1000, 2000, 5000];

const pause = (milliseconds: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });

export interface Following {
  readonly signal: AbortSignal;
  /** Told when the connection breaks and when events come again. */
  readonly onLost?: (lost: boolean) => void;
  /** Milliseconds to wait before each attempt, the last for all further ones. */
  readonly waits?: readonly number[];
}

/**
 * Events after number `after`, each once, until the one that ends the job.
 * @throws BackendError if the server refuses: it does not know the job (status 404), or the token
 */
export async function* followJob(
  backend: Pick<Backend, "events">,
  id: string,
  after: number,
  { signal, onLost = () => {}, waits = WAITS }: Following,
): AsyncGenerator<JobEvent> {
  let last = after;
  let attempt = 0;
  while (!signal.aborted) {
    try {
      for await (const event of backend.events(id, last, signal)) {
        if (attempt > 0) onLost(false);
        attempt = 0;
        if (event.number <= last) continue;
        last = event.number;
        yield event;
        if (event.event.type === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isFault(error, "lost")) throw error;
    }
    if (signal.aborted) return;
    onLost(true);
    await pause(waits[Math.min(attempt++, waits.length - 1)], signal);
  }
}
