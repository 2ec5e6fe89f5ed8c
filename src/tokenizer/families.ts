/**
 * The tokenizer families as data: their pre-tokenizers in `tokenizer.json` form and their special-token tables.
 * DeepSeek LLM and V2 share one base vocabulary but not one added-token table: Coder-V2 and V2.5 reuse the ids at which
 * LLM holds thirteen letters (the characters of the bytes that UTF-8 never uses), so they are separate entries here. The
 * first V2 models have neither, only BOS and EOS; Coder v1.5 has `<|EOT|>` after the letters.
 * Ids marked `verified: false` were not confirmed by a published file. Left out: the vocabularies themselves.
 */
import type { PreTokenizerJson } from "./schema.ts";

export type PreTokenizerName = "llm-100k" | "coder-32k" | "v3-128k" | "llama3" | "qwen2";
export type FamilyName = "llm" | "v2" | "coder" | "v3";

/** Tokens whose characters are U+FF5C (FULLWIDTH VERTICAL LINE) and U+2581 (LOWER ONE EIGHTH BLOCK). */
export const TOKEN = {
  bos: "<\uFF5Cbegin\u2581of\u2581sentence\uFF5C>",
  eos: "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
  pad: "<\uFF5C\u2581pad\u2581\uFF5C>",
  fimHole: "<\uFF5Cfim\u2581hole\uFF5C>",
  fimBegin: "<\uFF5Cfim\u2581begin\uFF5C>",
  fimEnd: "<\uFF5Cfim\u2581end\uFF5C>",
  completion: "<\uFF5Ccompletion\uFF5C>",
  user: "<\uFF5CUser\uFF5C>",
  assistant: "<\uFF5CAssistant\uFF5C>",
  /** ASCII bars, in every family. */
  eot: "<|EOT|>",
  toolCallsBegin: "<\uFF5Ctool\u2581calls\u2581begin\uFF5C>",
  toolCallsEnd: "<\uFF5Ctool\u2581calls\u2581end\uFF5C>",
  toolCallBegin: "<\uFF5Ctool\u2581call\u2581begin\uFF5C>",
  toolCallEnd: "<\uFF5Ctool\u2581call\u2581end\uFF5C>",
  toolOutputsBegin: "<\uFF5Ctool\u2581outputs\u2581begin\uFF5C>",
  toolOutputsEnd: "<\uFF5Ctool\u2581outputs\u2581end\uFF5C>",
  toolOutputBegin: "<\uFF5Ctool\u2581output\u2581begin\uFF5C>",
  toolOutputEnd: "<\uFF5Ctool\u2581output\u2581end\uFF5C>",
  toolSep: "<\uFF5Ctool\u2581sep\uFF5C>",
} as const;

export interface FamilyToken {
  readonly content: string;
  readonly id: number;
  readonly verified: boolean;
}

export interface TokenizerFamily {
  readonly preTokenizer: PreTokenizerName;
  /** Tokens of the byte-pair vocabulary, byte symbols included. */
  readonly baseSize: number;
  readonly merges: number;
  /** Rows of the model's embedding; those above the last token only pad. */
  readonly paddedVocabSize: number;
  /** `tokenizer.ggml.pre` in GGUF files. */
  readonly ggufPre: string;
  /** Whether the tokenizer itself puts BOS before a text. */
  readonly addBos: boolean;
  readonly tokens: readonly FamilyToken[];
  /** Added tokens that are letters of ordinary text. */
  readonly letters: readonly FamilyToken[];
}

/** Cased scripts, in hexadecimal: numbers, since normalization would silently change pasted characters. */
const LETTERS_HEX = `
41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1
3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A
1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4
1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128
212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D
A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3
104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943`;

/** The body of a character class (no brackets) with the characters of a list of hexadecimal ranges. */
export function classBody(hexRanges: string): string {
  const char = (hex: string) => String.fromCodePoint(Number.parseInt(hex, 16));
  return hexRanges
    .trim()
    .split(/\s+/)
    .map((item) => item.split("-").map(char).join("-"))
    .join("");
}

const CJK_WIDE = classBody("4E00-9FA5 800-4E00 AC00-D7FF");
const CJK_AND_KANA = classBody("4E00-9FA5 3040-309F 30A0-30FF");
const PUNCTUATION = classBody("21-2F 3A-7E FF01-FF0F FF1A-FF5E 2018-201F 3000-3002");
const V3_WORDS = [
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+",
  "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+",
  " ?[\\p{P}\\p{S}]+[\\r\\n]*",
  "\\s*[\\r\\n]+",
  "\\s+(?!\\S)",
  "\\s+",
].join("|");

/** Llama 3's pattern, which Qwen2 takes with single digits. */
const tiktoken = (digits: string) =>
  [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+",
    digits,
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
    "\\s*[\\r\\n]+",
    "\\s+(?!\\S)",
    "\\s+",
  ].join("|");

const PATTERNS: Readonly<Record<PreTokenizerName, readonly string[]>> = {
  "llm-100k": [
    "[\\r\\n]",
    `\\s?[${classBody(LETTERS_HEX)}]+`,
    `\\s?[${PUNCTUATION}]+`,
    "\\s+$",
    `[${CJK_WIDE}]+`,
  ],
  "coder-32k": ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", `[${CJK_WIDE}]+`],
  "v3-128k": ["\\p{N}{1,3}", `[${CJK_AND_KANA}]+`, V3_WORDS],
  llama3: [tiktoken("\\p{N}{1,3}")],
  qwen2: [tiktoken("\\p{N}")],
};

