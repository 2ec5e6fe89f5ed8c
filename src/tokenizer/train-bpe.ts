/**
 * Trains a byte-level BPE vocabulary in the layout of DeepSeek-V3: ids 0-2 are BOS, EOS and pad, 3-258 the byte
 * symbols, then the merges, then further special tokens at the end. The algorithm is the Rust `tokenizers` trainer's
 * (most frequent pair first, ties by the smaller pair of ids): pieces are counted once, pair counts are updated where a
 * merge happens, and a heap with lazy deletion finds the next pair. Memory grows with the number of distinct pieces.
 * Left out: alphabet limits and token-length limits.
 */
import { ConfigError } from "../tensor/errors.ts";
import { detach } from "./bpe.ts";
import { BYTE_TO_CHAR, BYTES_BY_CHAR } from "./byte-alphabet.ts";
import { type PreTokenizerName, preTokenizerJson, TOKEN } from "./families.ts";
import { PairCounts } from "./pair-counts.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";
import type { AddedTokenJson, TokenizerConfigJson, TokenizerJson } from "./schema.ts";

/** BOS, EOS and pad, at ids 0, 1 and 2. */
const LEADING: readonly string[] = [TOKEN.bos, TOKEN.eos, TOKEN.pad];
const FIRST_BYTE = LEADING.length;
const FIRST_MERGE = FIRST_BYTE + 256;

/** Special tokens placed at the end of the vocabulary unless others are asked for, in V3's order. */
export const DEFAULT_SPECIAL_TOKENS: readonly string[] = [
  TOKEN.fimHole,
  TOKEN.fimBegin,
  TOKEN.fimEnd,
  TOKEN.user,
  TOKEN.assistant,
  TOKEN.eot,
];

/** Tokens of the smallest vocabulary: the bytes and the special tokens. */
export const SMALLEST_VOCABULARY = FIRST_MERGE + DEFAULT_SPECIAL_TOKENS.length;

export interface TrainBpeProgress {
  stage: "count" | "merge" | "done";
  /** Texts read so far. */
  texts: number;
  /** Distinct pieces seen. */
  pieces: number;
  merges: number;
  /** Merges the requested vocabulary has room for. */
  mergesWanted: number;
  /** Set at the end when the data ran out of pairs, so that the vocabulary is smaller than asked for. */
  note?: string;
}

export interface TrainBpeOptions {
  /** Total number of tokens, special tokens included. */
  vocabSize: number;
  /** Special tokens at the end of the vocabulary; default DEFAULT_SPECIAL_TOKENS. */
  specialTokens?: readonly string[];
  /** How texts are cut into pieces, which merges do not cross; default `v3-128k`. `qwen2` splits every digit off. */
  preTokenizer?: PreTokenizerName;
  /** Pairs that occur less often are not merged; default 2. */
  minFrequency?: number;
  onProgress?: (progress: TrainBpeProgress) => void;
  /** Ends the training between two texts or some merges. */
  signal?: AbortSignal;
}

function check(options: TrainBpeOptions, specials: readonly string[]): number {
  const where = "trainBpe";
  const smallest = FIRST_MERGE + specials.length;
  if (!Number.isInteger(options.vocabSize) || options.vocabSize < smallest) {
    throw new ConfigError("the vocabulary is too small for its special tokens and the 256 bytes", {
      where,
      name: "vocabSize",
      expected: `an integer of at least ${smallest}`,
      found: options.vocabSize,
    });
  }
  const all = [...LEADING, ...specials];
  const twice = all.find(
    (token, i) => token === "" || all.indexOf(token) !== i || BYTE_TO_CHAR.includes(token),
  );
  if (twice !== undefined) {
    throw new ConfigError("special tokens must be distinct and longer than a byte symbol", {
      where,
      name: "specialTokens",
      found: JSON.stringify(twice),
    });
  }
  const minFrequency = options.minFrequency ?? 2;
  if (!(minFrequency >= 1)) {
    throw new ConfigError("must be at least 1", { where, name: "minFrequency", found: minFrequency });
  }
  return options.vocabSize - smallest;
}

/** Gives the event loop a turn at most ten times a second; throws the signal's reason once it is aborted. */
function breather(signal?: AbortSignal): () => Promise<void> {
  let last = performance.now();
  return async () => {
    signal?.throwIfAborted();
    if (performance.now() - last < 100) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    last = performance.now();
  };
}

