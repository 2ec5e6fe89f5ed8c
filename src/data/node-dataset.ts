/**
 * Token datasets on disk (Node only): shards of little-endian Uint16 or Uint32 ids and an `index.json`, in a folder that
 * appears when it is whole, so that an interrupted build is never mistaken for a complete one. Building and reading
 * hold one buffer, regardless of the size of the corpus.
 */

import { type FileHandle, readFile, stat } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { nodeFolderSink } from "../files/folder-sink.ts";
import { type ByteSink, type FolderSink, writeWhole } from "../files/sink.ts";
import { openForReading } from "../files/text-file.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import {
  checkedId,
  copyTokens,
  newTokenArray,
  paddingValue,
  TokenDataset,
  type TokenStore,
} from "./dataset.ts";
import type { TokenDocument } from "./fim.ts";
import { packDocuments } from "./pack.ts";

const FORMAT = "deepseek-ts-tokens";
const BUFFER_TOKENS = 1 << 18;
const INDEX = "index.json";

/** Content of `index.json`. */
export interface DatasetIndex {
  readonly format: typeof FORMAT;
  readonly version: 1;
  readonly dtype: "uint16" | "uint32";
  readonly vocabSize: number;
  readonly eosId: number;
  /** T of packed rows, or null for a stream. */
  readonly rowLength: number | null;
  /** Stored ids, padding included. */
  readonly tokens: number;
  readonly documents: number;
  readonly sourceBytes: number | null;
  readonly shards: readonly { readonly file: string; readonly tokens: number }[];
  /** What the builder wants to remember: tokenizer fingerprint, selection, seeds. */
  readonly note: unknown;
}

export interface BuildProgress {
  readonly documents: number;
  readonly tokens: number;
  readonly sourceBytes: number;
}

export interface BuildOptions {
  /** Full vocabulary, special tokens included. */
  readonly vocabSize: number;
  readonly eosId: number;
  /** Pack best-fit into rows of this many inputs; without it the tokens are stored as one stream. */
  readonly bestFitLength?: number;
  /** Ids per shard (default 2^26). */
  readonly shardTokens?: number;
  /** Anything JSON-able to keep in the index. */
  readonly note?: unknown;
  /** Called after every `progressEvery` documents (default 100) and at the end. */
  readonly onProgress?: (progress: BuildProgress) => void;
  readonly progressEvery?: number;
  readonly signal?: AbortSignal;
  /** Replace a dataset that is there and that `buildDataset` wrote; else `directory` must be new or empty. */
  readonly force?: boolean;
}

/**
 * Writes documents as a dataset to `directory` and returns the index. @throws ConfigError if something is there that
 * is not to be replaced, FormatError for ids outside the vocabulary, and the signal's reason if it is aborted.
 */
export async function buildDataset(
  directory: string,
  documents: AsyncIterable<TokenDocument> | Iterable<TokenDocument>,
  options: BuildOptions,
): Promise<DatasetIndex> {
  const { vocabSize, eosId, bestFitLength, shardTokens = 2 ** 26, progressEvery = 100 } = options;
  if (!Number.isInteger(vocabSize) || vocabSize < 1 || vocabSize > 0x7fffffff) {
    throw new ConfigError("must be an integer from 1 to 2^31 - 1", {
      where: "dataset.vocabSize",
      found: vocabSize,
    });
  }
  if (!Number.isInteger(shardTokens) || shardTokens < 1) {
    throw new ConfigError("must be a positive integer", { where: "dataset.shardTokens", found: shardTokens });
  }
  const sink = await nodeFolderSink(directory, { kind: "dataset", force: options.force });
  const writer = new ShardWriter(sink, vocabSize, shardTokens);
  let count = 0;
  let tokens = 0;
  let sourceBytes: number | null = 0;
  const report = () => options.onProgress?.({ documents: count, tokens, sourceBytes: sourceBytes ?? 0 });
  const counted = async function* (): AsyncGenerator<ArrayLike<number>> {
    for await (const document of documents) {
      options.signal?.throwIfAborted();
      for (let i = 0; i < document.ids.length; i++) checkedId(document.ids[i], vocabSize);
      yield document.ids;
      count++;
      tokens += document.ids.length;
      sourceBytes =
        sourceBytes === null || document.bytes === undefined ? null : sourceBytes + document.bytes;
      if (count % progressEvery === 0) report();
    }
  };
  try {
    if (bestFitLength === undefined) {
      for await (const ids of counted()) await writer.write(ids, ids.length);
    } else {
      for await (const row of packDocuments(counted(), { length: bestFitLength, mode: "best-fit" })) {
        await writer.write(row.tokens, row.length);
        await writer.pad(row.tokens.length - row.length);
      }
    }
    await writer.finish();
    const index: DatasetIndex = {
      format: FORMAT,
      version: 1,
      dtype: writer.dtype,
      vocabSize,
      eosId,
      rowLength: bestFitLength ?? null,
      tokens: writer.total,
      documents: count,
      sourceBytes,
      shards: writer.shards,
      note: options.note ?? null,
    };
    await writeWhole(await sink.file(INDEX), `${JSON.stringify(index, null, 2)}\n`);
    await sink.commit();
    report();
    return index;
  } catch (error) {
    await writer.abandon();
    await sink.abort();
    throw error;
  }
}

