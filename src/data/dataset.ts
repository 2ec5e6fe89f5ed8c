/**
 * Tokenized corpora with random access to training sequences, and batches whose order can be saved and resumed
 * exactly. This file is the common part and the in-memory variant for browsers; `node-dataset.ts` stores shards
 * on disk. A dataset is a stream of tokens cut at any length (sequences overlap by one token), or packed rows of
 * one fixed length.
 */

import { ConfigError, FormatError } from "../tensor/errors.ts";
import { IGNORE, type PackedSequence, shiftedTargets } from "./pack.ts";
import { Permutation } from "./permutation.ts";

/** Where the tokens lie; `read` writes `count` ids from `start` to `out[offset...]`, padding as -1. */
export interface TokenStore {
  readonly tokenCount: number;
  read(start: number, count: number, out: Int32Array, offset: number): void | Promise<void>;
  close(): void | Promise<void>;
}

export interface DatasetLayout {
  /** T of packed rows of T + 1 tokens; null for a stream that can be cut at any length. */
  readonly rowLength: number | null;
  readonly eosId: number | null;
  readonly vocabSize: number | null;
  /** UTF-8 bytes of the source texts, for bits per byte; null if unknown. */
  readonly sourceBytes: number | null;
}

/** A tokenized corpus. */
export class TokenDataset {
  readonly layout: DatasetLayout;
  readonly #store: TokenStore;

  constructor(store: TokenStore, layout: DatasetLayout) {
    this.#store = store;
    this.layout = layout;
    if (layout.rowLength !== null && store.tokenCount % (layout.rowLength + 1) !== 0) {
      throw new FormatError("stored tokens are not whole rows", {
        where: "TokenDataset",
        expected: `a multiple of ${layout.rowLength + 1}`,
        found: store.tokenCount,
      });
    }
  }

  /** Stored tokens, padding included. */
  get tokenCount(): number {
    return this.#store.tokenCount;
  }

  /** Number of sequences of `length` inputs. @throws ConfigError if packed rows have another length. */
  sequenceCount(length: number): number {
    if (!Number.isInteger(length) || length < 1) {
      throw new ConfigError("must be a positive integer", { where: "TokenDataset.length", found: length });
    }
    const { rowLength } = this.layout;
    if (rowLength === null) return Math.max(0, Math.floor((this.tokenCount - 1) / length));
    if (rowLength !== length) {
      throw new ConfigError("rows were packed for another sequence length", {
        where: "TokenDataset.length",
        expected: rowLength,
        found: length,
        hint: "Rebuild the dataset or train at its length.",
      });
    }
    return this.tokenCount / (rowLength + 1);
  }

  /** Writes sequence `index`, [length + 1] ids with padding as -1, to `out` at `offset`. */
  async readInto(index: number, length: number, out: Int32Array, offset = 0): Promise<void> {
    const count = this.sequenceCount(length);
    if (!Number.isInteger(index) || index < 0 || index >= count) {
      throw new ConfigError("no such sequence", {
        where: "TokenDataset.readInto",
        expected: `0 to ${count - 1}`,
        found: index,
      });
    }
    const stride = this.layout.rowLength === null ? length : length + 1;
    await this.#store.read(index * stride, length + 1, out, offset);
  }

  /** One sequence with its targets and document starts; position 0 always counts as a start. */
  async sequence(index: number, length: number): Promise<PackedSequence> {
    const tokens = new Int32Array(length + 1);
    await this.readInto(index, length, tokens);
    const filled = replacePadding(tokens, 0, length + 1, this.layout.eosId ?? 0);
    const { eosId } = this.layout;
    return {
      tokens,
      targets: shiftedTargets(tokens, filled),
      documentStarts: eosId === null ? [0] : documentStartsOf(tokens, eosId, filled),
      length: filled,
    };
  }

  async close(): Promise<void> {
    await this.#store.close();
  }
}

/** Positions after an end-of-text id among the first `filled` tokens, and position 0. */
export function documentStartsOf(tokens: Int32Array, eosId: number, filled = tokens.length): number[] {
  const starts = [0];
  for (let i = 1; i < filled; i++) if (tokens[i - 1] === eosId) starts.push(i);
  return starts;
}

