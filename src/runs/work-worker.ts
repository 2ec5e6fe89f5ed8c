/** The thread of `work-thread.ts`: does one piece of work, tells what happens, stops when told to. */
import { parentPort, workerData } from "node:worker_threads";
import type { JobContext } from "../jobs/job.ts";
import { RUN_WORK, type RunJobs } from "./jobs.ts";
import { tellEnd } from "./thread-end.ts";
import type { ToTraining } from "./training-thread.ts";
import type { ThreadWork, WorkNews } from "./work-thread.ts";

const port = parentPort!;
const { kind, task } = workerData as ThreadWork;
const controller = new AbortController();
port.on("message", (message: ToTraining) => {
  if (message.type === "stop") controller.abort();
});

type Event = RunJobs[keyof RunJobs]["event"];
const work = RUN_WORK[kind] as (
  task: unknown,
  context: Pick<JobContext<Event>, "emit" | "signal">,
) => Promise<unknown>;
await tellEnd(port, () =>
  work(task, {
    signal: controller.signal,
    emit: (event) => port.postMessage({ type: "news", event } satisfies WorkNews),
  }),
);
