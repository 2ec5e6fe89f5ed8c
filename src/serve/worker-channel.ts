/** Starts the engine's thread. Node only. */
import { Worker } from "node:worker_threads";
import type { EngineChannel } from "../engine/host/engine-client.ts";
import type { FromEngine } from "../engine/host/protocol.ts";
import { packed } from "../engine/host/wire.ts";
import { siblingModule, threadExecArgv } from "../tensor/cpu/thread-options.ts";
import type { EngineSettings } from "./engine-settings.ts";

/** A new thread that opens the model of `settings`; `file` is what it runs, so that tests can have it crash. */
export function startEngineThread(
  settings: EngineSettings,
  file: URL = siblingModule(import.meta.url, "engine-worker"),
): EngineChannel {
  const worker = new Worker(file, {
    name: "deepseek-ts engine",
    workerData: settings,
    execArgv: threadExecArgv(),
  });
  return {
    post: (message, transfer = []) => worker.postMessage(packed(message), transfer),
    listen(onMessage, onEnd) {
      worker.on("message", (message: FromEngine) => onMessage(message));
      let reason: string | null = null;
      worker.on("error", (error) => {
        // Unexpected: the stack goes to the log, the message to all clients.
        if (error instanceof Error) onMessage({ type: "log", text: `error: ${error.stack}` });
        reason = error instanceof Error ? error.message : String(error);
      });
      // Only now: what the thread had said before its error may arrive after it.
      worker.on("exit", (code) => onEnd(reason ?? `its thread ended with code ${code}`));
    },
    async terminate() {
      await worker.terminate();
    },
  };
}
