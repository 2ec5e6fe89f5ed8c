/**
 * Reader of safetensors files (https://github.com/huggingface/safetensors, "Format"): an 8-byte little-endian
 * header length, a JSON header, then the tensors' bytes without holes. Every rule of the format is checked before
 * a byte of data is read, and nothing is allocated that the file's size does not cover. Data stays in the file
 * until asked for. Of tensors whose dtype is not known here, sub-byte ones among them, only that is taken on trust how
 * many bytes their shape needs. The writer is in safetensors-writer.ts.
 */
import { FormatError } from "../tensor/errors.ts";
import { type ByteSource, checkRange, decodeUtf8, readExactly } from "./byte-source.ts";
import { isKnownDtype, safetensorsDtypes } from "./safetensors-dtype.ts";
import { excerpt, isObject, parseJsonObject } from "./strict-json.ts";
import type { TensorFile, TensorInfo } from "./tensor-file.ts";

/** A tensor and its place in a safetensors file. */
export interface SafetensorsTensor extends TensorInfo {
  /** Absolute byte offset in the file. */
  readonly begin: number;
  /** Absolute byte offset of the first byte after the tensor. */
  readonly end: number;
}

export interface SafetensorsFile extends TensorFile {
  /** In the header's order, names that look like integers first. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
}

const MAX_HEADER = 100_000_000;
/** What a dtype may be called: others would be no name of one. */
const DTYPE_NAME = /^[A-Z][A-Z0-9_]{0,31}$/;

/** The error for a file of torch.save where safetensors was expected. */
function torchError(where: string, found: string): FormatError {
  return new FormatError("this is a file of torch.save, not safetensors", {
    where,
    expected: "safetensors",
    found,
    hint: "Open it with openPytorch, or name it pytorch_model.bin in its folder",
  });
}

/** Names what a file that is not a safetensors file looks like; undefined when unknown. */
function refuseKnownFormat(where: string, start: Uint8Array): void {
  const text = String.fromCharCode(...start);
  if (text.startsWith("PK")) throw torchError(where, "a ZIP archive");
  if (start[0] === 0x80 && start[1] >= 2 && start[1] <= 5) throw torchError(where, "a pickle");
  if (text.startsWith("version ")) {
    throw new FormatError("this is a Git LFS pointer, not the file itself", {
      where,
      hint: "Run `git lfs pull` in the repository, or download the file again",
    });
  }
}

/** Number of elements of `shape`, or undefined when it is not an array of sizes with a safe product. */
export function elementCount(shape: unknown): number | undefined {
  if (!Array.isArray(shape)) return undefined;
  let count = 1;
  let empty = false;
  for (const size of shape as unknown[]) {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0 || Object.is(size, -0)) {
      return undefined;
    }
    if (size === 0) empty = true;
    else count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return empty ? 0 : count;
}

function parseEntry(
  where: string,
  name: string,
  entry: unknown,
  data: number,
  size: number,
): SafetensorsTensor {
  const fail = (message: string, expected: unknown, found: unknown): never => {
    throw new FormatError(message, { where, name, expected, found });
  };
  if (!isObject(entry)) return fail("tensor entry is not an object", "object", excerpt(entry));
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !DTYPE_NAME.test(dtype)) {
    return fail("invalid dtype", "such as F32", excerpt(dtype));
  }
  const count = elementCount(shape);
  if (count === undefined) {
    return fail("invalid shape", "non-negative integers with a product below 2^53", excerpt(shape));
  }
  const range = Array.isArray(offsets) && offsets.length === 2 ? offsets : [];
  if (
    range.length !== 2 ||
    elementCount([range[0]]) === undefined ||
    elementCount([range[1]]) === undefined
  ) {
    return fail("invalid data_offsets", "two non-negative integers", excerpt(offsets));
  }
  const [begin, end] = range as [number, number];
  if (begin > end) fail("data_offsets end before they begin", "begin <= end", excerpt(offsets));
  if (end > size - data) {
    fail("tensor reaches beyond the file, which is truncated or damaged", `end <= ${size - data}`, end);
  }
  if (isKnownDtype(dtype) && end - begin !== count * safetensorsDtypes[dtype]) {
    const expected = count * safetensorsDtypes[dtype];
    fail(`data size does not match ${dtype} ${excerpt(shape)}`, expected, end - begin);
  }
  return {
    name,
    dtype,
    shape: shape as number[],
    begin: data + begin,
    end: data + end,
    bytes: end - begin,
  };
}

