/**
 * Reads Hugging Face `tokenizer.json` (and `tokenizer_config.json`) for byte-level BPE or a vocabulary of words and encodes
 * and decodes text. Follows the Rust `tokenizers` library and, for BOS and EOS, transformers' LlamaTokenizerFast; the one
 * deliberate difference is in byte-level.ts. Truncation and padding are the caller's and are not read.
 * Left out and refused by name: normalizers other than Unicode's forms, models other than BPE and WordLevel, offsets.
 */
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { buildAddedSplitter, isControlToken, readAddedTokens } from "./added-tokens.ts";
import { byteLevelScheme } from "./byte-level.ts";
import { readPolicy, type SpecialIds } from "./policy.ts";
import { type Json, readObject, readTokenizerFile, refuseUnless } from "./read-file.ts";
import type { Scheme } from "./scheme.ts";
import { LONG_TEXT, type Slices, wellFormed, wellFormedSlices } from "./slices.ts";
import { wordLevelScheme } from "./word-level.ts";

export interface EncodeOptions {
  /** Whether to add what the tokenizer's policy adds (BOS for most of the family); default true. */
  addSpecialTokens?: boolean;
  /**
   * Whether control tokens written out in the text become their ids; default true. Turn it off for text from outside:
   * then `<｜User｜>` is plain characters.
   */
  parseSpecial?: boolean;
}

export interface DecodeOptions {
  /** Whether tokens marked special are left out; default false. */
  skipSpecialTokens?: boolean;
}

/** Decodes one id at a time; the concatenation of all results equals `decode` of all ids. */
export interface StreamDecoder {
  /** The text that `id` completes, "" while a character is incomplete. */
  push(id: number): string;
  /** What remains (U+FFFD for a character cut off); the decoder can then be used again. */
  end(): string;
}

export interface Tokenizer {
  /** One more than the largest id; the model's padded vocabulary may be larger. */
  readonly vocabSize: number;
  readonly specialIds: SpecialIds;
  /** Ids of the tokens marked special, which `skipSpecialTokens` leaves out. */
  readonly specialTokens: ReadonlySet<number>;
  /** Ids that `encode` puts before the text when special tokens are added. */
  readonly prefixIds: readonly number[];
  /** Ids that `encode` puts after the text when special tokens are added. */
  readonly suffixIds: readonly number[];
  /** Ids of a text. Lone surrogates count as U+FFFD. @throws FormatError for a byte or a word without a token. */
  encode(text: string, options?: EncodeOptions): number[];
  /** The same ids, with pauses during a long text, so that the caller can do other work in between. */
  encodeSlices(text: string, options?: EncodeOptions): Slices<number[]>;
  /** Text of ids; invalid UTF-8 gives U+FFFD. @throws FormatError for an id without a token. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  streamDecoder(options?: DecodeOptions): StreamDecoder;
  /** Id of a token as the file spells it (byte-level alphabet, or an added token's literal text). */
  idOf(token: string): number | undefined;
  /** Token of an id as the file spells it. */
  tokenOf(id: number): string | undefined;
  /** The bytes an id stands for. @throws FormatError for an id without a token. */
  bytesOf(id: number): Uint8Array;
}

const UNICODE_FORMS = ["NFC", "NFD", "NFKC", "NFKD"] as const;

/** The normalizer of a file: Unicode forms one after another, or null for none. @throws FormatError for others */
function readNormalizer(value: unknown): ((text: string) => string) | null {
  const json = value as Json | null | undefined;
  const list = json?.type === "Sequence" && Array.isArray(json.normalizers) ? json.normalizers : [json];
  const forms = list
    .filter((item) => item !== null && item !== undefined)
    .map((item: Json) => {
      const form = UNICODE_FORMS.find((name) => name === item.type);
      refuseUnless(form !== undefined, "normalizer", `none or ${UNICODE_FORMS.join(" | ")}`, item);
      return form;
    });
  if (forms.length === 0) return null;
  return (text) => forms.reduce((done, form) => done.normalize(form), text);
}

/** Ids that no token has, in small vocabularies. */
const MOST_HOLES = 1 << 18;

/** Bytes of every id, end to end. */
function layBytes(tokens: readonly (string | undefined)[], bytesOf: Scheme["bytesOf"]) {
  const offsets = new Int32Array(tokens.length + 1);
  const each = tokens.map((token, id) => {
    const bytes = token === undefined ? null : bytesOf(token, id);
    offsets[id + 1] = offsets[id] + (bytes?.length ?? 0);
    return bytes;
  });
  const bytes = new Uint8Array(offsets[tokens.length]);
  each.forEach((part, id) => {
    if (part) bytes.set(part, offsets[id]);
  });
  return { bytes, offsets };
}

/**
 * Builds a tokenizer from the contents of `tokenizer.json` and, optionally, `tokenizer_config.json`, each as parsed
 * JSON or as text. @throws FormatError for a damaged file and, by name, for anything it asks for that is not supported.
 */
