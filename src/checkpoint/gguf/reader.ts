/**
 * Reader of GGUF files, versions 2 and 3, little-endian (ggml's docs/gguf.md). The header is read in bounded pieces
 * and every count, length and offset in it is checked before anything is allocated for it, so that a damaged or
 * hostile file costs at most a small multiple of its own size. Tensors stay in the file until asked for; decoding
 * them is in blocks.ts. Left out: version 1, big-endian files.
 */
import { FormatError } from "../../tensor/errors.ts";
import { type ByteSource, checkRange, type FileTree, readExactly } from "../byte-source.ts";
import { dequantize } from "./blocks.ts";
import { HeaderCursor } from "./header-cursor.ts";
import { ROPE_FACTORS } from "./names.ts";
import {
  type GgufMetadata,
  type GgufValue,
  ggmlBytes,
  MOST_VALUES_PER_BYTE,
  type StoredType,
  storedTypeOf,
  storedTypes,
} from "./types.ts";

export interface GgufTensor {
  readonly name: string;
  /** One of `ggmlTypes`, or one whose values are not read. */
  readonly type: StoredType;
  /** Sizes in the file's order: `ne[0]` is the length of a row. */
  readonly ne: readonly number[];
  /** Sizes in the order of checkpoints, rows last: `ne` reversed. */
  readonly shape: readonly number[];
  /** Bytes of one row. */
  readonly rowBytes: number;
  readonly bytes: number;
  readonly source: ByteSource;
  /** Absolute offset in `source`. */
  readonly begin: number;
}

export interface GgufFile {
  readonly name: string;
  readonly version: number;
  /** Of a split file, the first part's. */
  readonly metadata: GgufMetadata;
  /** In the files' order. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Values of `rope_freqs.weight`, a setting in the form of a tensor; null if there is none. */
  readonly ropeFactors: Float32Array | null;
  /** The tensor `name`; FormatError when there is none. */
  tensor(name: string): GgufTensor;
  /**
   * `length` bytes of a tensor from byte `offset` within it; they may be the start of `into`, as in `ByteSource.read`.
   * @throws ShapeError if outside, FormatError when the file has become shorter
   */
  read(tensor: GgufTensor, offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

const MAGIC = 0x46554747;
const MAX_DIMENSIONS = 4;
const MAX_TENSOR_NAME = 64;
/** Many times what the largest models have; each costs many times its bytes. */
const MAX_TENSORS = 1 << 18;
const MAX_PAIRS = 1 << 16;
/** Name, number of dimensions, one dimension, type and offset of a tensor, at the least. */
const SHORTEST_INFO = 8 + 4 + 8 + 4 + 8;
/** Key, type and value of one byte, at the least. */
const SHORTEST_PAIR = 8 + 4 + 1;

interface Part {
  readonly source: ByteSource;
  readonly version: number;
  readonly metadata: GgufMetadata;
  readonly tensors: readonly GgufTensor[];
}

async function readMagic(cursor: HeaderCursor): Promise<number> {
  const { where, size } = cursor;
  const fail = (message: string, expected: unknown, found: unknown, hint?: string): never => {
    throw new FormatError(message, { where, expected, found, hint });
  };
  if (size < 24) fail("file is too short for GGUF", "at least 24 bytes", size);
  const magic = await cursor.u32();
  if (magic !== MAGIC) {
    const letters = [0, 8, 16, 24].map((shift) => String.fromCharCode((magic >>> shift) & 0xff)).join("");
    const hint =
      letters === "vers" ? "This is a Git LFS pointer; run `git lfs pull` or download again" : undefined;
    fail("not a GGUF file", '"GGUF"', JSON.stringify(letters), hint);
  }
  const version = await cursor.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version >= 0x01000000 && version % 0x01000000 === 0;
    fail(swapped ? "big-endian GGUF is not supported" : "GGUF version", "2 or 3", version);
  }
  return version;
}

async function readMetadata(cursor: HeaderCursor, count: number): Promise<Map<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = await cursor.text(`key ${i}`, 65535);
    if (key === "" || metadata.has(key)) {
      throw new FormatError(key === "" ? "empty metadata key" : "metadata key occurs twice", {
        where: cursor.where,
        name: key === "" ? `key ${i}` : key,
      });
    }
    metadata.set(key, await cursor.value(key));
  }
  return metadata;
}

