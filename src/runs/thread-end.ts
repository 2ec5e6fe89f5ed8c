/** The end of a thread that trains, as the thread tells it. */
import type { MessagePort } from "node:worker_threads";
import { DeepseekError } from "../tensor/errors.ts";
import type { ThreadEnd, ThreadFailure } from "./training-thread.ts";

export function failureOf(error: unknown): ThreadFailure {
  const { message, stack, code }: NodeJS.ErrnoException =
    error instanceof Error ? error : new Error(String(error));
  return {
    ...{ type: "failed", message, foreseen: error instanceof DeepseekError },
    ...(stack !== undefined && { stack }),
    ...(code !== undefined && { code }),
  };
}

/** Runs `train` and tells what it left or threw, when everything is closed and the run's lock is free. */
export async function tellEnd<R>(port: MessagePort, train: () => Promise<R>): Promise<void> {
  const send = (message: ThreadEnd<R>) => port.postMessage(message);
  try {
    const run = await train();
    send({ type: "ended", run });
  } catch (error) {
    send(failureOf(error));
  }
  port.close();
}
