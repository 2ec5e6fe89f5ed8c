/** The events of a job as lines of JSON, at the pace of their reader; empty lines while nothing happens. */
import type { JobEvent } from "./protocol.ts";

/** Milliseconds of silence after which an empty line is sent. */
const QUIET_MS = 5000;

/** @param gone aborted when the reader leaves */
export function eventLines(
  events: AsyncGenerator<JobEvent, void>,
  gone: AbortController,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let quiet: NodeJS.Timeout | undefined;
  const end = () => {
    clearInterval(quiet);
    gone.abort();
  };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      quiet = setInterval(() => {
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode("\n"));
      }, QUIET_MS);
    },
    async pull(controller) {
      quiet?.refresh();
      const next = await events.next();
      if (gone.signal.aborted) return;
      if (!next.done) {
        controller.enqueue(encoder.encode(`${JSON.stringify(next.value)}\n`));
        return;
      }
      end();
      controller.close();
    },
    cancel: end,
  });
}