export function loadTokenizer(json: unknown | string, config?: unknown): Tokenizer {
  const { file, model, vocab } = readTokenizerFile(json);
  const { type = "BPE" } = model;
  refuseUnless(type === "BPE" || type === "WordLevel", "model.type", "BPE | WordLevel", type);
  const settings = config === undefined ? undefined : readObject(config, "tokenizer_config.json");
  const added = readAddedTokens(vocab, file.added_tokens, settings?.added_tokens_decoder);
  const ids = new Map(vocab);
  for (const { content, id } of added) ids.set(content, id);

  let vocabSize = 0;
  for (const id of ids.values()) if (id >= vocabSize) vocabSize = id + 1;
  // Ids may have holes between them; tables are made for all up to the last.
  const most = Math.min(1 << 24, MOST_HOLES + 4 * ids.size);
  if (vocabSize > most) {
    throw new FormatError("token ids exceed the number of tokens by far", {
      where: "tokenizer.json",
      expected: `ids below ${most} for ${ids.size} tokens`,
      found: vocabSize - 1,
    });
  }
  const tokens = new Array<string | undefined>(vocabSize).fill(undefined);
  for (const [token, id] of [...vocab, ...added.map(({ content, id }) => [content, id] as const)]) {
    if (tokens[id] !== undefined && tokens[id] !== token) {
      throw new FormatError("two tokens share an id", {
        where: "tokenizer.json",
        name: `id ${id}`,
        found: [tokens[id], token],
      });
    }
    tokens[id] = token;
  }

  const policy = readPolicy(file.post_processor, settings, (token) => ids.get(token));
  const specialTokens = new Set(added.filter((token) => token.special).map((token) => token.id));
  // What the vocabulary spells too is decoded as it is spelled there.
  const literal = added.filter(({ content }) => !vocab.has(content)).map(({ id }) => id);
  const control = new Set(added.filter(isControlToken).map(({ content }) => content));
  const schemeOf = type === "BPE" ? byteLevelScheme : wordLevelScheme;
  const scheme = schemeOf({ file, model, vocab, literal: new Set(literal), control });
  const { preTokenize } = scheme;
  const { bytes, offsets } = layBytes(tokens, scheme.bytesOf);
  const normalize = readNormalizer(file.normalizer);
  const splitAll = buildAddedSplitter(added, normalize);
  const splitPlain = buildAddedSplitter(
    added.filter((token) => !isControlToken(token)),
    normalize,
  );

  function bytesAt(id: number): Uint8Array {
    if (tokens[id] === undefined) {
      throw new FormatError("id without a token", {
        where: "decode",
        name: `id ${id}`,
        expected: `an id below ${vocabSize}`,
        hint: "Rows that only pad the model's vocabulary must be masked when sampling",
      });
    }
    return bytes.subarray(offsets[id], offsets[id + 1]);
  }

  const splitterFor = (parseSpecial: boolean) => (parseSpecial ? splitAll : splitPlain);
  const encoderFor = (parseSpecial: boolean) => (parseSpecial ? scheme.encodePiece : scheme.encodePlain);

  function encode(
    text: string,
    { addSpecialTokens = true, parseSpecial = true }: EncodeOptions = {},
  ): number[] {
    if (typeof text !== "string") {
      throw new ConfigError("text must be a string", { where: "encode", found: typeof text });
    }
    const out: number[] = addSpecialTokens ? [...policy.prefix] : [];
    const encodePiece = encoderFor(parseSpecial);
    const emit = (piece: string) => encodePiece(piece, out);
    splitterFor(parseSpecial)(
      wellFormed(text),
      (between) => preTokenize(between, emit),
      (id) => out.push(id),
    );
    if (addSpecialTokens) out.push(...policy.suffix);
    return out;
  }

  function* encodeSlices(text: string, options: EncodeOptions = {}): Slices<number[]> {
    if (typeof text !== "string" || text.length <= LONG_TEXT) return encode(text, options);
    const { addSpecialTokens = true, parseSpecial = true } = options;
    const out: number[] = addSpecialTokens ? [...policy.prefix] : [];
    const encodePiece = encoderFor(parseSpecial);
    const emit = (piece: string) => encodePiece(piece, out);
    const emitLong = (piece: string) => encodePiece.slices(piece, out);
    yield* splitterFor(parseSpecial).slices(
      yield* wellFormedSlices(text),
      (between) => preTokenize(between, emit),
      (between) => preTokenize.slices(between, emit, emitLong),
      (id) => out.push(id),
    );
    if (addSpecialTokens) out.push(...policy.suffix);
    return out;
  }

  function streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    const joiner = scheme.joiner();
    return {
      push(id) {
        const part = bytesAt(id);
        if (options.skipSpecialTokens && specialTokens.has(id)) return "";
        return joiner.push(part);
      },
      end: joiner.end,
    };
  }

  return {
    vocabSize,
    specialIds: policy.specialIds,
    specialTokens,
    prefixIds: policy.prefix,
    suffixIds: policy.suffix,
    encode,
    encodeSlices,
    decode(list, options = {}) {
      const parts: Uint8Array[] = [];
      for (const id of list) {
        const part = bytesAt(id);
        if (!(options.skipSpecialTokens && specialTokens.has(id))) parts.push(part);
      }
      return scheme.decode(parts);
    },
    streamDecoder,
    idOf: (token) => ids.get(token),
    tokenOf: (id) => tokens[id],
    bytesOf: (id) => bytesAt(id).slice(),
  };
}
