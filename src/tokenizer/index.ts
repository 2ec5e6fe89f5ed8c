/** Byte-level BPE: reading `tokenizer.json`, encoding, decoding, training. */
export { FAMILIES, type FamilyName, TOKEN, type TokenizerFamily } from "./families.ts";
export { fimPrompt } from "./fim.ts";
export type { SpecialIds } from "./policy.ts";
export type { TokenizerConfigJson, TokenizerJson } from "./schema.ts";
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
