/**
 * The n-gram model to compare with a trained one, on the same bytes: trained on all texts of the training part, scored on the
 * text of the very tokens that `Run.evaluate` scores. The comparison leans to the n-gram's side: it sees the document
 * from its beginning where the model sees its own sequence only, and it need not say if a document ends.
 */
import type { Corpus } from "../data/corpus.ts";
import { ByteNgram, type NgramScore } from "../data/ngram.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Scores the text of `tokens` (Int32 ids) after the first, whose text is context only. */
export function scoreTokens(ngram: ByteNgram, tokens: Int32Array, tokenizer: Tokenizer): NgramScore {
  const { specialTokens } = tokenizer;
  let parts: Uint8Array[] = [];
  let [bits, bytes] = [0, 0];
  const end = () => {
    const score = ngram.evaluate(join(parts));
    bits += score.bits;
    bytes += score.bytes;
    parts = [];
  };
  for (const token of tokens) {
    if (specialTokens.has(token)) end();
    else parts.push(tokenizer.bytesOf(token));
  }
  end();
  if (!specialTokens.has(tokens[0])) {
    const context = ngram.evaluate(tokenizer.bytesOf(tokens[0]));
    bits -= context.bits;
    bytes -= context.bytes;
  }
  return { bits, bytes, bitsPerByte: bits / bytes };
}

/** A byte-level n-gram (5-gram unless told) of the training part of a run, read text by text. */
export async function trainNgram(texts: { readonly train: Corpus }, order = 5): Promise<ByteNgram> {
  const ngram = new ByteNgram({ order });
  const encoder = new TextEncoder();
  let since = performance.now();
  for await (const { text } of texts.train) {
    ngram.train(encoder.encode(text));
    ngram.endText();
    if (performance.now() - since > 50) {
      await new Promise((resolve) => setImmediate(resolve));
      since = performance.now();
    }
  }
  return ngram;
}
