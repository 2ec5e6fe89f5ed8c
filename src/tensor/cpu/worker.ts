/**
 * A kernel thread: waits in WebAssembly for calls and takes its share of each. To receive a message (a new
 * memory), it must first be sent back to its event loop by the call `LEAVE`.
 */
import { instantiate, type KernelInstance, LEAVE, reportFailure, type WorkerMessage } from "./instance.ts";
import { nodeModule } from "./node-module.ts";

const arenas: { readonly kernels: KernelInstance; readonly memory: WebAssembly.Memory }[] = [];

function serve(message: WorkerMessage): void {
  const { module, thread, wide, pairSums, timeoutNaps } = message;
  for (const { memory, scratch, scratchBytes } of message.arenas) {
    arenas.push({
      kernels: instantiate(module, memory, thread, scratch, scratchBytes, wide, pairSums, timeoutNaps),
      memory,
    });
  }
  const home = arenas[0].kernels;
  let seen = message.seen;
  for (;;) {
    seen = home.await_call(seen);
    const kernel = home.call_kernel();
    if (kernel === LEAVE) {
      home.finish();
      return;
    }
    const { kernels, memory } = arenas[home.call_arena()];
    kernels.enter(home.call_threads());
    try {
      kernels.execute(kernel, home.call_args());
    } catch (error) {
      reportFailure(kernels, memory, error);
    }
    home.finish();
  }
}

// Nothing here waits at the top level: bundlers make classic scripts of workers unless told otherwise.
if (typeof process !== "undefined" && process.versions?.node) {
  nodeModule<typeof import("node:worker_threads")>("node:worker_threads").then(({ parentPort }) => {
    parentPort!.on("message", (message: WorkerMessage) => {
      parentPort!.postMessage("ready");
      serve(message);
    });
  });
} else {
  self.addEventListener("message", (event) => {
    self.postMessage("ready");
    serve(event.data as WorkerMessage);
  });
}
