/** Bytes of text that tokens stand for, to give losses in bits per byte. */
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** By id; special tokens stand for none. */
export function tokenBytes(tokenizer: Tokenizer): Uint16Array {
  return Uint16Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    tokenizer.specialTokens.has(id) || tokenizer.tokenOf(id) === undefined ? 0 : tokenizer.bytesOf(id).length,
  );
}
