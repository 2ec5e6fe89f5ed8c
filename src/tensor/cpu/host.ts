/** What differs between Node and browsers: starting workers and reading the kernel files. */
import { nodeModule } from "./node-module.ts";
import { siblingModule, threadExecArgv } from "./thread-options.ts";

/** A worker of either kind. */
export interface WorkerHandle {
  post(message: unknown): void;
  /** Resolves at the worker's next message, rejects when it fails. */
  next(): Promise<unknown>;
  /** Why the worker stopped, or null while it runs; set when its event is handled. */
  readonly failure: Error | null;
  terminate(): Promise<void>;
}

export function isNode(): boolean {
  return typeof process !== "undefined" && !!process.versions?.node;
}

/** Whether this is the main thread of a web page, which must not sleep. */
export function isPage(): boolean {
  return typeof document !== "undefined";
}

/**
 * Switches on V8's joining of adjacent 128-bit vectors into 256-bit ones, for the whole process and everything
 * compiled from now on: the matrix kernels then run nearly twice as fast, with the same bits. Off before Node 26,
 * outside x64, if AVX2 may be missing, and with DEEPSEEK_TS_WIDE=0. Returns whether it is on.
 * @param force skips the check of version and processor
 */
export async function joinVectors(force = false): Promise<boolean> {
  if (!isNode() || process.arch !== "x64" || process.env.DEEPSEEK_TS_WIDE === "0") return false;
  if (!force) {
    if (Number.parseInt(process.versions.node, 10) < 26 || process.platform !== "linux") return false;
    const { readFile } = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
    const processor = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
    if (!/\bavx2\b/.test(processor)) return false;
  }
  const { setFlagsFromString } = await nodeModule<typeof import("node:v8")>("node:v8");
  setFlagsFromString("--experimental-wasm-revectorize");
  return true;
}

/** Threads worth starting. */
export async function availableThreads(): Promise<number> {
  if (isNode()) {
    const os = await nodeModule<typeof import("node:os")>("node:os");
    return os.availableParallelism();
  }
  return navigator.hardwareConcurrency ?? 1;
}

export async function startWorker(): Promise<WorkerHandle> {
  let failure: Error | null = null;
  let waiting: { resolve: (message: unknown) => void; reject: (error: Error) => void } | null = null;
  const receive = (message: unknown) => {
    waiting?.resolve(message);
    waiting = null;
  };
  const fail = (error: Error) => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = null;
  };
  const next = () =>
    new Promise<unknown>((resolve, reject) => {
      if (failure) reject(failure);
      else waiting = { resolve, reject };
    });
  if (isNode()) {
    const { Worker } = await nodeModule<typeof import("node:worker_threads")>("node:worker_threads");
    const worker = new Worker(siblingModule(import.meta.url, "worker"), {
      name: "deepseek-ts kernels",
      execArgv: threadExecArgv(),
    });
    let ending = false;
    worker.on("message", (message) => {
      // From its first answer on: a device that was never disposed must not keep the process alive.
      if (!ending) worker.unref();
      receive(message);
    });
    worker.on("error", fail);
    worker.on("exit", (code) => fail(new Error(`the thread ended with code ${code}`)));
    return {
      post: (message) => worker.postMessage(message),
      next,
      get failure() {
        return failure;
      },
      terminate: async () => {
        // A late answer must not let the process end before the thread has.
        ending = true;
        worker.ref();
        await worker.terminate();
      },
    };
  }
  // Written out, and with the name it has in the package: bundlers find the worker by these words.
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", (event) => receive(event.data));
  worker.addEventListener("error", (event) => fail(new Error(event.message || "the worker did not start")));
  return {
    post: (message) => worker.postMessage(message),
    next,
    get failure() {
      return failure;
    },
    terminate: async () => worker.terminate(),
  };
}

/** The files of `kernels/build/`. Each address is written out, for bundlers to find the file by. */
const kernelFiles = {
  "relaxed.wasm": () => new URL("../../../kernels/build/relaxed.wasm", import.meta.url),
  "baseline.wasm": () => new URL("../../../kernels/build/baseline.wasm", import.meta.url),
  "kernels.json": () => new URL("../../../kernels/build/kernels.json", import.meta.url),
} as const;

/** Reads a file of `kernels/build/`. */
export async function readKernelFile(name: keyof typeof kernelFiles): Promise<Uint8Array<ArrayBuffer>> {
  const url = kernelFiles[name]();
  if (url.protocol === "file:") {
    const { readFile } = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
    return new Uint8Array(await readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
