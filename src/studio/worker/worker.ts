/** The worker that does what a server would: answers the page's calls in their order, and several at a time. */
import { apiError } from "../../serve/errors.ts";
import type { JobEvent } from "../../serve/studio/protocol.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import type { Call, CallFault, Leave, PickedFile, Reply, WorkerSettings } from "./messages.ts";
import { PageStudio } from "./page-studio.ts";

function faultOf(error: unknown): CallFault {
  const known = apiError(error);
  if (known !== null) return { message: known.message, status: known.shape.status, code: known.shape.code };
  if (error instanceof DeepseekError) return { message: error.message, status: 400, code: null };
  console.error(error);
  return {
    message: `The studio's worker failed: ${error instanceof Error ? error.message : String(error)}`,
    status: 500,
    code: "internal_error",
  };
}

const reply = (message: Reply) => self.postMessage(message);
/** Readings of events that go on. */
const reading = new Map<number, AbortController>();

async function tell(call: number, events: AsyncIterable<JobEvent>): Promise<null> {
  for await (const event of events) reply({ call, event });
  return null;
}

async function answer(studio: PageStudio, { call, name, args }: Call): Promise<unknown> {
  if (name === "events") {
    const gone = new AbortController();
    reading.set(call, gone);
    try {
      return await tell(call, await studio.events(String(args[0]), Number(args[1]), gone.signal));
    } finally {
      reading.delete(call);
    }
  }
  if (name === "add") return await studio.add(args[0] as readonly PickedFile[]);
  if (name === "models" || name === "jobs") return await studio[name]();
  return await studio[name](String(args[0]));
}

self.addEventListener(
  "message",
  ({ data: settings }: MessageEvent<WorkerSettings>) => {
    const studio = new PageStudio(settings);
    self.addEventListener("message", ({ data }: MessageEvent<Call | Leave>) => {
      if ("leave" in data) {
        reading.get(data.call)?.abort();
        return;
      }
      const { call } = data;
      answer(studio, data).then(
        (value) => reply({ call, value }),
        (error: unknown) => reply({ call, fault: faultOf(error) }),
      );
    });
  },
  { once: true },
);