/** Puts `padId` in place of the -1 at the end of a row and returns the number of real tokens before them. */
function replacePadding(tokens: Int32Array, start: number, end: number, padId: number): number {
  let filled = end;
  while (filled > start && tokens[filled - 1] === IGNORE) tokens[--filled] = padId;
  return filled - start;
}

export interface MemoryOptions {
  /** T of packed rows; padding is then the largest value of the array's type. */
  readonly rowLength?: number;
  readonly eosId?: number;
  readonly vocabSize?: number;
  readonly sourceBytes?: number;
}

/** A dataset over token ids in memory, for browsers and tests; the array is used, not copied. */
export function memoryDataset(data: Uint16Array | Uint32Array, options: MemoryOptions = {}): TokenDataset {
  const store: TokenStore = {
    tokenCount: data.length,
    read: (start, count, out, offset) => copyTokens(data.subarray(start, start + count), out, offset),
    close: () => {},
  };
  return new TokenDataset(store, {
    rowLength: options.rowLength ?? null,
    eosId: options.eosId ?? null,
    vocabSize: options.vocabSize ?? null,
    sourceBytes: options.sourceBytes ?? null,
  });
}

/** The stored value that stands for padding: the largest of the type. */
export function paddingValue(data: Uint16Array | Uint32Array): number {
  return data.BYTES_PER_ELEMENT === 2 ? 0xffff : 0xffffffff;
}

/** Copies stored ids to `out` at `offset`, padding as -1. */
export function copyTokens(data: Uint16Array | Uint32Array, out: Int32Array, offset: number): void {
  const padding = paddingValue(data);
  for (let i = 0; i < data.length; i++) out[offset + i] = data[i] === padding ? IGNORE : data[i];
}

/** Collects documents into one array: Uint16 if `vocabSize` allows (ids up to 65534), else Uint32. */
export async function tokenArray(
  documents:
    | AsyncIterable<{ readonly ids: ArrayLike<number> }>
    | Iterable<{ readonly ids: ArrayLike<number> }>,
  vocabSize: number,
): Promise<Uint16Array | Uint32Array> {
  let data: Uint16Array | Uint32Array = newTokenArray(vocabSize, 1 << 16);
  let used = 0;
  for await (const { ids } of documents) {
    if (used + ids.length > data.length) {
      const grown = newTokenArray(vocabSize, Math.max(used + ids.length, data.length * 2));
      grown.set(data.subarray(0, used));
      data = grown;
    }
    for (let i = 0; i < ids.length; i++) data[used++] = checkedId(ids[i], vocabSize);
  }
  return data.slice(0, used);
}

/** A token array of the narrowest type that holds `vocabSize` ids and a padding value. */
export function newTokenArray(vocabSize: number, length: number): Uint16Array | Uint32Array {
  return vocabSize <= 0xffff ? new Uint16Array(length) : new Uint32Array(length);
}

/** The id itself. @throws FormatError outside [0, vocabSize). */
export function checkedId(id: number, vocabSize: number): number {
  if (!(id >= 0 && id < vocabSize)) {
    throw new FormatError("token id outside the vocabulary", {
      where: "dataset",
      expected: `0 to ${vocabSize - 1}`,
      found: id,
      hint: "Build the dataset with the tokenizer's full vocabulary size, special tokens included.",
    });
  }
  return id;
}

export interface Batch {
  /** [batch * (length + 1)] ids, row after row; padding holds the end-of-text id (0 if unknown). */
  readonly tokens: Int32Array;
  /** [batch * length] targets, `tokens` one later; -1 if the target is padding. */
  readonly targets: Int32Array;
  readonly batch: number;
  readonly length: number;
}

export interface BatchOptions {
  readonly batch: number;
  /** T, inputs per sequence. */
  readonly length: number;
  readonly seed?: number;
  /** Shuffle sequences anew in every epoch (default true). */
  readonly shuffle?: boolean;
}

