/** What differs between the kinds of vocabularies that `loadTokenizer` reads: byte-level BPE and whole words. */
import type { PieceEncoder } from "./bpe.ts";
import type { PreTokenizer } from "./pre-tokenizer.ts";
import type { TokenizerFile } from "./read-file.ts";

/** Puts the texts of tokens together, one after the other. */
export interface TokenJoiner {
  /** What a token's bytes complete. */
  push(bytes: Uint8Array): string;
  /** What remains; the joiner can then be used again. */
  end(): string;
}

export interface Scheme {
  readonly preTokenize: PreTokenizer;
  /** Gives ids to pieces, outside of added tokens. */
  readonly encodePiece: PieceEncoder;
  /** The same for text from outside, in which control tokens are plain characters. */
  readonly encodePlain: PieceEncoder;
  /** The bytes that a token of the vocabulary, or an added one, stands for. */
  bytesOf(token: string, id: number): Uint8Array;
  /** The text of all tokens' bytes. */
  decode(parts: readonly Uint8Array[]): string;
  joiner(): TokenJoiner;
}

/** What a scheme is made from: the file, and what its added tokens are. */
export interface SchemeSource extends TokenizerFile {
  /** Ids of added tokens that the vocabulary does not spell. */
  readonly literal: ReadonlySet<number>;
  /** Added tokens that must not arise from text from outside. */
  readonly control: ReadonlySet<string>;
}