/** Opens a dataset written by `buildDataset`. @throws FormatError if it is missing, incomplete or damaged. */
export async function openDataset(directory: string): Promise<TokenDataset> {
  const index = await readIndex(directory);
  const size = index.dtype === "uint16" ? 2 : 4;
  let total = 0;
  const starts: number[] = [];
  for (const { file, tokens } of index.shards) {
    const found = await stat(join(directory, file)).catch(() => null);
    if (found?.size !== tokens * size) {
      throw new FormatError("a shard is missing or has the wrong size", {
        where: join(directory, file),
        expected: tokens * size,
        found: found?.size ?? "no file",
        hint: "Build the dataset again.",
      });
    }
    starts.push(total);
    total += tokens;
  }
  if (total !== index.tokens) {
    throw new FormatError("shard sizes do not add up to the index", {
      where: directory,
      expected: index.tokens,
      found: total,
    });
  }
  return new TokenDataset(shardStore(directory, index, starts), index);
}

/** Reads and checks `index.json` of a dataset folder. */
export async function readIndex(directory: string): Promise<DatasetIndex> {
  const path = join(directory, INDEX);
  let index: DatasetIndex;
  try {
    index = JSON.parse(await readFile(path, "utf8")) as DatasetIndex;
  } catch (cause) {
    throw new FormatError("no readable index; the dataset is incomplete", {
      where: path,
      hint: "Build the dataset again.",
      cause,
    });
  }
  if (index.format !== FORMAT || index.version !== 1 || !/^uint(16|32)$/.test(index.dtype)) {
    throw new FormatError("not a token dataset of this version", {
      where: path,
      expected: `${FORMAT} 1`,
      found: `${index.format} ${index.version} ${index.dtype}`,
    });
  }
  return index;
}

function shardStore(directory: string, index: DatasetIndex, starts: readonly number[]): TokenStore {
  const handles = new Map<number, Promise<FileHandle>>();
  const handleOf = (shard: number): Promise<FileHandle> => {
    let handle = handles.get(shard);
    if (!handle) handles.set(shard, (handle = openForReading(join(directory, index.shards[shard].file))));
    return handle;
  };
  return {
    tokenCount: index.tokens,
    async read(start, count, out, offset) {
      let shard = 0;
      while (shard + 1 < starts.length && starts[shard + 1] <= start) shard++;
      for (let done = 0; done < count; shard++) {
        const from = start + done - starts[shard];
        const part = Math.min(count - done, index.shards[shard].tokens - from);
        const ids = newTokenArray(index.vocabSize, part);
        const bytes = Buffer.from(ids.buffer);
        const handle = await handleOf(shard);
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, from * ids.BYTES_PER_ELEMENT);
        if (bytesRead !== bytes.length) {
          throw new FormatError("a shard ended early", {
            where: join(directory, index.shards[shard].file),
            expected: bytes.length,
            found: bytesRead,
          });
        }
        swapOnBigEndian(bytes, ids.BYTES_PER_ELEMENT);
        copyTokens(ids, out, offset + done);
        done += part;
      }
    },
    async close() {
      const opened = [...handles.values()];
      handles.clear();
      for (const handle of opened) await (await handle).close();
    },
  };
}

class ShardWriter {
  readonly shards: { file: string; tokens: number }[] = [];
  total = 0;
  readonly #folder: FolderSink;
  readonly #shardTokens: number;
  readonly #buffer: Uint16Array | Uint32Array;
  #used = 0;
  #inShard = 0;
  #shard: ByteSink | null = null;

  constructor(folder: FolderSink, vocabSize: number, shardTokens: number) {
    this.#folder = folder;
    this.#shardTokens = shardTokens;
    this.#buffer = newTokenArray(vocabSize, BUFFER_TOKENS);
  }

  get dtype(): "uint16" | "uint32" {
    return this.#buffer.BYTES_PER_ELEMENT === 2 ? "uint16" : "uint32";
  }

  async write(ids: ArrayLike<number>, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.#buffer[this.#used++] = ids[i];
      this.#inShard++;
      if (this.#inShard === this.#shardTokens) await this.#closeShard();
      else if (this.#used === BUFFER_TOKENS) await this.#flush();
    }
  }

  async pad(count: number): Promise<void> {
    if (count > 0) await this.write(new Array<number>(count).fill(paddingValue(this.#buffer)), count);
  }

  async finish(): Promise<void> {
    if (this.#inShard > 0) await this.#closeShard();
  }

  async abandon(): Promise<void> {
    await this.#shard?.abort();
    this.#shard = null;
  }

  #name(): string {
    return `tokens-${String(this.shards.length).padStart(5, "0")}.bin`;
  }

  async #flush(): Promise<void> {
    this.#shard ??= await this.#folder.file(this.#name());
    const bytes = Buffer.from(this.#buffer.buffer, 0, this.#used * this.#buffer.BYTES_PER_ELEMENT);
    swapOnBigEndian(bytes, this.#buffer.BYTES_PER_ELEMENT);
    await this.#shard.write(bytes);
    this.#used = 0;
  }

  async #closeShard(): Promise<void> {
    await this.#flush();
    await this.#shard!.commit();
    this.#shard = null;
    this.shards.push({ file: this.#name(), tokens: this.#inShard });
    this.total += this.#inShard;
    this.#inShard = 0;
  }
}

function swapOnBigEndian(bytes: Buffer, width: number): void {
  if (endianness() === "LE") return;
  if (width === 2) bytes.swap16();
  else bytes.swap32();
}
