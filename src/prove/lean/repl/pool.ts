/** Processes that answer checks side by side: one that died or grew old is replaced when it is needed. */
import { type ReplCommand, ReplProcess } from "./process.ts";

export interface ReplPoolOptions {
  /** Processes at a time. */
  readonly size: number;
  /** Requests after which a process is replaced: the REPL keeps every environment it made. */
  readonly uses: number;
  /** Bytes after which it is replaced, and killed if it grows beyond them during a request. */
  readonly memory: number;
}

export class ReplPool {
  readonly options: ReplPoolOptions;
  readonly #command: ReplCommand;
  readonly #idle: ReplProcess[] = [];
  readonly #all = new Set<ReplProcess>();
  readonly #queue: (() => void)[] = [];
  #busy = 0;
  #closed = false;

  constructor(command: ReplCommand, options: ReplPoolOptions) {
    this.#command = command;
    this.options = options;
  }

  /** Runs with a process that nobody else uses meanwhile. @throws the signal's reason while it waits for one */
  async use<T>(signal: AbortSignal | undefined, work: (process: ReplProcess) => Promise<T>): Promise<T> {
    await this.#turn(signal);
    const process = this.#take();
    try {
      return await work(process);
    } finally {
      this.#give(process);
      this.#busy--;
      this.#queue.shift()?.();
    }
  }

  close(): void {
    this.#closed = true;
    for (const process of this.#all) process.kill();
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    while (this.#busy >= this.options.size) {
      await new Promise<void>((resolve, reject) => {
        const stop = () => {
          const at = this.#queue.indexOf(go);
          if (at >= 0) this.#queue.splice(at, 1);
          reject(signal?.reason);
        };
        const go = () => {
          signal?.removeEventListener("abort", stop);
          resolve();
        };
        this.#queue.push(go);
        signal?.addEventListener("abort", stop, { once: true });
      });
    }
    if (this.#closed) throw new Error("this Lean session is closed");
    this.#busy++;
  }

  #take(): ReplProcess {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.ended) return idle;
      this.#all.delete(idle);
    }
    const process = new ReplProcess(this.#command);
    this.#all.add(process);
    return process;
  }

  #give(process: ReplProcess): void {
    const { uses, memory } = this.options;
    if (!process.ended && process.uses < uses && process.memory < memory && !this.#closed) {
      this.#idle.push(process);
      return;
    }
    process.kill();
    this.#all.delete(process);
  }
}
