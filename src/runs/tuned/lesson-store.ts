/**
 * Tokenized rows of a run on disk: ids, which of them are learned, and of each row a hash that says on which side of the split
 * it is. Only lengths and hashes are held in memory.
 *
 *     data/  index.json  tokens.bin  lengths.bin  targets.bin  hashes.bin
 *
 * A token is a little-endian 32-bit number, its highest bit set where it is learned. A row has one lesson, or two: the preferred
 * answer with its prompt, and the other.
 */
import { stat } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { type ByteSink, writeWhole } from "../../files/sink.ts";
import { openForReading, readJsonFile } from "../../files/text-file.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import type { Lesson, LessonList } from "../../train/packed-rows.ts";

const FORMAT = "deepseek-ts lessons";
const LEARNED = 0x8000_0000;
/** Tokens that are written at once. */
const BUFFER = 1 << 18;
/** Most rows: each takes 20 bytes of memory. */
const MOST_ROWS = 1 << 26;

export interface LessonIndex {
  readonly format: typeof FORMAT;
  readonly version: 1;
  readonly rows: number;
  readonly lessonsPerRow: number;
  readonly tokens: number;
}

/** A row as it is stored. */
export interface LessonRow {
  readonly lessons: readonly Lesson[];
  /** In [0, 1), of its prompt. */
  readonly hash: number;
}

/** Learned tokens of a lesson after its first, which nothing predicts. */
export function learnedTargets({ learned }: Lesson): number {
  let count = 0;
  for (let i = 1; i < learned.length; i++) if (learned[i]) count++;
  return count;
}

/** A list of numbers that grows. */
class Column<A extends Uint32Array | Float64Array> {
  #values: A;
  #used = 0;

  constructor(empty: A) {
    this.#values = empty;
  }

