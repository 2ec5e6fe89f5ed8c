/** For tests of chat: small vocabularies with the special tokens of a family, and random replies. */
import fc from "fast-check";
import { FAMILIES, TOKEN } from "../tokenizer/families.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe } from "../tokenizer/train-bpe.ts";
import { THINK_CLOSE, THINK_OPEN } from "./provenance.ts";
import { CALL_TOKENS } from "./tool-calls.ts";

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

/** A part of a reply: a control token by its id, or text that may spell one in ordinary tokens. */
export interface ReplyPart {
  readonly control: boolean;
  readonly text: string;
}

const NAMES = [THINK_OPEN, THINK_CLOSE, ...CALL_TOKENS];
/** Texts that must be read as any other word would be: that word stands for them in the model. */
const SPELLED = new Map([...NAMES, "<｜too", "</thi", "<｜"].map((text, i) => [text, `Q${i}Q`]));
const WORDS_OF_REPLIES = [
  "function",
  "name",
  "\n",
  "```json\n",
  "\n```",
  "{}",
  '{"a": 1}',
  "你",
  " ",
  "wait",
];
const [CALLS, CALLS_END] = [TOKEN.toolCallsBegin, TOKEN.toolCallsEnd];

/** Random replies; calls among them so that their insides are reached. */
export function anyReply(): fc.Arbitrary<ReplyPart[]> {
  const control = (text: string): ReplyPart => ({ control: true, text });
  const plain = (text: string): ReplyPart => ({ control: false, text });
  const text = fc.constantFrom(...WORDS_OF_REPLIES, ...SPELLED.keys()).map(plain);
  const call = fc
    .tuple(text, text)
    .map(([name, args]) => [
      control(CALLS),
      control(TOKEN.toolCallBegin),
      plain("f"),
      name,
      control(TOKEN.toolSep),
      plain('{"x": "'),
      args,
      plain('"}'),
      control(TOKEN.toolCallEnd),
      control(CALLS_END),
    ]);
  const one = fc.oneof(text, fc.constantFrom(...NAMES).map(control)).map((part) => [part]);
  return fc.array(fc.oneof({ weight: 6, arbitrary: one }, call), { maxLength: 14 }).map((all) => all.flat());
}

/** The tokens of a reply, its texts cut into pieces too short to be a control token. */
export function tokensOfReply(
  tokenizer: Tokenizer,
  parts: readonly ReplyPart[],
  sizes: readonly number[],
): number[] {
  let turn = 0;
  return parts.flatMap(({ control, text }) => {
    if (control) return [tokenizer.idOf(text)!];
    const ids: number[] = [];
    for (let at = 0; at < text.length; ) {
      const size = sizes[turn++ % sizes.length];
      ids.push(...tokenizer.encode(text.slice(at, at + size), { addSpecialTokens: false }));
      at += size;
    }
    return ids;
  });
}

/** Reasoning and the rest of a reply by its control tokens alone; `reveal` gives back what was spelled. */
export function splitById(parts: readonly ReplyPart[], opensReasoning: boolean) {
  let state = opensReasoning ? "reasoning" : "start";
  let [reasoning, rest] = ["", ""];
  for (const { control, text } of parts) {
    if (control && text === THINK_OPEN) {
      if (state === "start") [state, rest] = ["reasoning", ""];
    } else if (control && text === THINK_CLOSE) {
      if (state === "reasoning") state = "gap";
    } else {
      const word = control ? text : (SPELLED.get(text) ?? text);
      if (state === "reasoning") reasoning += word;
      else {
        rest = state === "gap" ? (rest + word).trimStart() : rest + word;
        if (rest.trim() !== "") state = "content";
      }
    }
  }
  const reveal = (text: string) => {
    let shown = text;
    for (const [spelled, word] of SPELLED) shown = shown.replaceAll(word, spelled);
    return shown;
  };
  return { reasoning: reveal(reasoning.trim()), rest, reveal };
}
