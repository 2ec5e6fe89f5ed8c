import { expect, it, vi } from "vitest";
import type { JobContext } from "../jobs/job.ts";
import type { MemoryQueue } from "../jobs/memory-queue.ts";
import { tellReaderGone } from "./interrupt.ts";
import { runJob } from "./job-session.ts";

type Handler = (data: null, context: JobContext<string>) => Promise<string>;
const adding = (handler: Handler) => (queue: MemoryQueue) => {
  queue.process("work", handler);
  return queue.add<null, string, string>("work", null);
};
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));

it("shows every event before it gives the result", async () => {
  const events: string[] = [];
  const { result, exitCode } = await runJob(
    adding(async (_, { emit }) => {
      for (const text of ["a", "b"]) emit(text);
      await null;
      emit("c");
      return "end";
    }),
    { onEvent: (event) => events.push(event) },
  );
  expect([result, exitCode, events]).toEqual(["end", 0, ["a", "b", "c"]]);
});

it.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("cancels at %s and tells the status to exit with", async (name, code) => {
  const onInterrupt = vi.fn();
  const { result, exitCode } = await runJob(
    adding(async (_, { emit, signal }) => {
      emit("begun");
      await aborted(signal);
      signal.throwIfAborted();
      return "never";
    }),
    { onEvent: () => process.emit(name), onInterrupt },
  );
  expect([result, exitCode]).toEqual([null, code]);
  expect(onInterrupt).toHaveBeenCalledTimes(1);
  expect(process.listenerCount(name)).toBe(0);
});

it("gives what a job has that ends by itself when it is canceled", async () => {
  const { result, exitCode } = await runJob(
    adding(async (_, { emit, signal }) => {
      emit("begun");
      await aborted(signal);
      emit("saving");
      return "saved";
    }),
    { onEvent: (event) => event === "begun" && process.emit("SIGINT") },
  );
  expect([result, exitCode]).toEqual(["saved", 130]);
});

it("throws what the job throws", async () => {
  const failing = runJob(
    adding(async () => {
      throw new Error("no room");
    }),
    { onEvent: () => {} },
  );
  await expect(failing).rejects.toThrow("no room");
});

it.each([true, false])(
  "counts a reader that is gone as a request where the work outlives it: %s",
  async (outlivesReader) => {
    let heard = false;
    const { exitCode } = await runJob(
      adding(async (_, { emit, signal }) => {
        emit("begun");
        if (outlivesReader) await aborted(signal);
        return "end";
      }),
      {
        onEvent: () => {
          heard = tellReaderGone();
        },
        outlivesReader,
      },
    );
    expect([heard, exitCode]).toEqual(outlivesReader ? [true, 141] : [false, 0]);
  },
);
