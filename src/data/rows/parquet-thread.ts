/**
 * The thread that decodes a Parquet file, rows a few at a time as JSON texts. A damaged or hostile file can make its decoder
 * repeat values without end: the thread's heap is limited, and it can be ended at once. See `parquet.ts`.
 */
import type { FileHandle } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import * as zlib from "node:zlib";
import {
  type AsyncBuffer,
  type Compressors,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  snappyUncompress,
} from "hyparquet";
import { openForReading } from "../../files/text-file.ts";
import { type FromParquet, PART_ROWS, type ParquetTask } from "./parquet-protocol.ts";

const port = parentPort!;
const send = (message: FromParquet) => port.postMessage(message);

/** What a file says that makes it unreadable here, in the words of an error. */
class Refusal extends Error {
  readonly expected: string;
  readonly found: unknown;

  constructor(message: string, expected: string, found: unknown) {
    super(message);
    this.expected = expected;
    this.found = found;
  }
}

function compressorsOf(mostBytes: number): Compressors {
  const bounded =
    (decompress: (input: Uint8Array, size: number) => Uint8Array) => (input: Uint8Array, size: number) => {
      if (!(size >= 0 && size <= mostBytes)) {
        throw new Refusal("a page is too large", `at most ${mostBytes} bytes`, size);
      }
      return decompress(input, size);
    };
  const node = (name: "gunzipSync" | "brotliDecompressSync" | "zstdDecompressSync") =>
    bounded((input, size) => {
      const decompress = (zlib as unknown as Partial<Record<string, typeof zlib.gunzipSync>>)[name];
      if (decompress === undefined) {
        throw new Refusal(
          "compressed with zstd, which this Node does not know",
          "Node 22.15 or later",
          process.version,
        );
      }
      return decompress(input, { maxOutputLength: Math.max(1, size) });
    });
  return {
    SNAPPY: bounded((input, size) => {
      const output = new Uint8Array(size);
      snappyUncompress(input, output);
      return output;
    }),
    GZIP: node("gunzipSync"),
    BROTLI: node("brotliDecompressSync"),
    ZSTD: node("zstdDecompressSync"),
  };
}

/** Values that JSON lacks, as other readers of the field write them. */
function plain(_: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
      ? Number(value)
      : String(value);
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value;
}

async function read({ path, limits }: ParquetTask): Promise<void> {
  const handle = await openForReading(path);
  try {
    await readRows(handle, limits);
  } finally {
    // Left to the garbage collector it would end the thread with an error that says nothing of the file.
    await handle.close();
  }
}

async function readRows(handle: FileHandle, limits: ParquetTask["limits"]): Promise<void> {
  const { size } = await handle.stat();
  const file: AsyncBuffer = {
    byteLength: size,
    async slice(start, end = size) {
      const length = Math.min(end, size) - start;
      if (!(start >= 0 && length >= 0 && length <= limits.groupBytes)) {
        throw new Refusal(
          "a part lies outside the file or is too large",
          `at most ${limits.groupBytes} bytes`,
          length,
        );
      }
      const bytes = new Uint8Array(length);
      const { bytesRead } = await handle.read(bytes, 0, length, start);
      if (bytesRead !== length) throw new Refusal("the file ended early", `${length} bytes`, bytesRead);
      return bytes.buffer;
    },
  };
  if (size < 12) throw new Refusal("not a Parquet file", "12 bytes or more", size);
  const metadata = await parquetMetadataAsync(file, { geoparquet: false });
  const columns = parquetSchema(metadata).children.map((child) => child.element.name);
  send({ type: "opened", columns, rows: Number(metadata.num_rows) });
  const compressors = compressorsOf(limits.groupBytes);
  let number = 0;
  let begin = 0;
  for (const group of metadata.row_groups) {
    const rows = Number(group.num_rows);
    const bytes = Number(group.total_byte_size);
    if (!(rows >= 0 && bytes >= 0 && bytes <= limits.groupBytes)) {
      throw new Refusal("a row group is too large", `at most ${limits.groupBytes} bytes`, bytes);
    }
    const objects = await parquetReadObjects({
      file,
      metadata,
      compressors,
      rowStart: begin,
      rowEnd: begin + rows,
    });
    begin += rows;
    if (objects.length !== rows) throw new Refusal("a row group lacks rows", String(rows), objects.length);
    for (let at = 0; at < rows; at += PART_ROWS) {
      const texts = objects.slice(at, at + PART_ROWS).map((row) => {
        const text = JSON.stringify(row, plain);
        number++;
        if (text.length <= limits.rowBytes) return text;
        throw new Refusal(`row ${number} is too long`, `at most ${limits.rowBytes} characters`, text.length);
      });
      send({ type: "rows", texts });
      // One part ahead of the reader at most.
      await new Promise<void>((resolve) => port.once("message", () => resolve()));
    }
  }
}

try {
  await read(workerData as ParquetTask);
  send({ type: "ended" });
} catch (error) {
  const { message } = error as Error;
  const detail = error instanceof Refusal ? { expected: error.expected, found: String(error.found) } : {};
  send({ type: "failed", message, ...detail });
}
port.close();