function parseMetadata(where: string, value: unknown): Record<string, string> {
  const name = "__metadata__";
  if (!isObject(value)) {
    throw new FormatError("metadata is not an object", { where, name, found: excerpt(value) });
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new FormatError("metadata value is not a string", {
        where,
        name: `${name}.${key}`,
        expected: "string",
        found: excerpt(text),
      });
    }
  }
  return value as Record<string, string>;
}

/** @throws FormatError if tensors overlap or leave bytes between or after them. */
function checkLayout(where: string, tensors: Iterable<SafetensorsTensor>, data: number, size: number): void {
  const ordered = [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = data;
  for (const { name, begin, end } of ordered) {
    if (begin !== at) {
      throw new FormatError(begin < at ? "tensors overlap" : "hole between tensors", {
        where,
        name,
        expected: `begin at byte ${at}`,
        found: begin,
      });
    }
    at = end;
  }
  if (at !== size) {
    throw new FormatError("bytes after the last tensor", { where, expected: `${at} bytes`, found: size });
  }
}

/** Reads the length prefix and gives the header's text and where the data begin. */
async function readHeader(source: ByteSource): Promise<{ text: string; data: number }> {
  const where = source.name;
  const start = await readExactly(source, 0, Math.min(9, source.size));
  // A pickle's magic is also a possible header length, so the format is only guessed at once the file is wrong.
  if (source.size < 10) {
    refuseKnownFormat(where, start);
    throw new FormatError("file is too short", { where, expected: "at least 10 bytes", found: source.size });
  }
  const length = Number(new DataView(start.buffer, start.byteOffset).getBigUint64(0, true));
  if (length < 2 || length > source.size - 8) {
    refuseKnownFormat(where, start);
    throw new FormatError("header length does not fit the file, which is truncated or not safetensors", {
      where,
      expected: `2 to ${source.size - 8}`,
      found: length,
    });
  }
  if (length > MAX_HEADER) {
    throw new FormatError("header is too long", { where, expected: `at most ${MAX_HEADER}`, found: length });
  }
  if (start[8] !== 0x7b) {
    refuseKnownFormat(where, start);
    throw new FormatError("header does not begin with '{'", { where, expected: 0x7b, found: start[8] });
  }
  return { text: decodeUtf8(where, await readExactly(source, 8, length)), data: 8 + length };
}

/**
 * Opens a safetensors file: reads and checks its header, no data. @throws FormatError (file, tensor, expected,
 * found) on anything the format forbids, and on files of torch.save.
 */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const where = source.name;
  const { text, data } = await readHeader(source);
  const header = parseJsonObject(text, where);
  let metadata: Record<string, string> = {};
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") metadata = parseMetadata(where, entry);
    else tensors.set(name, parseEntry(where, name, entry, data, source.size));
  }
  checkLayout(where, tensors.values(), data, source.size);

  const find = (name: string): SafetensorsTensor => {
    const info = tensors.get(name);
    if (!info)
      throw new FormatError("no such tensor", { where, name, found: `${tensors.size} other tensors` });
    return info;
  };
  return {
    source,
    metadata,
    tensors,
    read: async (name) => {
      const info = find(name);
      return readExactly(source, info.begin, info.bytes, undefined, name);
    },
    readRange: async (name, byteOffset, byteLength, into) => {
      const info = find(name);
      checkRange(`${where}: ${name}`, info.bytes, byteOffset, byteLength);
      return readExactly(source, info.begin + byteOffset, byteLength, into, name);
    },
  };
}
