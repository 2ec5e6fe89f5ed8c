/** Server-sent events: `data:` lines of JSON, `[DONE]` at the end, comments while nothing comes. */
import { ApiError, errorBody, internal } from "./errors.ts";

/** A comment is sent after this long without data, so that proxies keep the connection. */
const QUIET_MS = 15_000;

/**
 * The chunks as a body that is read at the client's pace; `onCancel` is called where the client goes away before the
 * end. An error on the way becomes the last event: the status has been sent long before.
 */
export function eventStream(
  chunks: AsyncGenerator<unknown, void>,
  onCancel: () => void,
  onError: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const event = (text: string) => encoder.encode(`data: ${text}\n\n`);
  let quiet: NodeJS.Timeout | undefined;
  let cancelled = false;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      quiet = setInterval(() => {
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(": waiting\n\n"));
      }, QUIET_MS);
    },
    async pull(controller) {
      quiet?.refresh();
      try {
        const next = await chunks.next();
        if (cancelled) return;
        if (!next.done) {
          controller.enqueue(event(JSON.stringify(next.value)));
          return;
        }
        controller.enqueue(event("[DONE]"));
      } catch (error) {
        if (cancelled) return;
        if (!(error instanceof ApiError)) onError(error);
        const { shape } = error instanceof ApiError ? error : internal();
        controller.enqueue(event(JSON.stringify(errorBody(shape))));
      }
      clearInterval(quiet);
      controller.close();
    },
    cancel() {
      cancelled = true;
      clearInterval(quiet);
      onCancel();
    },
  });
}