  push(value: number): void {
    if (this.#used === this.#values.length) {
      const Type = this.#values.constructor as new (length: number) => A;
      const grown = new Type(Math.max(1024, 2 * this.#used));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#used++] = value;
  }

  get values(): A {
    return this.#values.subarray(0, this.#used) as A;
  }
}

function bytesOf(values: Uint32Array | Float64Array): Uint8Array {
  if (endianness() !== "LE") {
    throw new ConfigError("lessons are stored on machines of little-endian order only", { where: "lessons" });
  }
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Writes rows into a new folder, which appears when it is whole. @throws ConfigError, the signal's reason */
export async function writeLessons(
  folder: string,
  rows: AsyncIterable<LessonRow>,
  signal?: AbortSignal,
): Promise<LessonIndex> {
  const sink = await nodeFolderSink(folder, { kind: "dataset" });
  let file: ByteSink | null = null;
  try {
    file = await sink.file("tokens.bin");
    const buffer = new Uint32Array(BUFFER);
    let used = 0;
    let tokens = 0;
    let count = 0;
    let lessonsPerRow = 1;
    const lengths = new Column(new Uint32Array(0));
    const targets = new Column(new Uint32Array(0));
    const hashes = new Column(new Float64Array(0));
    for await (const { lessons, hash } of rows) {
      signal?.throwIfAborted();
      if (++count > MOST_ROWS) {
        throw new ConfigError("too many rows", { where: folder, expected: `at most ${MOST_ROWS}` });
      }
      lessonsPerRow = lessons.length;
      hashes.push(hash);
      for (const lesson of lessons) {
        const { ids, learned } = lesson;
        lengths.push(ids.length);
        targets.push(learnedTargets(lesson));
        tokens += ids.length;
        for (let i = 0; i < ids.length; i++) {
          buffer[used++] = learned[i] ? ids[i] + LEARNED : ids[i];
          if (used < BUFFER) continue;
          await file.write(bytesOf(buffer));
          used = 0;
        }
      }
    }
    await file.write(bytesOf(buffer.subarray(0, used)));
    await file.commit();
    file = null;
    const columns = { "lengths.bin": lengths, "targets.bin": targets, "hashes.bin": hashes };
    for (const [name, { values }] of Object.entries(columns))
      await writeWhole(await sink.file(name), bytesOf(values));
    const index = { format: FORMAT, version: 1, rows: count, lessonsPerRow, tokens } as const;
    await writeWhole(await sink.file("index.json"), `${JSON.stringify(index, null, 2)}\n`);
    await sink.commit();
    return index;
  } catch (error) {
    await file?.abort();
    await sink.abort();
    throw error;
  }
}

/** The rows of a run, by number. */
export class LessonStore implements AsyncDisposable {
  readonly rows: number;
  readonly lessonsPerRow: number;
  readonly lengths: Uint32Array;
  readonly targets: Uint32Array;
  readonly hashes: Float64Array;
  /** First token of each lesson. */
  readonly #starts: Float64Array;
  readonly #file: Awaited<ReturnType<typeof openForReading>>;
  readonly #path: string;

  private constructor(
    path: string,
    file: Awaited<ReturnType<typeof openForReading>>,
    { rows, lessonsPerRow }: LessonIndex,
    columns: Pick<LessonStore, "lengths" | "targets" | "hashes">,
  ) {
    this.#path = path;
    this.#file = file;
    this.rows = rows;
    this.lessonsPerRow = lessonsPerRow;
    this.lengths = columns.lengths;
    this.targets = columns.targets;
    this.hashes = columns.hashes;
    this.#starts = new Float64Array(columns.lengths.length);
    for (let i = 1; i < columns.lengths.length; i++)
      this.#starts[i] = this.#starts[i - 1] + columns.lengths[i - 1];
  }

  /** Opens what `writeLessons` wrote. @throws FormatError if a file is missing or of another size */
  static async open(folder: string): Promise<LessonStore> {
    const where = join(folder, "index.json");
    const index = (await readJsonFile(where)) as LessonIndex;
    const counts = [index.rows, index.lessonsPerRow, index.tokens];
    if (
      index.format !== FORMAT ||
      index.version !== 1 ||
      !counts.every((n) => Number.isSafeInteger(n) && n >= 0)
    ) {
      throw new FormatError("not lessons of this version", { where, expected: `${FORMAT} 1` });
    }
    const lessons = index.rows * index.lessonsPerRow;
    if (index.rows > MOST_ROWS || index.lessonsPerRow > 2) {
      throw new FormatError("damaged index", { where, found: `${index.rows} rows` });
    }
    const column = async (name: string, bytes: number): Promise<ArrayBuffer> => {
      const path = join(folder, name);
      const file = await openForReading(path);
      try {
        const { size } = await file.stat();
        if (size !== bytes) refuseSize(path, bytes, size);
        const values = new Uint8Array(bytes);
        for (let at = 0; at < bytes; ) {
          const { bytesRead } = await file.read(values, at, Math.min(bytes - at, 1 << 24), at);
          if (bytesRead === 0) refuseSize(path, bytes, at);
          at += bytesRead;
        }
        return values.buffer;
      } finally {
        await file.close();
      }
    };
    const columns = {
      lengths: new Uint32Array(await column("lengths.bin", 4 * lessons)),
      targets: new Uint32Array(await column("targets.bin", 4 * lessons)),
      hashes: new Float64Array(await column("hashes.bin", 8 * index.rows)),
    };
    const path = join(folder, "tokens.bin");
    const { size } = await stat(path);
    const total = columns.lengths.reduce((sum, length) => sum + length, 0);
    if (size !== 4 * total) refuseSize(path, 4 * total, size);
    return new LessonStore(path, await openForReading(path), index, columns);
  }

  /** A lesson by its number. @throws FormatError if the file was cut meanwhile */
  async read(index: number): Promise<Lesson> {
    const count = this.lengths[index];
    const words = new Uint32Array(count);
    const bytes = bytesOf(words);
    const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, 4 * this.#starts[index]);
    if (bytesRead !== bytes.length) refuseSize(this.#path, bytes.length, bytesRead);
    const ids = new Int32Array(count);
    const learned = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      learned[i] = words[i] >>> 31;
      ids[i] = words[i] & 0x7fff_ffff;
    }
    return { ids, learned };
  }

  /** Numbers of the rows that are held out, or of the others. */
  side(heldOut: boolean, below: number): number[] {
    const found: number[] = [];
    this.hashes.forEach((hash, row) => {
      if (hash < below === heldOut) found.push(row);
    });
    return found;
  }

  /** Lessons of some rows, of one lesson each. */
  list(rows: readonly number[]): LessonList {
    return {
      lengths: rows.map((row) => this.lengths[row]),
      targets: rows.map((row) => this.targets[row]),
      read: (index) => this.read(rows[index]),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

function refuseSize(where: string, expected: number, found: number): never {
  throw new FormatError("lessons are damaged", {
    ...{ where, expected: `${expected} bytes`, found },
    hint: "Begin a new run.",
  });
}