/**
 * Trains on `texts` (one document each) and returns the `tokenizer.json`. The result depends only on the texts and
 * options. The vocabulary has exactly `vocabSize` tokens, or fewer when no pair is left to merge (the last progress
 * report then carries a note). @throws ConfigError for a vocabulary without room.
 */
export async function trainBpe(
  texts: Iterable<string> | AsyncIterable<string>,
  options: TrainBpeOptions,
): Promise<TokenizerJson> {
  const specials = options.specialTokens ?? DEFAULT_SPECIAL_TOKENS;
  const mergesWanted = check(options, specials);
  const minFrequency = options.minFrequency ?? 2;
  const preTokenizer = preTokenizerJson(options.preTokenizer ?? "v3-128k");
  const preTokenize = compilePreTokenizer(preTokenizer);
  const breathe = breather(options.signal);

  const counts = new Map<string, number>();
  const count = (piece: string) => {
    const seen = counts.get(piece);
    if (seen === undefined) counts.set(detach(piece), 1);
    else counts.set(piece, seen + 1);
  };
  let read = 0;
  const report = (stage: TrainBpeProgress["stage"], merges: number, note?: string) =>
    options.onProgress?.({
      stage,
      texts: read,
      pieces: counts.size,
      merges,
      mergesWanted,
      ...(note && { note }),
    });
  for await (const text of texts) {
    preTokenize(text.replace(/\p{Cs}/gu, "\uFFFD"), count);
    read++;
    if (read % 256 === 0) report("count", 0);
    await breathe();
  }
  report("count", 0);

  const tokens = [...LEADING, ...BYTES_BY_CHAR.map((byte) => BYTE_TO_CHAR[byte])];
  const vocab = new Map(tokens.map((token, id) => [token, id]));
  const reserved = new Set(specials);
  const idOfByte = new Int32Array(256);
  BYTES_BY_CHAR.forEach((byte, rank) => {
    idOfByte[byte] = FIRST_BYTE + rank;
  });
  const pairs = new PairCounts(counts, idOfByte);
  const merges: [string, string][] = [];
  const room = FIRST_MERGE + mergesWanted;
  while (tokens.length < room) {
    const best = pairs.takeBest(minFrequency);
    if (!best) break;
    const [left, right] = [tokens[best.left], tokens[best.right]];
    const token = left + right;
    // A merge must not spell a special token: the two would then share one entry.
    if (reserved.has(token)) continue;
    let id = vocab.get(token);
    // Another pair may have spelled the same token before: then the merge is new but the token is not.
    if (id === undefined) {
      id = tokens.length;
      tokens.push(token);
      vocab.set(token, id);
    }
    merges.push([left, right]);
    pairs.merge(best, id);
    if (merges.length % 64 === 0) await breathe();
    if (merges.length % 256 === 0) report("merge", merges.length);
  }
  const missing = room - tokens.length;
  report(
    "done",
    merges.length,
    missing > 0
      ? `no pair occurs ${minFrequency} times any more: ${tokens.length + specials.length} tokens instead of ${options.vocabSize}`
      : undefined,
  );

  const added = (content: string, id: number): AddedTokenJson => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...LEADING.map(added), ...specials.map((token, i) => added(token, tokens.length + i))],
    normalizer: null,
    pre_tokenizer: preTokenizer,
    post_processor: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges,
    },
  };
}

/**
 * The `tokenizer_config.json` next to a trained `tokenizer.json`: V3's policy, in which the tokenizer adds neither BOS
 * nor EOS. `modelMaxLength` is the longest sequence in tokens the model takes. The class is the plain one, since
 * LlamaTokenizerFast of transformers 5 puts Llama's own pre-tokenizer in place of the file's; of
 * its inputs, `token_type_ids` (added before transformers 5) is one that causal models refuse.
 */
export function trainedTokenizerConfig(modelMaxLength: number): TokenizerConfigJson {
  return {
    add_bos_token: false,
    add_eos_token: false,
    bos_token: TOKEN.bos,
    eos_token: TOKEN.eos,
    pad_token: TOKEN.pad,
    unk_token: null,
    clean_up_tokenization_spaces: false,
    model_max_length: modelMaxLength,
    model_input_names: ["input_ids", "attention_mask"],
    tokenizer_class: "PreTrainedTokenizerFast",
  };
}
