/** Starts the engine's thread. Node only. */
import { Worker } from "node:worker_threads";
import type { EngineChannel } from "./engine-client.ts";
import type { EngineSettings, FromEngine } from "./protocol.ts";

/** The thread's file beside this one: TypeScript in the source tree, JavaScript in the built package. */
function workerUrl(): URL {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return new URL(`./engine-worker.${extension}`, import.meta.url);
}

/** A new thread that opens the model of `settings`. */
export function startEngineThread(settings: EngineSettings): EngineChannel {
  const execArgv = process.execArgv.filter((option) => !option.startsWith("--input-type="));
  const worker = new Worker(workerUrl(), { name: "deepseek-ts engine", workerData: settings, execArgv });
  return {
    post: (message) => worker.postMessage(message),
    listen(onMessage, onEnd) {
      worker.on("message", (message: FromEngine) => onMessage(message));
      worker.on("error", (error) => onEnd(error instanceof Error ? error.message : String(error)));
      worker.on("exit", (code) => onEnd(`its thread ended with code ${code}`));
    },
    async terminate() {
      await worker.terminate();
    },
  };
}
