/**
 * Both ends of a host in a worker of a web page. In the worker: `runHost(workerPort(self), settings, open)`; in the page:
 * `EngineClient.connect(workerChannel(new Worker(..)))`.
 */
import type { EngineChannel } from "./engine-client.ts";
import type { FromEngine } from "./protocol.ts";
import type { HostPort } from "./run-host.ts";
import { packed } from "./wire.ts";

/** What is used of a `DedicatedWorkerGlobalScope`. */
export interface WorkerScope {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  close(): void;
}

/** What is used of a `Worker`. */
export interface PageWorker {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(type: "error", listener: (event: { readonly message?: string }) => void): void;
  terminate(): void;
}

/** The worker's end; `scope` is its `self`. */
export function workerPort(scope: WorkerScope): HostPort {
  return {
    send: (message) => scope.postMessage(message),
    listen(onMessage) {
      scope.addEventListener("message", ({ data }) => onMessage(data));
    },
    close: () => scope.close(),
  };
}

/** The page's end. The worker belongs to the channel: `EngineClient.shutdown` and `terminate` end it. */
export function workerChannel(worker: PageWorker): EngineChannel {
  let end: (reason: string) => void = () => {};
  return {
    post: (message, transfer = []) => worker.postMessage(packed(message), [...transfer]),
    listen(onMessage, onEnd) {
      end = onEnd;
      worker.addEventListener("message", ({ data }) => onMessage(data as FromEngine));
      // Where the script itself cannot be loaded there is no message.
      worker.addEventListener("error", ({ message }) => {
        worker.terminate();
        onEnd(message ?? "its worker could not be started");
      });
    },
    async terminate() {
      worker.terminate();
      // Unlike a thread of Node, a worker does not tell that it has ended.
      end("its worker was ended");
    },
  };
}
