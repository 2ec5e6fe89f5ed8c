/** A model that writes in other processes: prompts and texts go through the store, jobs through a queue. */
import type { JobQueue } from "../../jobs/job.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { GeneratedText, TextGenerator, TextOptions } from "../search/generator.ts";
import { sha256 } from "../store/checked-lean.ts";
import type { ProofStore } from "../store/store.ts";
import { type GenerateJob, jobId, jobKind, type ModelSays, TRIES } from "./jobs.ts";
import { resultOf } from "./result-of.ts";

/** A prompt as the store keeps it. */
export interface TextQuestion extends Pick<TextOptions, "maxTokens" | "temperature" | "topP" | "stop"> {
  readonly prompt: string;
  readonly seed: number;
}

export class QueuedGenerator implements TextGenerator {
  readonly model: string;
  readonly contextTokens?: number;
  readonly #queue: JobQueue;
  readonly #store: ProofStore;
  readonly #count: (text: string) => number;

  /** Queue and store stay the caller's. @param countTokens by the tokenizer of the workers' model */
  constructor(
    queue: JobQueue,
    store: ProofStore,
    { model, mostTokens }: Pick<ModelSays, "model" | "mostTokens">,
    countTokens: (text: string) => number,
  ) {
    this.#queue = queue;
    this.#store = store;
    this.model = model;
    if (mostTokens !== null) this.contextTokens = mostTokens;
    this.#count = countTokens;
  }

  countTokens(text: string): number {
    return this.#count(text);
  }

  async *generate(
    prompts: readonly string[],
    { seeds, maxTokens, temperature, topP, stop, signal }: TextOptions,
  ): AsyncIterableIterator<GeneratedText> {
    const keys = this.#store.transaction(() =>
      prompts.map((prompt, i) => {
        const question: TextQuestion = { prompt, seed: seeds[i], maxTokens, temperature, topP, stop };
        const key = sha256(JSON.stringify([this.model, question]));
        this.#store.ask(key, "text", question);
        return key;
      }),
    );
    const open = new Map(keys.map((key, index) => [index, key]));
    for (let attempt = 0; open.size > 0; attempt++) {
      if (attempt === TRIES) {
        throw new ConfigError("workers have written nothing for a prompt", {
          ...{ where: this.#store.path, expected: keys.length, found: keys.length - open.size },
          hint: "Workers and those that ask must share one store: --store.",
        });
      }
      if (attempt > 0 || keys.some((key) => this.#store.written(key) === null)) {
        const data: GenerateJob = { keys, model: this.model };
        await resultOf(this.#queue, jobKind("generate"), data, jobId("generate", keys, attempt), signal);
      }
      for (const [index, key] of [...open]) {
        const found = this.#store.written(key);
        if (found === null) continue;
        open.delete(index);
        yield { index, ...found };
      }
    }
  }
}