/** The `pre_tokenizer` object of a family. */
export function preTokenizerJson(name: PreTokenizerName): PreTokenizerJson {
  const stages = PATTERNS[name].map(
    (Regex): PreTokenizerJson => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }),
  );
  if (name === "llm-100k" || name === "coder-32k") stages.push({ type: "Digits", individual_digits: true });
  stages.push({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false });
  return { type: "Sequence", pretokenizers: stages };
}

/** Tokens at consecutive ids from `first`. */
function run(first: number, contents: readonly string[], verified = true): FamilyToken[] {
  return contents.map((content, i) => ({ content, id: first + i, verified }));
}

const TOOLS = [
  TOKEN.toolCallsBegin,
  TOKEN.toolCallsEnd,
  TOKEN.toolCallBegin,
  TOKEN.toolCallEnd,
  TOKEN.toolOutputsBegin,
  TOKEN.toolOutputsEnd,
  TOKEN.toolOutputBegin,
  TOKEN.toolOutputEnd,
  TOKEN.toolSep,
];
const PLACEHOLDERS = Array.from(
  { length: 800 },
  (_, n) => `<\uFF5Cplace\u2581holder\u2581no\u2581${n}\uFF5C>`,
);
const letters = (first: number, hex: string) =>
  run(
    first,
    hex.split(" ").map((code) => String.fromCharCode(Number.parseInt(code, 16))),
  );

/** Sizes, BOS policy and special tokens of each family. */
export const FAMILIES: Readonly<Record<FamilyName, TokenizerFamily>> = {
  llm: {
    preTokenizer: "llm-100k",
    baseSize: 100_000,
    merges: 99_757,
    paddedVocabSize: 102_400,
    ggufPre: "deepseek-llm",
    addBos: true,
    tokens: run(100_000, [TOKEN.bos, TOKEN.eos]),
    letters: letters(100_002, "F8 F6 FA FF F5 F7 FB FD C0 F9 C1 FE FC"),
  },
  v2: {
    preTokenizer: "llm-100k",
    baseSize: 100_000,
    merges: 99_757,
    paddedVocabSize: 102_400,
    ggufPre: "deepseek-llm",
    addBos: true,
    tokens: [
      ...run(100_000, [TOKEN.bos, TOKEN.eos, TOKEN.fimHole, TOKEN.fimBegin, TOKEN.fimEnd]),
      ...run(100_005, [TOKEN.completion, TOKEN.user, TOKEN.assistant, TOKEN.eot, ...TOOLS], false),
    ],
    letters: [],
  },
  coder: {
    preTokenizer: "coder-32k",
    baseSize: 32_000,
    merges: 31_757,
    paddedVocabSize: 32_256,
    ggufPre: "deepseek-coder",
    addBos: true,
    tokens: run(32_013, [
      TOKEN.bos,
      TOKEN.eos,
      TOKEN.fimHole,
      TOKEN.fimBegin,
      TOKEN.fimEnd,
      "<pad>",
      "<|User|>",
      "<|Assistant|>",
      TOKEN.eot,
    ]),
    letters: letters(32_000, "F5 F7 C1 FD C0 FF F8 FA FE FC F9 F6 FB"),
  },
  v3: {
    preTokenizer: "v3-128k",
    baseSize: 128_000,
    merges: 127_741,
    paddedVocabSize: 129_280,
    ggufPre: "deepseek-v3",
    addBos: false,
    tokens: [
      ...run(0, [TOKEN.bos, TOKEN.eos, TOKEN.pad]),
      ...run(128_000, PLACEHOLDERS),
      ...run(128_800, [
        TOKEN.fimHole,
        TOKEN.fimBegin,
        TOKEN.fimEnd,
        TOKEN.user,
        TOKEN.assistant,
        TOKEN.eot,
        ...TOOLS,
      ]),
    ],
    letters: [],
  },
};

/** What a name in `tokenizer.ggml.pre` of GGUF files stands for. */
export interface GgufRules {
  readonly preTokenizer: PreTokenizerName;
  /** Whether BOS comes first if the file does not say. */
  readonly addBos: boolean;
  /** Whether a piece that is a token is taken whole, without merging. */
  readonly ignoreMerges: boolean;
}

const plainRules = (preTokenizer: PreTokenizerName, addBos: boolean): GgufRules => {
  return { preTokenizer, addBos, ignoreMerges: false };
};

/** The family's rules and those of the models that R1 was distilled into; the first name of a rule is written. */
export const GGUF_RULES: ReadonlyMap<string, GgufRules> = new Map([
  ...Object.values(FAMILIES).map(
    ({ ggufPre, preTokenizer, addBos }) => [ggufPre, plainRules(preTokenizer, addBos)] as const,
  ),
  ...["llama-bpe", "llama3", "llama-v3"].map(
    (name) => [name, { preTokenizer: "llama3", addBos: true, ignoreMerges: true }] as const,
  ),
  ...["qwen2", "deepseek-r1-qwen"].map((name) => [name, plainRules("qwen2", false)] as const),
]);
