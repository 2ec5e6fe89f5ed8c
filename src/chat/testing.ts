/** For tests of chat: small vocabularies with the special tokens of a family, and a source of scripted replies. */
import type { GenerateOptions, StopReason } from "../generate/generate.ts";
import { FAMILIES, TOKEN } from "../tokenizer/families.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe } from "../tokenizer/train-bpe.ts";
import type { TokenSource, TokenStream } from "./conversation.ts";

const TEXTS = [
  "User: Hello! How are you today?\n\nAssistant: I am fine, thank you. And you?\n\n",
  "### Instruction:\nWrite a function that adds two numbers.\n### Response:\ndef add(a, b):\n    return a + b\n",
  'The weather in Paris is {"city": "Paris", "unit": "C"}. It is sunny; the weather is nice.\n\n',
  "ends end User user ends\n\nUser\n\n: the the then and and an 123 1234 .\n\n!\n?\n",
];

/** `v3` has the tokens of V3, `v3.1` those of thinking too, `coder` those of Coder v1, `llm` no others. */
export type TestVocabulary = "v3" | "v3.1" | "coder" | "llm";

const WORDS: readonly string[] = FAMILIES.v3.tokens
  .map(({ content }) => content)
  .filter((t) => !t.includes("place"));

const SPECIAL: Readonly<Record<TestVocabulary, readonly string[]>> = {
  v3: WORDS.slice(3),
  "v3.1": [...WORDS.slice(3), "<think>", "</think>"],
  coder: [TOKEN.fimHole, TOKEN.fimBegin, TOKEN.fimEnd, "<|User|>", "<|Assistant|>", TOKEN.eot],
  llm: [],
};

/** The `tokenizer.json` of a vocabulary; as in the released files most added tokens are not marked special. */
export async function testTokenizerJson(name: TestVocabulary): Promise<string> {
  const json = await trainBpe([...TEXTS, ...TEXTS, ...TEXTS], {
    vocabSize: 460,
    specialTokens: SPECIAL[name],
  });
  json.added_tokens.forEach((token) => {
    if (token.id > 2) Object.assign(token, { special: false, normalized: true });
  });
  return JSON.stringify(json);
}

/** A tokenizer with that vocabulary. */
export async function testTokenizer(name: TestVocabulary, addBos = false): Promise<Tokenizer> {
  return loadTokenizer(await testTokenizerJson(name), { add_bos_token: addBos, add_eos_token: false });
}

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
      prompts.push(tokenizer.decode(prompt));
      asked.push(options);
      let generatedTokens = 0;
      let stopReason: StopReason = "aborted";
      const tokens = (async function* () {
        const ids = [...tokenizer.encode(replies[turn++] ?? "", { addSpecialTokens: false }), 1];
        for (const id of ids.slice(0, options.maxTokens)) {
          await pause();
          if (options.signal?.aborted) return;
          generatedTokens++;
          yield { id };
        }
        stopReason = ids.length > options.maxTokens ? "length" : "stop";
      })();
      const stats = () => ({
        promptTokens: prompt.length,
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