/** `general.alignment`, 32 if missing. */
function alignmentOf(where: string, metadata: GgufMetadata): number {
  const name = "general.alignment";
  const entry = metadata.get(name);
  if (entry === undefined) return 32;
  const value = entry.type === "u32" ? (entry.value as number) : 0;
  if (value < 1 || value > 2 ** 30 || (value & (value - 1)) !== 0) {
    const found = entry.type === "u32" ? value : entry.type;
    throw new FormatError("invalid alignment", {
      where,
      name,
      expected: "a u32 that is a power of two",
      found,
    });
  }
  return value;
}

type Info = Omit<GgufTensor, "begin" | "source"> & { readonly offset: number };

async function readInfo(cursor: HeaderCursor, index: number, alignment: number): Promise<Info> {
  const { where, size } = cursor;
  const name = await cursor.text(`name of tensor ${index}`, MAX_TENSOR_NAME);
  const fail = (message: string, expected: unknown, found: unknown): never => {
    throw new FormatError(message, { where, name, expected, found });
  };
  const dimensions = await cursor.u32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    fail("number of dimensions", `1 to ${MAX_DIMENSIONS}`, dimensions);
  }
  const most = MOST_VALUES_PER_BYTE * size;
  const ne: number[] = [];
  let count = 1;
  for (let d = 0; d < dimensions; d++) {
    const n = await cursor.u64();
    if (n < 1n || n > BigInt(most)) fail("size of a dimension", `1 to ${most}`, n);
    ne.push(Number(n));
    count *= Number(n);
    if (count > most) fail("tensor is larger than the file", `at most ${most} values`, count);
  }
  const type = storedTypeOf(where, name, await cursor.u32());
  const { values } = storedTypes[type];
  if (ne[0] % values !== 0) fail(`row length of ${type}`, `a multiple of ${values}`, ne[0]);
  const offset = await cursor.u64();
  if (offset > BigInt(size) || offset % BigInt(alignment) !== 0n) {
    fail("data offset", `a multiple of ${alignment} within ${size}`, offset);
  }
  const bytes = ggmlBytes(type, count);
  const shape = [...ne].reverse();
  return { name, type, ne, shape, rowBytes: ggmlBytes(type, ne[0]), bytes, offset: Number(offset) };
}

/** @throws FormatError unless the tensors lie one after another, each at the next aligned offset, inside the file. */
function checkLayout(
  where: string,
  infos: readonly Info[],
  data: number,
  size: number,
  alignment: number,
): void {
  let at = 0;
  for (const { name, offset, bytes } of [...infos].sort((a, b) => a.offset - b.offset)) {
    const expected = Math.ceil(at / alignment) * alignment;
    if (offset !== expected) {
      const message = offset < expected ? "tensors overlap" : "hole between tensors";
      throw new FormatError(message, { where, name, expected: `offset ${expected}`, found: offset });
    }
    at = offset + bytes;
    if (data + at > size) {
      throw new FormatError("tensor reaches beyond the file, which is truncated or damaged", {
        where,
        name,
        expected: `at most ${size} bytes`,
        found: data + at,
      });
    }
  }
}

async function readPart(source: ByteSource): Promise<Part> {
  const where = source.name;
  const cursor = new HeaderCursor(source);
  const version = await readMagic(cursor);
  const tensorCount = cursor.checkCount("tensor count", await cursor.u64(), SHORTEST_INFO, MAX_TENSORS);
  const pairCount = cursor.checkCount("key-value count", await cursor.u64(), SHORTEST_PAIR, MAX_PAIRS);
  const metadata = await readMetadata(cursor, pairCount);
  const alignment = alignmentOf(where, metadata);
  const infos: Info[] = [];
  const seen = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const info = await readInfo(cursor, i, alignment);
    if (seen.has(info.name)) throw new FormatError("tensor occurs twice", { where, name: info.name });
    seen.add(info.name);
    infos.push(info);
  }
  const data = Math.ceil(cursor.position / alignment) * alignment;
  checkLayout(where, infos, data, source.size, alignment);
  const tensors = infos.map(({ offset, ...info }) => ({ ...info, source, begin: data + offset }));
  return { source, version, metadata, tensors };
}

/** Rotated channels of a head that are believed, in pairs. */
const MAX_ROPE_FACTORS = 1 << 16;

/** The factors of rotary frequencies among the tensors. @throws FormatError for what can be no factors */
async function readRopeFactors(tensors: ReadonlyMap<string, GgufTensor>): Promise<Float32Array | null> {
  const tensor = tensors.get(ROPE_FACTORS);
  if (!tensor) return null;
  const { name, source, type, ne, begin, bytes } = tensor;
  const fail = (expected: unknown, found: unknown): never => {
    throw new FormatError("rotary factors", { where: source.name, name, expected, found });
  };
  if (type !== "F32" || ne.length !== 1 || ne[0] > MAX_ROPE_FACTORS) {
    fail(`F32 [at most ${MAX_ROPE_FACTORS}]`, `${type} [${ne}]`);
  }
  const values = dequantize("F32", await readExactly(source, begin, bytes, undefined, name));
  const wrong = values.find((value) => !(value > 0 && Number.isFinite(value)));
  return wrong === undefined ? values : fail("numbers above 0", wrong);
}