/** Where a BatchIterator stands; plain JSON. */
export interface BatchState {
  readonly version: 1;
  readonly seed: number;
  readonly shuffle: boolean;
  readonly length: number;
  /** Sequences per epoch, to notice another dataset. */
  readonly sequences: number;
  readonly epoch: number;
  /** Sequences of the epoch already handed out. */
  readonly position: number;
}

/**
 * Endless batches; every sequence is seen once per epoch and a batch may span two epochs. The state is a pair of
 * counters, so a restored iterator gives the same batches bit for bit, also with another batch size from there on.
 */
export class BatchIterator {
  readonly dataset: TokenDataset;
  readonly batch: number;
  readonly length: number;
  /** Sequences per epoch. */
  readonly sequences: number;
  readonly #seed: number;
  readonly #shuffle: boolean;
  #epoch = 0;
  #position = 0;
  #order: Permutation | null = null;

  constructor(dataset: TokenDataset, options: BatchOptions) {
    this.dataset = dataset;
    this.batch = options.batch;
    this.length = options.length;
    this.#seed = options.seed ?? 0;
    this.#shuffle = options.shuffle ?? true;
    if (!Number.isInteger(this.batch) || this.batch < 1) {
      throw new ConfigError("must be a positive integer", {
        where: "BatchIterator.batch",
        found: this.batch,
      });
    }
    this.sequences = dataset.sequenceCount(this.length);
    if (this.sequences === 0) {
      throw new ConfigError("too few tokens for one sequence", {
        where: "BatchIterator",
        expected: `at least ${this.length + 1} tokens`,
        found: dataset.tokenCount,
        hint: "Use more text or a shorter sequence.",
      });
    }
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** The next `batch` sequences. Do not call again before it resolved. */
  async next(batch = this.batch): Promise<Batch> {
    const { length } = this;
    const width = length + 1;
    const tokens = new Int32Array(batch * width);
    let epoch = this.#epoch;
    let position = this.#position;
    const reads: Promise<void>[] = [];
    for (let row = 0; row < batch; row++) {
      if (position === this.sequences) {
        epoch++;
        position = 0;
      }
      reads.push(this.dataset.readInto(this.#indexOf(epoch, position++), length, tokens, row * width));
    }
    await Promise.all(reads);
    // Only a batch that was read in full counts as handed out.
    this.#epoch = epoch;
    this.#position = position;
    const targets = new Int32Array(batch * length);
    const padId = this.dataset.layout.eosId ?? 0;
    for (let row = 0; row < batch; row++) {
      targets.set(tokens.subarray(row * width + 1, (row + 1) * width), row * length);
      replacePadding(tokens, row * width, (row + 1) * width, padId);
    }
    return { tokens, targets, batch, length };
  }

  state(): BatchState {
    return {
      version: 1,
      seed: this.#seed,
      shuffle: this.#shuffle,
      length: this.length,
      sequences: this.sequences,
      epoch: this.#epoch,
      position: this.#position,
    };
  }

  /** Continues from a saved state. @throws ConfigError if dataset, length, seed or shuffling differ. */
  restore(state: BatchState): void {
    const here = this.state();
    for (const name of ["version", "seed", "shuffle", "length", "sequences"] as const) {
      if (state[name] !== here[name]) {
        throw new ConfigError("the saved state belongs to another run", {
          where: "BatchIterator.restore",
          name,
          expected: here[name],
          found: state[name],
        });
      }
    }
    const { epoch, position } = state;
    if (!Number.isSafeInteger(epoch) || epoch < 0 || !Number.isSafeInteger(position)) {
      throw new FormatError("damaged state", { where: "BatchIterator.restore", found: [epoch, position] });
    }
    if (position < 0 || position > this.sequences) {
      throw new FormatError("position out of range", {
        where: "BatchIterator.restore",
        expected: `0 to ${this.sequences}`,
        found: position,
      });
    }
    this.#epoch = epoch;
    this.#position = position;
    this.#order = null;
  }

  #orderEpoch = -1;

  #indexOf(epoch: number, position: number): number {
    if (!this.#shuffle) return position;
    if (this.#order === null || this.#orderEpoch !== epoch) {
      this.#order = new Permutation(this.sequences, this.#seed, epoch);
      this.#orderEpoch = epoch;
    }
    return this.#order.at(position);
  }
}
