/** Text for the prover from the engine that serves chat: prompts of one batch run together, and share what they begin with. */
import type { Engine } from "../engine/engine.ts";
import { completeText } from "../engine/text.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  type GeneratedText,
  type TextGenerator,
  type TextOptions,
  type WriteText,
  writtenTogether,
} from "./search/generator.ts";

export interface EngineGeneratorOptions {
  /** Names model and weights in logs and stores. */
  readonly model: string;
}

export class EngineGenerator implements TextGenerator {
  readonly model: string;
  readonly #engine: Engine;
  readonly #tokenizer: Tokenizer;

  /** Engine and tokenizer stay the caller's. */
  constructor(engine: Engine, tokenizer: Tokenizer, { model }: EngineGeneratorOptions) {
    this.#engine = engine;
    this.#tokenizer = tokenizer;
    this.model = model;
  }

  get contextTokens(): number {
    return Math.min(this.#engine.model.config.maxPositions, this.#engine.cacheTokens);
  }

  countTokens(text: string): number {
    return this.#tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false }).length;
  }

  /** @throws ConfigError for a prompt that leaves no room in the model's context, QueueFullError, the signal's reason */
  async *generate(prompts: readonly string[], options: TextOptions): AsyncIterableIterator<GeneratedText> {
    const { seeds, maxTokens, temperature, topP, stop, signal } = options;
    const write: WriteText = async (prompt, index, both) => {
      // A long prompt leaves room for less; BOS counts too.
      const room = this.contextTokens - this.countTokens(prompt) - 1;
      const chunks = completeText(this.#engine, this.#tokenizer, prompt, {
        ...{
          maxTokens: Math.min(maxTokens, Math.max(1, room)),
          temperature,
          topP,
          seed: seeds[index],
          stop,
          signal: both,
        },
        // Text of a file may spell control tokens; they are text all the same.
        ...{ bos: this.#tokenizer.specialIds.bos !== undefined, parseSpecial: false },
      });
      let text = "";
      for (;;) {
        const next = await chunks.next();
        if (next.done) {
          both.throwIfAborted();
          const { stopReason, generatedTokens: tokens } = next.value;
          return { index, text, tokens, end: stopReason === "length" ? "length" : "stop" };
        }
        text += next.value.text;
      }
    };
    yield* writtenTogether(prompts, signal, write);
  }
}