async function makeFile(name: string, parts: readonly Part[]): Promise<GgufFile> {
  const tensors = new Map<string, GgufTensor>();
  for (const part of parts) {
    for (const tensor of part.tensors) {
      if (tensors.has(tensor.name)) {
        throw new FormatError("tensor is in two parts", { where: part.source.name, name: tensor.name });
      }
      tensors.set(tensor.name, tensor);
    }
  }
  return {
    name,
    version: parts[0].version,
    metadata: parts[0].metadata,
    tensors,
    ropeFactors: await readRopeFactors(tensors),
    tensor(wanted) {
      const tensor = tensors.get(wanted);
      if (tensor) return tensor;
      throw new FormatError("no such tensor in the file", {
        where: name,
        name: wanted,
        found: `${tensors.size} others`,
      });
    },
    async read({ name: tensor, source, begin, bytes }, offset, length, into) {
      checkRange(`${source.name}: ${tensor}`, bytes, offset, length);
      return readExactly(source, begin + offset, length, into, tensor);
    },
    async close() {
      for (const { source } of parts) await source.close?.();
    },
  };
}

function splitNumber({ source, metadata }: Part, key: string): number | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  const value = entry.type === "array" ? undefined : entry.value;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  throw new FormatError("invalid split metadata", {
    where: source.name,
    name: key,
    expected: "an integer",
    found: value,
  });
}

/**
 * Opens a GGUF file: reads and checks its header, and of the data only the factors of rotary frequencies. @throws FormatError (file, key or tensor, expected, found)
 * on anything the format forbids; a part of a split file is refused, `openGgufFiles` opens all of them.
 */
export async function openGguf(source: ByteSource): Promise<GgufFile> {
  const part = await readPart(source);
  const count = splitNumber(part, "split.count") ?? 1;
  if (count > 1) {
    throw new FormatError("this is one part of a split file", {
      where: source.name,
      name: "split.count",
      expected: 1,
      found: count,
      hint: "Open the first part with openGgufFiles, which finds the others in its folder",
    });
  }
  return makeFile(source.name, [part]);
}

const PART_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/**
 * Opens `path` of a folder, with all its other parts if it is the first of a split file
 * (`name-00001-of-00003.gguf`). @throws FormatError also if parts are missing or do not belong together.
 */
export async function openGgufFiles(tree: FileTree, path: string): Promise<GgufFile> {
  const sources: ByteSource[] = [];
  const parts: Part[] = [];
  const open = async (name: string) => {
    if (!(await tree.has(name))) throw new FormatError("file not found", { where: tree.name, name });
    const source = await tree.open(name);
    sources.push(source);
    const part = await readPart(source);
    parts.push(part);
    return part;
  };
  try {
    const first = await open(path);
    const count = splitNumber(first, "split.count") ?? 1;
    if (count > 1) {
      const [, base, number, total] = PART_NAME.exec(path) ?? [];
      if (base === undefined || Number(number) !== 1 || Number(total) !== count) {
        throw new FormatError("not the first part of a split file by its name", {
          where: tree.name,
          name: path,
          expected: `NAME-00001-of-${String(count).padStart(5, "0")}.gguf`,
          found: path,
        });
      }
      for (let i = 2; i <= count; i++) await open(`${base}-${String(i).padStart(5, "0")}-of-${total}.gguf`);
      checkParts(parts, count);
    }
    return await makeFile(`${tree.name}/${path}`, parts);
  } catch (error) {
    for (const source of sources) await source.close?.();
    throw error;
  }
}

function checkParts(parts: readonly Part[], count: number): void {
  let tensors = 0;
  parts.forEach((part, i) => {
    tensors += part.tensors.length;
    const values = { "split.count": count, "split.no": i };
    for (const [name, expected] of Object.entries(values)) {
      const found = splitNumber(part, name);
      if (found !== expected) {
        throw new FormatError("parts of a split file do not belong together", {
          where: part.source.name,
          name,
          expected,
          found,
        });
      }
    }
  });
  const expected = splitNumber(parts[0], "split.tensors.count");
  if (expected !== null && expected !== tensors) {
    const where = parts[0].source.name;
    throw new FormatError("tensors in all parts", {
      where,
      name: "split.tensors.count",
      expected,
      found: tensors,
    });
  }
}
