/**
 * Writer of GGUF files, version 3, little-endian. The header follows from types and shapes alone, so data are
 * streamed one tensor at a time. Left out: split files.
 */
import { FormatError, ShapeError } from "../../tensor/errors.ts";
import { type ByteSink, writeExactly } from "../byte-source.ts";
import { elementCount } from "../safetensors.ts";
import {
  type GgufArray,
  type GgufMetadata,
  type GgufValue,
  ggmlBytes,
  type StoredType,
  storedTypes,
  type ValueType,
  valueBytes,
  valueTypes,
} from "./types.ts";

/** A tensor to write; `data` is called once, in the order of the list. */
export interface GgufEntry {
  readonly name: string;
  /** Sizes in the order of checkpoints, rows last; the file holds them reversed. */
  readonly shape: readonly number[];
  readonly type: StoredType;
  /** Little-endian bytes in pieces of any length; a piece may be reused once the next is asked for. */
  readonly data: () => AsyncIterable<Uint8Array>;
}

const DEFAULT_ALIGNMENT = 32;

/** Bytes that grow by doubling. */
class Output {
  readonly #utf8 = new TextEncoder();
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  /** Room for `count` more bytes; returns where they begin. */
  #room(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  u32(value: number): void {
    // Making room may replace the view.
    const at = this.#room(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#room(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  text(text: string): void {
    const bytes = this.#utf8.encode(text);
    this.u64(bytes.length);
    this.bytes(bytes);
  }

  number(type: ValueType, value: number | bigint): void {
    const at = this.#room(valueBytes[type]);
    const view = this.#view;
    if (type === "u64") view.setBigUint64(at, BigInt(value), true);
    else if (type === "i64") view.setBigInt64(at, BigInt(value), true);
    else if (type === "f64") view.setFloat64(at, Number(value), true);
    else if (type === "f32") view.setFloat32(at, Number(value), true);
    else if (type === "i32") view.setInt32(at, Number(value), true);
    else if (type === "u32") view.setUint32(at, Number(value), true);
    else if (type === "i16") view.setInt16(at, Number(value), true);
    else if (type === "u16") view.setUint16(at, Number(value), true);
    else if (type === "i8") view.setInt8(at, Number(value));
    else view.setUint8(at, Number(value));
  }

  align(alignment: number): void {
    this.#room((alignment - (this.length % alignment)) % alignment);
  }

  done(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

const ranges: Partial<Record<ValueType, readonly [bigint, bigint]>> = {
  u8: [0n, 255n],
  i8: [-128n, 127n],
  u16: [0n, 65535n],
  i16: [-32768n, 32767n],
  u32: [0n, 4294967295n],
  i32: [-2147483648n, 2147483647n],
  u64: [0n, 2n ** 64n - 1n],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/** @throws FormatError if the type cannot hold the value. */
function checkNumber(where: string, name: string, type: ValueType, value: number | bigint): void {
  const range = ranges[type];
  if (!range) return;
  const exact = typeof value === "bigint" ? value : Number.isInteger(value) ? BigInt(value) : null;
  if (exact !== null && exact >= range[0] && exact <= range[1]) return;
  throw new FormatError(`not a ${type}`, {
    where,
    name,
    expected: `${range[0]} to ${range[1]}`,
    found: value,
  });
}

function writeArray(out: Output, { of, items }: GgufArray): void {
  out.u32(valueTypes.indexOf(of));
  out.u64(items.length);
  if (of === "string") for (const item of items as readonly string[]) out.text(item);
  else if (of === "array") for (const item of items as readonly GgufArray[]) writeArray(out, item);
  else {
    const packed = items as Uint8Array;
    out.bytes(new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength));
  }
}

function writeValue(out: Output, where: string, name: string, value: GgufValue): void {
  out.u32(valueTypes.indexOf(value.type));
  if (value.type === "array") writeArray(out, value);
  else if (value.type === "string") out.text(value.value);
  else if (value.type === "bool") out.number("bool", value.value ? 1 : 0);
  else {
    checkNumber(where, name, value.type, value.value);
    out.number(value.type, value.value);
  }
}

/** Size of a tensor's data in bytes. @throws ShapeError for sizes that its type cannot hold. */
export function ggufEntryBytes({ name, shape, type }: Pick<GgufEntry, "name" | "shape" | "type">): number {
  const count = elementCount(shape);
  const { values } = storedTypes[type];
  if (!count || shape.length < 1 || shape.length > 4 || shape[shape.length - 1] % values !== 0) {
    throw new ShapeError("tensor cannot be stored as GGUF", {
      where: "writeGguf",
      name,
      expected: `1 to 4 positive sizes, the last a multiple of ${values}`,
      found: `${type} [${shape.join(", ")}]`,
    });
  }
  return ggmlBytes(type, count);
}

function alignmentOf(where: string, metadata: GgufMetadata): number {
  const name = "general.alignment";
  const entry = metadata.get(name);
  if (!entry) return DEFAULT_ALIGNMENT;
  const value = entry.type === "u32" ? Number(entry.value) : 0;
  if (value >= 8 && (value & (value - 1)) === 0) return value;
  throw new FormatError("invalid alignment", {
    where,
    name,
    expected: "a u32 power of two from 8 on",
    found: value,
  });
}

function headerOf(
  where: string,
  metadata: GgufMetadata,
  tensors: readonly GgufEntry[],
  alignment: number,
): Uint8Array {
  const out = new Output();
  out.u32(0x46554747);
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.text(key);
    writeValue(out, where, key, value);
  }
  const seen = new Set<string>();
  let offset = 0;
  for (const { name, shape, type, ...rest } of tensors) {
    if (seen.has(name)) throw new FormatError("duplicate tensor name", { where, name });
    if (new TextEncoder().encode(name).length >= 64) {
      throw new FormatError("tensor name is too long", { where, name, expected: "at most 63 bytes" });
    }
    seen.add(name);
    const bytes = ggufEntryBytes({ name, shape, type, ...rest });
    out.text(name);
    out.u32(shape.length);
    for (const size of [...shape].reverse()) out.u64(size);
    out.u32(storedTypes[type].code);
    out.u64(offset);
    offset += Math.ceil(bytes / alignment) * alignment;
  }
  out.align(alignment);
  return out.done();
}

/**
 * Writes a GGUF file and commits the sink; on any error aborts it, so that an earlier file stays. Returns the file's
 * size in bytes. @throws FormatError on duplicate names and values outside their types, ShapeError when data do not
 * fill their shape.
 */
export async function writeGguf(
  sink: ByteSink,
  { metadata, tensors }: { readonly metadata: GgufMetadata; readonly tensors: readonly GgufEntry[] },
): Promise<number> {
  try {
    const alignment = alignmentOf(sink.name, metadata);
    const header = headerOf(sink.name, metadata, tensors, alignment);
    await sink.write(header);
    let total = header.length;
    for (const entry of tensors) {
      const expected = ggufEntryBytes(entry);
      await writeExactly(sink, entry.data(), expected, entry.name);
      const padding = (alignment - (expected % alignment)) % alignment;
      if (padding > 0) await sink.write(new Uint8Array(padding));
      total += expected + padding;
    }
    await sink.commit();
    return total;
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
