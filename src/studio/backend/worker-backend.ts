/**
 * The backend of a page that runs models itself: what a server does is done by a worker of this page, which is started once there is
 * something for it to do. Jobs live as long as the page.
 */

import type { Call, CallName, Leave, Reply, WorkerSettings } from "../worker/messages.ts";
import workerUrl from "../worker/worker.ts?worker&url";
import { type Backend, BackendError, type PickedFile } from "./backend.ts";
import type { Hello, JobEvent, JobKind, JobView, ModelList } from "./wire.ts";

/** Bytes of memory that are reckoned with where a browser does not tell. */
const LEAST_MEMORY = 4 * 2 ** 30;
/** Where models are kept, as kept-models.ts has it. */
const FOLDER = "models";

const KINDS: readonly JobKind[] = ["chat", "complete", "draw", "open", "download"];

/** A module with a vector instruction: valid where there is SIMD. */
// biome-ignore format: one module
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** What keeps models from running in this page, and what to do; null: nothing. */
export function missingHere(): string | null {
  if (!globalThis.isSecureContext)
    return "Models cannot run here: the browser takes this address for unsafe. Serve the page over https, or open it from localhost.";
  if (!globalThis.crossOriginIsolated)
    return (
      "Models cannot run here: the page is not isolated, so browsers give it no shared memory. Its server must send the headers " +
      "'Cross-Origin-Opener-Policy: same-origin' and 'Cross-Origin-Embedder-Policy: require-corp' with every file."
    );
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(Uint8Array.from(SIMD)))
    return "Models cannot run here: this browser has no WebAssembly SIMD. Use a newer one, or switch WebAssembly on.";
  if (navigator.storage?.getDirectory === undefined)
    return "Models cannot be kept here: this browser has no file storage for pages (OPFS). Use a newer one, and no private window.";
  return null;
}

interface Waiting {
  event(event: unknown): void;
  value(value: unknown): void;
  fault(error: BackendError): void;
}

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL(text: string): string },
  ): {
    createScriptURL(text: string): URL;
  };
}

/** The worker's address, as pages that trust no text may use it. */
function trusted(address: string): string | URL {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  const full = new URL(address, import.meta.url);
  if (full.origin !== location.origin) throw new Error(`the worker is elsewhere: ${full.origin}`);
  return (
    types?.createPolicy("studio", { createScriptURL: (text) => text }).createScriptURL(full.href) ?? full
  );
}

class WorkerCalls {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;
  #failed: BackendError | null = null;

  constructor(settings: WorkerSettings) {
    this.#worker = new Worker(trusted(workerUrl), { type: "module", name: "deepseek-ts studio" });
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      const waiting = this.#waiting.get(data.call);
      if (waiting === undefined) return;
      if ("event" in data) waiting.event(data.event);
      else {
        this.#waiting.delete(data.call);
        if ("value" in data) waiting.value(data.value);
        else
          waiting.fault(new BackendError("refused", data.fault.message, data.fault.status, data.fault.code));
      }
    });
    this.#worker.addEventListener("error", ({ message }) => {
      this.#failed = new BackendError(
        "refused",
        `The studio's worker failed${message ? `: ${message}` : ""}. Load the page again.`,
      );
      for (const waiting of this.#waiting.values()) waiting.fault(this.#failed);
      this.#waiting.clear();
    });
    this.#worker.postMessage(settings);
  }

  #begin(name: CallName, args: readonly unknown[], waiting: Waiting): number {
    const call = this.#calls++;
    if (this.#failed !== null) waiting.fault(this.#failed);
    else {
      this.#waiting.set(call, waiting);
      this.#worker.postMessage({ call, name, args } satisfies Call);
    }
    return call;
  }

  ask<T>(name: CallName, ...args: readonly unknown[]): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#begin(name, args, {
        event() {},
        value: (value) => resolve(value as T),
        fault: reject,
      });
    });
  }

  async *events(id: string, after: number, signal: AbortSignal): AsyncGenerator<JobEvent> {
    const come: JobEvent[] = [];
    let ended = false;
    let fault: BackendError | null = null;
    let wake = () => {};
    const call = this.#begin("events", [id, after], {
      event(event) {
        come.push(event as JobEvent);
        wake();
      },
      value() {
        ended = true;
        wake();
      },
      fault(error) {
        fault = error;
        wake();
      },
    });
    const leave = () => {
      if (this.#waiting.delete(call)) this.#worker.postMessage({ call, leave: true } satisfies Leave);
      ended = true;
      wake();
    };
    signal.addEventListener("abort", leave);
    if (signal.aborted) leave();
    try {
      for (;;) {
        while (come.length > 0) yield come.shift()!;
        if (fault !== null) throw fault;
        if (ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener("abort", leave);
      leave();
    }
  }
}

const needsServer = async (): Promise<never> => {
  throw new BackendError(
    "refused",
    "This needs the studio's server: start it with 'npx deepseek-ts studio'.",
    501,
    "needs_server",
  );
};

/** Whether anything may be kept here, told without the worker. */
async function keepsModels(): Promise<boolean> {
  try {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER);
    for await (const _ of folder.keys()) return true;
  } catch {
    // Nothing was ever kept, or nothing can be.
  }
  return false;
}

/** @param hub its address */
export function workerBackend(version: string, hub: string): Backend {
  const told = (navigator as { deviceMemory?: number }).deviceMemory;
  const memory = told === undefined ? LEAST_MEMORY : told * 2 ** 30;
  const session = crypto.randomUUID();
  const missing = missingHere();
  let started: WorkerCalls | null = null;
  const calls = () => {
    if (missing !== null) throw new BackendError("refused", missing, 501, "not_here");
    started ??= new WorkerCalls({ version, hub, memory });
    return started;
  };
  const nothing: ModelList = { models: [], memory: { total: memory, available: memory, models: 0 } };
  const hello: Hello = {
    ...{ version, session, memory: nothing.memory, roots: [], kinds: KINDS },
    threads: navigator.hardwareConcurrency ?? 1,
    processor: "this browser",
    lean: {
      version: null,
      missing: "Lean needs the studio's server: start it with 'npx deepseek-ts studio'.",
    },
  };
  let stays = false;
  return {
    page: {
      missing,
      async add(files: readonly PickedFile[]) {
        return await calls().ask<string>("add", files);
      },
      async storage() {
        const { usage = 0, quota = 0 } = await navigator.storage.estimate();
        return { used: usage, quota, lasting: await navigator.storage.persisted() };
      },
    },
    hello: async () => hello,
    async models() {
      if (started === null && (missing !== null || !(await keepsModels()))) return nothing;
      return await calls().ask("models");
    },
    inspect: async (model) => await calls().ask("inspect", model),
    closeModel: async (model) => await calls().ask("closeModel", model),
    deleteModel: async (model) => await calls().ask("deleteModel", model),
    async start(request) {
      const begun = calls();
      if (request.kind === "download" && !stays) {
        // Else the browser may delete it when the disk becomes full; its answer changes nothing here.
        stays = true;
        await navigator.storage.persist().catch(() => false);
      }
      return await begun.ask<JobView>("start", JSON.stringify(request));
    },
    jobs: async () => (started === null ? [] : await started.ask("jobs")),
    job: async (id) => await calls().ask("job", id),
    events: (id, after, signal) => calls().events(id, after, signal),
    stop: async (id) => await calls().ask("stop", id),
    runs: async () => ({ runs: [] }),
    ...{ files: needsServer, run: needsServer, series: needsServer },
    ...{ trainPresets: needsServer, checkTraining: needsServer },
  };
}
