/**
 * Byte-level BPE as a scheme: tokens spell bytes, so that any text can be encoded and any ids decoded. One deliberate
 * difference from the Rust library: added tokens decode as their literal text (its ByteLevel decoder turns the
 * added letter `ü` of DeepSeek LLM and Coder into a broken byte).
 */
import { FormatError } from "../tensor/errors.ts";
import { buildBpe } from "./bpe.ts";
import { tokenToBytes } from "./byte-alphabet.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";
import { type Json, refuseUnless } from "./read-file.ts";
import type { Scheme, SchemeSource, TokenJoiner } from "./scheme.ts";

/** Checks that nothing in the file would change the result without being implemented here. */
function checkParts(file: Json, model: Json): void {
  for (const name of ["unk_token", "dropout", "continuing_subword_prefix", "end_of_word_suffix"]) {
    refuseUnless(model[name] == null || model[name] === "", `model.${name}`, "null", model[name]);
  }
  refuseUnless(!model.byte_fallback, "model.byte_fallback", "false", model.byte_fallback);
  const decoder = file.decoder as Json | null | undefined;
  const list = decoder?.type === "Sequence" && Array.isArray(decoder.decoders) ? decoder.decoders : [decoder];
  for (const item of list.length === 0 ? [null] : list) {
    refuseUnless((item as Json | null)?.type === "ByteLevel", "decoder", "ByteLevel", item ?? "none");
  }
}

function readMerges(value: unknown): [string, string][] {
  const where = "tokenizer.json model.merges";
  if (!Array.isArray(value)) throw new FormatError("not a list", { where, found: typeof value });
  return value.map((item: unknown, i) => {
    const parts = typeof item === "string" ? item.split(" ") : item;
    if (
      Array.isArray(parts) &&
      parts.length === 2 &&
      parts.every((part) => typeof part === "string" && part)
    ) {
      return parts as [string, string];
    }
    throw new FormatError("a merge must be two tokens", { where, name: `merges[${i}]`, found: String(item) });
  });
}

// ignoreBOM keeps U+FEFF in the text.
const utf8Decoder = () => new TextDecoder("utf-8", { ignoreBOM: true });

function joiner(): TokenJoiner {
  const decoder = utf8Decoder();
  return { push: (bytes) => decoder.decode(bytes, { stream: true }), end: () => decoder.decode() };
}

/** @throws FormatError for damaged merges, a malformed pre-tokenizer and, by name, for what is not supported */
export function byteLevelScheme({ file, model, vocab, literal }: SchemeSource): Scheme {
  checkParts(file, model);
  const utf8 = new TextEncoder();
  const encodePiece = buildBpe(vocab, readMerges(model.merges), model.ignore_merges === true);
  return {
    preTokenize: compilePreTokenizer(file.pre_tokenizer),
    encodePiece,
    // Control tokens are added tokens; in plain text their spelling is bytes like all others.
    encodePlain: encodePiece,
    bytesOf: (token, id) => (literal.has(id) ? null : tokenToBytes(token)) ?? utf8.encode(token),
    decode(parts) {
      const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
      let at = 0;
      for (const part of parts) {
        all.set(part, at);
        at += part.length;
      }
      return utf8Decoder().decode(all);
    },
    joiner,
  };
}
