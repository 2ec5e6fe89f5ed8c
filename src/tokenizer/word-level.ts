/**
 * A vocabulary of whole words (WordLevel of the Rust library `tokenizers`): the pre-tokenizer cuts a text into pieces, each of
 * which is a token or, where the vocabulary has one, the unknown token. Small models of closed languages have such vocabularies.
 */
import { FormatError } from "../tensor/errors.ts";
import type { PieceEncoder } from "./bpe.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";
import type { Scheme, SchemeSource } from "./scheme.ts";
import { readWordDecoder } from "./word-decoder.ts";

const SHOWN = 40;

function wordEncoder(
  vocab: ReadonlyMap<string, number>,
  unknown: number | undefined,
  control: ReadonlySet<string>,
): PieceEncoder {
  function encode(piece: string, out: number[]): void {
    const id = control.has(piece) ? unknown : (vocab.get(piece) ?? unknown);
    if (id !== undefined) {
      out.push(id);
      return;
    }
    const whole = piece.length <= SHOWN;
    throw new FormatError(
      control.has(piece) ? "a control token in plain text" : "the vocabulary lacks a piece of the text",
      {
        where: "encode",
        name: whole ? piece : `${piece.slice(0, SHOWN)}…`,
        expected: `one of ${vocab.size} words`,
        hint: "This tokenizer knows whole words only and has no unknown token",
      },
    );
  }
  return Object.assign(encode, {
    *slices(piece: string, out: number[]) {
      // A look into a map, however long the piece is.
      encode(piece, out);
      yield;
    },
  });
}

const NONE: ReadonlySet<string> = new Set();

/** @throws FormatError naming what of the file is malformed or not supported */
export function wordLevelScheme({ file, model, vocab, control }: SchemeSource): Scheme {
  const name = model.unk_token;
  if (typeof name !== "string" && name !== null && name !== undefined) {
    throw new FormatError("not a string", { where: "tokenizer.json model.unk_token", found: typeof name });
  }
  // The library requires the name; only a token of that name makes unknown pieces acceptable.
  const unknown = vocab.get(name ?? "");
  const decoder = readWordDecoder(file.decoder);
  const utf8 = new TextEncoder();
  return {
    preTokenize: compilePreTokenizer(file.pre_tokenizer, { byteLevel: false }),
    encodePiece: wordEncoder(vocab, unknown, NONE),
    encodePlain: wordEncoder(vocab, unknown, control),
    bytesOf: (token) => utf8.encode(decoder.textOf(token)),
    decode(parts) {
      const joiner = decoder.joiner();
      return parts.map((part) => joiner.push(part)).join("") + joiner.end();
    },
    joiner: decoder.joiner,
  };
}
