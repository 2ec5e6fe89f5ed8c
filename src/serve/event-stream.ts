/** Server-sent events in the forms of OpenAI's interfaces, with comments while nothing comes. */
import { apiError, type ErrorShape, errorBody, internal } from "./errors.ts";

/** A comment is sent after this long without data, so that proxies keep the connection. */
const QUIET_MS = 15_000;

/** How chunks are written. */
export interface EventForm {
  chunk(value: object): string;
  /** The last event of a stream that breaks off: the status has been sent long before. */
  failure(shape: ErrorShape): string;
  /** What stands at the end of a whole stream. */
  readonly end: string;
}

const data = (value: object) => `data: ${JSON.stringify(value)}\n\n`;

/** Chunks without names, and `[DONE]` at the end: chat and completions. */
export const plainEvents = (): EventForm => ({
  chunk: data,
  failure: (shape) => data(errorBody(shape)),
  end: "data: [DONE]\n\n",
});

/** Events named by their `type` and numbered from 0: responses. */
export function namedEvents(): EventForm {
  let number = 0;
  const event = (type: string, value: object) =>
    `event: ${type}\n${data({ type, sequence_number: number++, ...value })}`;
  return {
    chunk: (value) => event((value as { type: string }).type, value),
    failure: ({ code, message, param }) => event("error", { code, message, param }),
    end: "",
  };
}

/**
 * The chunks as a body that is read at the client's pace; `onCancel` is called where they end before their end: where
 * the client goes away, or with an error, which becomes the last event.
 */
export function eventStream(
  chunks: AsyncGenerator<object, void>,
  form: EventForm,
  onCancel: () => void,
  onError: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let quiet: ReturnType<typeof setInterval> | undefined;
  let canceled = false;
  const count = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    clearInterval(quiet);
    quiet = setInterval(() => {
      if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(": waiting\n\n"));
    }, QUIET_MS);
  };
  return new ReadableStream<Uint8Array>({
    start: count,
    async pull(controller) {
      count(controller);
      try {
        const next = await chunks.next();
        if (canceled) return;
        if (!next.done) {
          controller.enqueue(encoder.encode(form.chunk(next.value)));
          return;
        }
        if (form.end !== "") controller.enqueue(encoder.encode(form.end));
      } catch (error) {
        if (canceled) return;
        onCancel();
        const known = apiError(error);
        if (known === null) onError(error);
        const { shape } = known ?? internal();
        controller.enqueue(encoder.encode(form.failure(shape)));
      }
      clearInterval(quiet);
      controller.close();
    },
    cancel() {
      canceled = true;
      clearInterval(quiet);
      onCancel();
    },
  });
}
