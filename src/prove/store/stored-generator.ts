/**
 * A model whose texts are kept as they are written: the same prompt with the same seed and settings is answered from the store, so that
 * work which was killed asks the model for nothing twice.
 */
import type { GeneratedText, TextGenerator, TextOptions } from "../search/generator.ts";
import { sha256 } from "./checked-lean.ts";
import type { ProofStore } from "./store.ts";

/** A prompt with all that decides its text, as the store keeps it. */
export interface TextQuestion extends Pick<TextOptions, "maxTokens" | "temperature" | "topP" | "stop"> {
  readonly prompt: string;
  readonly seed: number;
}

/** The question of each prompt, and its key in the store. */
export function textQuestions(
  model: string,
  prompts: readonly string[],
  { seeds, maxTokens, temperature, topP, stop }: TextOptions,
): { readonly question: TextQuestion; readonly key: string }[] {
  return prompts.map((prompt, i) => {
    const question = { prompt, seed: seeds[i], maxTokens, temperature, topP, stop };
    return { question, key: sha256(JSON.stringify([model, question])) };
  });
}

export class StoredGenerator implements TextGenerator {
  readonly #generator: TextGenerator;
  readonly #store: ProofStore;

  /** Both stay the caller's. */
  constructor(generator: TextGenerator, store: ProofStore) {
    this.#generator = generator;
    this.#store = store;
  }

  get model(): string {
    return this.#generator.model;
  }

  get contextTokens(): number | undefined {
    return this.#generator.contextTokens;
  }

  countTokens(text: string): number {
    return this.#generator.countTokens(text);
  }

  async *generate(prompts: readonly string[], options: TextOptions): AsyncIterableIterator<GeneratedText> {
    const keys = textQuestions(this.model, prompts, options).map(({ key }) => key);
    const open: number[] = [];
    for (const [index, key] of keys.entries()) {
      const known = this.#store.written(key);
      if (known === null) open.push(index);
      else yield { index, ...known };
    }
    if (open.length === 0) return;
    const texts = this.#generator.generate(
      open.map((index) => prompts[index]),
      { ...options, seeds: open.map((index) => options.seeds[index]) },
    );
    for await (const { index, text, tokens, end } of texts) {
      const at = open[index];
      this.#store.keepWritten(keys[at], this.model, { text, tokens, end });
      yield { index: at, text, tokens, end };
    }
  }
}
