/** The end of a thread that trains, as the thread tells it. */
import type { MessagePort } from "node:worker_threads";
import { DeepseekError } from "../tensor/errors.ts";
import type { ThreadEnd } from "./training-thread.ts";

/** Runs `train` and tells what it left or threw, when everything is closed and the run's lock is free. */
export async function tellEnd<R>(port: MessagePort, train: () => Promise<R>): Promise<void> {
  const send = (message: ThreadEnd<R>) => port.postMessage(message);
  try {
    const run = await train();
    send({ type: "ended", run });
  } catch (error) {
    const { message, stack, code }: NodeJS.ErrnoException =
      error instanceof Error ? error : new Error(String(error));
    send({ type: "failed", message, stack, code, foreseen: error instanceof DeepseekError });
  }
  port.close();
}
