/** Byte-level BPE and vocabularies of words: reading `tokenizer.json`, encoding, decoding; training of BPE. */

export type { FamilyToken, PreTokenizerName } from "./families.ts";
export { FAMILIES, type FamilyName, TOKEN, type TokenizerFamily } from "./families.ts";
export type { FimOptions } from "./fim.ts";
export { fimPrompt } from "./fim.ts";
export type { Marks } from "./marks.ts";
export type { SpecialIds } from "./policy.ts";
export type {
  AddedTokenJson,
  BpeModelJson,
  PreTokenizerJson,
  SplitBehavior,
  TokenizerConfigJson,
  TokenizerJson,
} from "./schema.ts";
export type { Slices } from "./slices.ts";
export {
  type DecodeOptions,
  type EncodeOptions,
  loadTokenizer,
  type StreamDecoder,
  type Tokenizer,
} from "./tokenizer.ts";
export {
  type TrainBpeOptions,
  type TrainBpeProgress,
  trainBpe,
  trainedTokenizerConfig,
} from "./train-bpe.ts";
