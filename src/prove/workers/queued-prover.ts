/**
 * A prover whose model and Lean are in other processes, and whose searches workers do: it gives them theorems, waits, and reads from
 * the store what came of each.
 */
import { setTimeout as wait } from "node:timers/promises";
import { JobFailedError } from "../../jobs/errors.ts";
import type { JobQueue } from "../../jobs/job.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { Prover, type ProverParts, type ProveSettings } from "../prover/prover.ts";
import type { ProofTask, SearchEvent } from "../search/search.ts";
import { CheckedLean, sha256 } from "../store/checked-lean.ts";
import type { ProofStore } from "../store/store.ts";
import { type StoredSearchOptions, storedSearch, taskHash } from "../store/stored-search.ts";
import {
  jobId,
  jobKind,
  LEAN_SAYS,
  type LeanSays,
  MODEL_SAYS,
  type ModelSays,
  PROBE,
  TRIES,
} from "./jobs.ts";
import { QueuedGenerator } from "./queued-generator.ts";
import { QueuedLean } from "./queued-lean.ts";
import { resultOf } from "./result-of.ts";
import { type SearchQuestion, searchToEnd } from "./serve.ts";

const LOOK_MS = 200;

/**
 * Model and Lean of the workers, as soon as they have said in the store what they are, and the tokens of the model's context.
 * @param waitMs how long to wait for them
 * @throws ConfigError if a kind of worker has not come, or the model has another tokenizer than the one that counts here
 */
export async function queuedTools(
  queue: JobQueue,
  store: ProofStore,
  countTokens: (text: string) => number,
  { waitMs = 60_000, signal }: { readonly waitMs?: number; readonly signal?: AbortSignal } = {},
): Promise<{
  readonly generator: QueuedGenerator;
  readonly lean: CheckedLean;
  readonly contextTokens: number;
}> {
  const says = async (name: string, kind: string) => {
    for (const began = performance.now(); ; await wait(LOOK_MS, undefined, { signal })) {
      const found = store.setting(name);
      if (found !== null) return found;
      if (performance.now() - began < waitMs) continue;
      throw new ConfigError(`no worker of kind ${kind} has used this store`, {
        where: store.path,
        hint: `Start one: deepseek-ts prover-worker ${kind} --queue URL --store ${store.path}`,
      });
    }
  };
  const lean = (await says(LEAN_SAYS, "verify")) as LeanSays;
  const model = (await says(MODEL_SAYS, "generate")) as ModelSays;
  const found = countTokens(PROBE);
  if (found !== model.probeTokens) {
    throw new ConfigError("the workers' model has another tokenizer than the model that is named here", {
      ...{ where: model.model, expected: `${model.probeTokens} tokens of a known text`, found },
      hint: "Name the model that prover-worker generate has: --model.",
    });
  }
  return {
    contextTokens: model.contextTokens,
    generator: new QueuedGenerator(queue, store, model, countTokens),
    lean: new CheckedLean(new QueuedLean(queue, store, lean), store),
  };
}

export class QueuedProver extends Prover {
  readonly #queue: JobQueue;
  readonly #store: ProofStore;

  /** Queue and store stay the caller's. */
  constructor(queue: JobQueue, store: ProofStore, parts: Omit<ProverParts, "store" | "close">) {
    super({ ...parts, store, close: async () => {} });
    this.#queue = queue;
    this.#store = store;
  }

  /** The key of a search in the store, and what workers are told of it. */
  #question(task: ProofTask, options: ProveSettings): string {
    const { signal: _, ...settings } = this.searchOptions(options);
    const question: SearchQuestion = { task, options: settings };
    const { version } = this.lean;
    const key = sha256(JSON.stringify([taskHash(task), this.generator.model, version, settings]));
    this.#store.ask(key, "search", question);
    return key;
  }

  override async announce(task: ProofTask, options: ProveSettings = {}): Promise<void> {
    const key = this.#question(task, options);
    const waiting = await this.#queue.waiting(jobKind("search"));
    // What does not fit now is added when its turn comes.
    if (waiting < MOST_WAITING)
      await this.#queue.add(jobKind("search"), { key }, { id: jobId("search", key, 0) });
  }

  override async *proveTask(
    task: ProofTask,
    { fresh, ...options }: ProveSettings & Pick<StoredSearchOptions, "fresh"> = {},
  ): AsyncGenerator<SearchEvent> {
    if (fresh) {
      throw new ConfigError("searches of workers are not begun anew", {
        ...{ where: "queue", name: "fresh" },
        hint: "Use another store, or another seed.",
      });
    }
    const key = this.#question(task, options);
    const { signal } = options;
    const settings = this.searchOptions(options);
    let done = false;
    for (let attempt = 0; attempt < TRIES && !done; attempt++) {
      try {
        const id = jobId("search", key, attempt);
        await resultOf(this.#queue, jobKind("search"), { key }, id, signal);
        done = true;
      } catch (error) {
        if (!(error instanceof JobFailedError)) throw error;
      }
    }
    // Workers that gave it up ended again and again for reasons of their machines: model and Lean are workers still, so this process
    // may drive the search. Or the theorem is at fault: that is told in its own words here, where a job's failure is only a text.
    if (!done) await searchToEnd(this.#store, task, this, settings);
    yield* storedSearch(this.#store, task, this, settings);
  }
}

const MOST_WAITING = 500;
