/** Text for the prover from an engine behind a host, such as that of a server: the same tokens as `EngineGenerator` asks for. */
import type { EngineClient } from "../engine/host/engine-client.ts";
import type { CompletionRequest } from "../engine/host/protocol.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  type GeneratedText,
  type TextGenerator,
  type TextOptions,
  type WriteText,
  writtenTogether,
} from "./search/generator.ts";

/** What a prover's requests have in common. */
const REQUEST = {
  ...{ kind: "completion", suffix: null, addSpecialTokens: false, format: { type: "text" } },
  ...{ topK: 0, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, logitBias: [] },
  ...{ logprobs: null, n: 1, ignoreEos: false, minTokens: 0, stopIds: [], includeStop: false },
  ...{ skipSpecial: true, reusePrefix: true, echo: false },
} as const satisfies Partial<CompletionRequest>;

export class HostGenerator implements TextGenerator {
  readonly model: string;
  readonly #engine: EngineClient;
  readonly #tokenizer: Tokenizer;

  /** Engine and tokenizer stay the caller's. */
  constructor(engine: EngineClient, tokenizer: Tokenizer) {
    this.#engine = engine;
    this.#tokenizer = tokenizer;
    this.model = `${engine.info.name} ${engine.info.fingerprint}`;
  }

  get contextTokens(): number {
    return this.#engine.info.context;
  }

  countTokens(text: string): number {
    return this.#encode(text).length;
  }

  /** Text of a file may spell control tokens; they are text all the same. */
  #encode(text: string): number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
  }

  /** @throws RequestError for a prompt that leaves no room, the signal's reason */
  async *generate(prompts: readonly string[], options: TextOptions): AsyncIterableIterator<GeneratedText> {
    const { seeds, maxTokens, temperature, topP, stop, signal } = options;
    const { bos } = this.#tokenizer.specialIds;
    const write: WriteText = async (prompt, index, both) => {
      const ids = [...(bos === undefined ? [] : [bos]), ...this.#encode(prompt)];
      // A long prompt leaves room for less.
      const room = Math.max(1, this.contextTokens - ids.length);
      const generation = await this.#engine.generate({
        ...{ ...REQUEST, prompts: [ids], maxTokens: Math.min(maxTokens, room) },
        ...{ temperature, topP, seed: seeds[index], stop },
      });
      const leave = () => void generation.cancel("no longer wanted");
      both.addEventListener("abort", leave, { once: true });
      if (both.aborted) leave();
      try {
        let text = "";
        for await (const news of generation) {
          if (news.type === "delta") text += news.delta.content ?? "";
          else {
            const { reason, usage } = news;
            return {
              index,
              text,
              tokens: usage.completionTokens,
              end: reason === "length" ? "length" : "stop",
            };
          }
        }
        throw new Error("a generation ends with its reason");
      } catch (error) {
        both.throwIfAborted();
        throw error;
      } finally {
        both.removeEventListener("abort", leave);
        // Also where it is given up: the engine has its place back then.
        await generation.cancel();
      }
    };
    yield* writtenTogether(prompts, signal, write);
  }
}
