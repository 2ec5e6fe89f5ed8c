/** Threads that train chains, so that the program's own thread is free to answer; each is started when it is first needed. */
import { Worker } from "node:worker_threads";
import { errorOf, type ThreadFailure } from "../runs/training-thread.ts";
import { siblingModule, threadExecArgv } from "../tensor/cpu/thread-options.ts";
import type { Chain } from "./chains.ts";
import type { ScalePlan } from "./plan.ts";
import type { ChainEvent } from "./train-chain.ts";

export interface ChainThreadData {
  readonly plan: ScalePlan;
  /** The sweep's folder. */
  readonly folder: string;
  /** Threads that one training computes with. */
  readonly threads: number;
}

export type ToChainThread =
  | { readonly type: "chain"; readonly chain: Chain }
  | { readonly type: "stop" }
  | { readonly type: "end" };

export type FromChainThread =
  | { readonly type: "event"; readonly event: ChainEvent }
  | { readonly type: "done" }
  | ThreadFailure;

export class ChainThreads implements AsyncDisposable {
  readonly #data: ChainThreadData;
  readonly #idle: Worker[] = [];
  readonly #all = new Set<Worker>();

  constructor(data: ChainThreadData) {
    this.#data = data;
  }

  /** Trains what is left of a chain in a thread of its own. @throws what `trainChain` throws, the signal's reason */
  async train(chain: Chain, emit: (event: ChainEvent) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const worker = this.#idle.pop() ?? this.#start();
    const stop = () => worker.postMessage({ type: "stop" } satisfies ToChainThread);
    signal.addEventListener("abort", stop, { once: true });
    let ended = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const onMessage = (message: FromChainThread) => {
          if (message.type === "event") emit(message.event);
          else if (message.type === "done") resolve();
          else reject(errorOf(message));
        };
        const onEnd = (cause: unknown) => {
          this.#all.delete(worker);
          reject(cause instanceof Error ? cause : new Error(`a training thread ended with code ${cause}`));
        };
        worker.on("message", onMessage);
        worker.on("error", onEnd);
        worker.on("exit", onEnd);
        ended = () => {
          worker.off("message", onMessage);
          worker.off("error", onEnd);
          worker.off("exit", onEnd);
        };
        worker.postMessage({ type: "chain", chain } satisfies ToChainThread);
      });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      ended();
      signal.removeEventListener("abort", stop);
      if (this.#all.has(worker)) this.#idle.push(worker);
    }
  }

  #start(): Worker {
    const worker = new Worker(siblingModule(import.meta.url, "chain-worker"), {
      name: "deepseek-ts scale",
      workerData: this.#data,
      execArgv: threadExecArgv(),
    });
    this.#all.add(worker);
    return worker;
  }

  /** Ends all threads; none may be training. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((worker) => worker.terminate()));
  }
}
