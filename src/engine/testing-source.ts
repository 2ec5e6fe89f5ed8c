/** For tests of conversations: a source of scripted replies. */
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { TokenSource, TokenStream } from "./conversation.ts";
import type { GenerateOptions, StopReason } from "./generate.ts";
import { contentsOf } from "./prompt.ts";

/** A source that writes given replies, one after the other, and keeps what it was asked. */
export interface ScriptedSource extends TokenSource {
  /** Prompts as text. */
  readonly prompts: string[];
  readonly options: GenerateOptions[];
}

/** Writes `replies` in turn, each ended by EOS, as a model would. */
export function scriptedSource(
  tokenizer: Tokenizer,
  replies: readonly string[],
  pause: () => Promise<void> = async () => {},
): ScriptedSource {
  const prompts: string[] = [];
  const asked: GenerateOptions[] = [];
  let turn = 0;
  return {
    prompts,
    options: asked,
    context: 4096,
    vocabularySize: tokenizer.vocabSize,
    eosIds: [1],
    generate(prompt, options): TokenStream {
      const { tokens: ids } = contentsOf(prompt);
      prompts.push(tokenizer.decode(ids));
      asked.push(options);
      let generatedTokens = 0;
      let stopReason: StopReason = "aborted";
      const tokens = (async function* () {
        const reply = [...tokenizer.encode(replies[turn++] ?? "", { addSpecialTokens: false }), 1];
        for (const id of reply.slice(0, options.maxTokens)) {
          await pause();
          if (options.signal?.aborted) return;
          generatedTokens++;
          yield { id };
        }
        stopReason = reply.length > options.maxTokens ? "length" : "stop";
      })();
      const stats = () => ({
        promptTokens: ids.length,
        cachedTokens: 0,
        generatedTokens,
        prefillMs: 1,
        decodeMs: 1,
        stopReason,
      });
      return { tokens, stats };
    },
    [Symbol.dispose]() {},
  };
}
