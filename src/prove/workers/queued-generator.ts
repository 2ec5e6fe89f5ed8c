/** A model that writes in other processes: prompts and texts go through the store, jobs through a queue. */
import type { JobQueue } from "../../jobs/job.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { GeneratedText, TextGenerator, TextOptions } from "../search/generator.ts";
import type { ProofStore } from "../store/store.ts";
import { textQuestions } from "../store/stored-generator.ts";
import { type GenerateJob, jobId, jobKind, type ModelSays, TRIES } from "./jobs.ts";
import { resultOf } from "./result-of.ts";

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

  async *generate(prompts: readonly string[], options: TextOptions): AsyncIterableIterator<GeneratedText> {
    const questions = textQuestions(this.model, prompts, options);
    const keys = questions.map(({ key }) => key);
    this.#store.transaction(() => {
      for (const { key, question } of questions) this.#store.ask(key, "text", question);
    });
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
        await resultOf(
          this.#queue,
          jobKind("generate"),
          data,
          jobId("generate", keys, attempt),
          options.signal,
        );
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
