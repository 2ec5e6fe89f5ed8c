/**
 * A reward by a module of the user's, TypeScript or JavaScript: `export default (samples) => numbers`. It runs in threads of its
 * own, so that code that never returns can be ended; each judges one group at a time and goes on with the next.
 */
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { siblingModule, threadExecArgv } from "../../tensor/cpu/thread-options.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import { type Reward, sampleText } from "../../train/policy/rewards.ts";
import { plainSample } from "./reward-command.ts";

export type ModuleSample = ReturnType<typeof plainSample>;

/** To the thread: a group; from it: that the module is loaded, rewards, or what was thrown. */
export type FromModule =
  | { readonly type: "ready" }
  | { readonly type: "rewards"; readonly rewards: readonly (number | null)[] }
  | { readonly type: "failed"; readonly message: string };

/** A thread with the module. */
class ModuleThread {
  readonly #worker: Worker;
  #settle: ((message: FromModule) => void) | null = null;
  /** Why it takes no more. */
  ended: string | null = null;

  constructor(path: string) {
    this.#worker = new Worker(siblingModule(import.meta.url, "reward-module-worker"), {
      name: "deepseek-ts reward",
      workerData: pathToFileURL(path).href,
      execArgv: threadExecArgv(),
      // What it prints must not mix with what the command writes.
      stdout: true,
    });
    this.#worker.stdout.pipe(process.stderr, { end: false });
    const end = (message: string) => {
      this.ended ??= message;
      this.#answer({ type: "failed", message });
    };
    this.#worker.on("message", (message: FromModule) => this.#answer(message));
    this.#worker.on("error", ({ message }) => end(message));
    this.#worker.on("exit", () => end("it ended its thread"));
    this.#worker.unref();
  }

  #answer(message: FromModule): void {
    this.#settle?.(message);
    this.#settle = null;
  }

  /** The next message. */
  next(): Promise<FromModule> {
    if (this.ended !== null) return Promise.resolve({ type: "failed", message: this.ended });
    this.#worker.ref();
    return new Promise((resolve) => {
      this.#settle = (message) => {
        this.#worker.unref();
        resolve(message);
      };
    });
  }

  judge(samples: readonly ModuleSample[]): Promise<FromModule> {
    const answer = this.next();
    this.#worker.postMessage(samples);
    return answer;
  }

  async end(): Promise<void> {
    this.ended ??= "no longer needed";
    await this.#worker.terminate();
  }
}

export class RewardModule implements AsyncDisposable {
  readonly path: string;
  #idle: ModuleThread[] = [];
  readonly #threads = new Set<ModuleThread>();
  #closed = false;

  private constructor(path: string) {
    this.path = path;
  }

  /** Loads the module. @throws DeepseekError for a file that cannot be loaded, or has no function as its default export */
  static async open(path: string): Promise<RewardModule> {
    const module = new RewardModule(path);
    module.#idle.push(await module.#start());
    return module;
  }

  async #start(): Promise<ModuleThread> {
    const thread = new ModuleThread(this.path);
    this.#threads.add(thread);
    const first = await thread.next();
    if (first.type === "ready") return thread;
    await this.#drop(thread);
    throw new DeepseekError("the reward module cannot be used", {
      ...{ where: this.path, found: first.type === "failed" ? first.message : first.type },
      expected: "export default (samples) => numbers",
      hint: /\.[cm]?tsx?$/.test(this.path)
        ? "TypeScript needs Node 22.18 or later, and only types may be removed from it; JavaScript runs everywhere."
        : undefined,
    });
  }

  async #drop(thread: ModuleThread): Promise<void> {
    this.#threads.delete(thread);
    await thread.end();
  }

  /** Judges a group in a thread of its own; the thread ends if `signal` aborts before the answer is there. */
  readonly reward: Reward = async (samples, { signal }) => {
    const thread = this.#idle.pop() ?? (await this.#start());
    const stop = () => void this.#drop(thread);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const answer = await thread.judge(samples.map(plainSample));
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
    if (this.#closed || thread.ended !== null) await this.#drop(thread);
    else this.#idle.push(thread);
    if (answer.type === "rewards") return answer.rewards;
    throw new DeepseekError("the reward module failed", {
      ...{ where: this.path, found: answer.type === "failed" ? answer.message : answer.type },
      hint: `The first of ${samples.length} samples: ${sampleText(samples[0])}.`,
    });
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#idle = [];
    await Promise.all([...this.#threads].map((thread) => this.#drop(thread)));
  }
}
