/**
 * A kernel thread: waits in WebAssembly for calls and takes its share of each. To receive a message (a new
 * memory), it must first be sent back to its event loop by the call `LEAVE`.
 */
import { instantiate, type KernelInstance, LEAVE, type WorkerMessage } from "./instance.ts";

const arenas: KernelInstance[] = [];

function serve(message: WorkerMessage): void {
  for (const { memory, scratch, scratchBytes } of message.arenas) {
    arenas.push(instantiate(message.module, memory, message.thread, scratch, scratchBytes, message.wide));
  }
  const home = arenas[0];
  let seen = message.seen;
  for (;;) {
    seen = home.await_call(seen);
    const kernel = home.call_kernel();
    if (kernel === LEAVE) {
      home.finish();
      return;
    }
    const arena = arenas[home.call_arena()];
    arena.enter(home.call_threads());
    arena.execute(kernel, home.call_args());
    home.finish();
  }
}

if (typeof process !== "undefined" && process.versions?.node) {
  const { parentPort } = await import("node:worker_threads");
  parentPort!.on("message", (message: WorkerMessage) => {
    parentPort!.postMessage("ready");
    serve(message);
  });
} else {
  self.addEventListener("message", (event) => {
    self.postMessage("ready");
    serve(event.data as WorkerMessage);
  });
}
