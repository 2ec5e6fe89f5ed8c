/**
 * Writer of safetensors files. The header follows from the shapes alone, so data are streamed one tensor at a
 * time; order and header are those of the official library (dtypes from wide to narrow, then names), byte for byte.
 */
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { type ByteSink, writeExactly } from "./byte-source.ts";
import { elementCount } from "./safetensors.ts";
import { type SafetensorsDtype, safetensorsDtypes } from "./safetensors-dtype.ts";

/** A tensor to write; `data` is called once, in the order of the list. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Little-endian bytes, whole or in pieces of any length; a piece may be reused once the next is asked for. */
  readonly data: () => Promise<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Size of a tensor's data in bytes. @throws ShapeError for a bad shape or dtype. */
export function entryBytes(entry: Pick<SafetensorsEntry, "name" | "dtype" | "shape">): number {
  const count = elementCount(entry.shape);
  if (count === undefined || !Object.hasOwn(safetensorsDtypes, entry.dtype)) {
    throw new ShapeError("tensor cannot be stored as safetensors", {
      where: "writeSafetensors",
      name: entry.name,
      expected: "a known dtype and non-negative integer sizes",
      found: `${entry.dtype} [${entry.shape.join(", ")}]`,
    });
  }
  return count * safetensorsDtypes[entry.dtype];
}

/** An F32 entry over float arrays, whole or in pieces. */
export function f32Entry(
  name: string,
  shape: readonly number[],
  data: () => Promise<Float32Array> | AsyncIterable<Float32Array>,
): SafetensorsEntry {
  return {
    name,
    dtype: "F32",
    shape,
    data: async function* () {
      for await (const part of pieces(data())) {
        yield new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      }
    },
  };
}

/** A promised whole or a stream, as a stream. */
export async function* pieces<T>(data: Promise<T> | AsyncIterable<T>): AsyncGenerator<T> {
  if (Symbol.asyncIterator in data) yield* data;
  else yield await data;
}

const dtypeRank = Object.keys(safetensorsDtypes);

function headerOf(ordered: readonly SafetensorsEntry[], metadata: Record<string, string>): Uint8Array {
  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) header.push(["__metadata__", metadata]);
  let at = 0;
  for (const entry of ordered) {
    const end = at + entryBytes(entry);
    header.push([entry.name, { dtype: entry.dtype, shape: entry.shape, data_offsets: [at, end] }]);
    at = end;
  }
  // Assembled by hand: an object would move integer-like names to the front.
  const text = `{${header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const json = new TextEncoder().encode(text);
  const padded = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
  padded.set(json, 8);
  return padded;
}

/**
 * Writes a safetensors file and commits the sink; on any error aborts it, so that an earlier file stays. Returns
 * the file's size in bytes. @throws FormatError on duplicate names, ShapeError when data do not fill their shape.
 */
export async function writeSafetensors(
  sink: ByteSink,
  tensors: Iterable<SafetensorsEntry>,
  metadata: Record<string, string> = {},
): Promise<number> {
  try {
    const ordered = [...tensors].sort(
      (a, b) =>
        dtypeRank.indexOf(b.dtype) - dtypeRank.indexOf(a.dtype) ||
        (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
    );
    const seen = new Set<string>();
    for (const { name } of ordered) {
      if (seen.has(name) || name === "__metadata__" || name === "__proto__") {
        const message = seen.has(name) ? "duplicate tensor name" : "reserved tensor name";
        throw new FormatError(message, { where: sink.name, name });
      }
      seen.add(name);
    }
    for (const [key, value] of Object.entries(metadata)) {
      if (key === "__proto__" || typeof value !== "string") {
        throw new FormatError("metadata must be strings under ordinary keys", {
          where: sink.name,
          name: key,
        });
      }
    }
    const header = headerOf(ordered, metadata);
    await sink.write(header);
    let total = header.length;
    for (const entry of ordered) {
      const expected = entryBytes(entry);
      await writeExactly(sink, pieces(entry.data()), expected, entry.name);
      total += expected;
    }
    await sink.commit();
    return total;
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
