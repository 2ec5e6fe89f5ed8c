/**
 * Where checkpoint bytes come from and go to: random-access sources, sequential sinks, and folders of both,
 * with adapters for memory and for browser Blobs. Node files are in node-files.ts, so that this file also runs
 * in a browser.
 */
import { type ByteSink, checkInnerPath, type FolderSink } from "../files/sink.ts";
import { FormatError, ShapeError } from "../tensor/errors.ts";

export { type ByteSink, checkInnerPath, type FolderSink } from "../files/sink.ts";

/** A file of known size that can be read at any offset. */
export interface ByteSource {
  /** Name shown in errors; its extension is looked at. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /**
   * Reads exactly `length` bytes at `offset` into memory that the caller owns; it may be the start of `into`, which
   * spares new memory if large files are read piece by piece.
   */
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  close?(): Promise<void>;
}

/** A checkpoint folder to read; paths are relative, with `/`. */
export interface FileTree {
  readonly name: string;
  has(path: string): Promise<boolean>;
  open(path: string): Promise<ByteSource>;
  /** The file as UTF-8 text. */
  readText(path: string): Promise<string>;
  /** Names of the files directly in the folder, sorted. */
  list(): Promise<string[]>;
}

/** @throws ShapeError unless [offset, offset + length) lies within `size` bytes. */
export function checkRange(where: string, size: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset > size - length) {
    throw new ShapeError("byte range outside the data", {
      where,
      expected: `within 0 and ${size}`,
      found: `offset ${offset}, length ${length}`,
    });
  }
}

/** Writes `pieces` as the data of tensor `name`. @throws ShapeError unless they are `expected` bytes */
export async function writeExactly(
  sink: ByteSink,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  expected: number,
  name: string,
): Promise<void> {
  let found = 0;
  for await (const piece of pieces) {
    found += piece.byteLength;
    if (found > expected) break;
    await sink.write(piece);
  }
  if (found !== expected) {
    throw new ShapeError("tensor data do not fill the shape", {
      where: sink.name,
      name,
      expected: `${expected} bytes`,
      found: found > expected ? `${found} or more` : found,
    });
  }
}

/** Reads from `source`. @throws FormatError, naming tensor `name`, if it gives fewer or more bytes than asked */
export async function readExactly(
  source: ByteSource,
  offset: number,
  length: number,
  into?: Uint8Array,
  name?: string,
): Promise<Uint8Array> {
  checkRange(source.name, source.size, offset, length);
  const bytes = await source.read(offset, length, into);
  if (bytes.byteLength !== length) {
    throw new FormatError(`short read at byte ${offset}; the file changed or is truncated`, {
      where: source.name,
      ...(name === undefined ? {} : { name }),
      expected: length,
      found: bytes.byteLength,
    });
  }
  return bytes;
}

/** Longest text file of a checkpoint; tokenizers and indexes of the largest models take a tenth of it. */
const MOST_TEXT = 1 << 28;

/** Refuses a text file too long to be one of a checkpoint. @throws FormatError */
export function checkTextSize(where: string, name: string, size: number): void {
  if (size <= MOST_TEXT) return;
  throw new FormatError("a text file of a checkpoint is too long", {
    where,
    name,
    expected: `at most ${MOST_TEXT} bytes`,
    found: size,
  });
}

/** Decodes UTF-8 strictly. @throws FormatError on invalid bytes. */
export function decodeUtf8(where: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError("text is not valid UTF-8", { where, cause });
  }
}

/** A source over bytes in memory; reads copy. */
export function bytesSource(bytes: Uint8Array, name = "memory"): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange(name, bytes.byteLength, offset, length);
      // A Node Buffer's own slice would share memory.
      return Uint8Array.prototype.slice.call(bytes, offset, offset + length);
    },
  };
}

/** A source over a browser Blob or File, read slice by slice. */
export function blobSource(blob: Blob, name?: string): ByteSource {
  const shown = name ?? ("name" in blob && typeof blob.name === "string" ? blob.name : "blob");
  return {
    name: shown,
    size: blob.size,
    async read(offset, length) {
      checkRange(shown, blob.size, offset, length);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
  };
}

/** A sink that hands the whole file to `onCommit`. */
export function memorySink(name: string, onCommit: (bytes: Uint8Array) => void): ByteSink {
  let parts: Uint8Array[] = [];
  return {
    name,
    async write(bytes) {
      parts.push(bytes.slice());
    },
    async commit() {
      const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      parts = [];
      onCommit(whole);
    },
    async abort() {
      parts = [];
    },
  };
}

/** A folder over files in memory, for browsers and tests. */
export function memoryFolder(files: ReadonlyMap<string, Uint8Array>, name = "memory"): FileTree {
  const get = (path: string) => {
    checkInnerPath(name, path);
    const bytes = files.get(path);
    if (!bytes) throw new FormatError("file not found", { where: name, name: path });
    return bytes;
  };
  return {
    name,
    has: async (path) => files.has(path),
    open: async (path) => bytesSource(get(path), `${name}/${path}`),
    readText: async (path) => decodeUtf8(`${name}/${path}`, get(path)),
    list: async () => [...files.keys()].filter((path) => !path.includes("/")).sort(),
  };
}

/** A folder over Blobs or Files, such as those that a page was given or keeps: read slice by slice. */
export function blobFolder(files: ReadonlyMap<string, Blob>, name: string): FileTree {
  const get = (path: string) => {
    checkInnerPath(name, path);
    const blob = files.get(path);
    if (!blob) throw new FormatError("file not found", { where: name, name: path });
    return blob;
  };
  return {
    name,
    has: async (path) => files.has(path),
    open: async (path) => blobSource(get(path), `${name}/${path}`),
    async readText(path) {
      const blob = get(path);
      checkTextSize(name, path, blob.size);
      return decodeUtf8(`${name}/${path}`, new Uint8Array(await blob.arrayBuffer()));
    },
    list: async () => [...files.keys()].filter((path) => !path.includes("/")).sort(),
  };
}

/** A folder sink over a map; `commit` replaces everything in the map. */
export function memoryFolderSink(files: Map<string, Uint8Array>, name = "memory"): FolderSink {
  const staged = new Map<string, Uint8Array>();
  return {
    name,
    async file(path) {
      checkInnerPath(name, path);
      return memorySink(`${name}/${path}`, (bytes) => staged.set(path, bytes));
    },
    async commit() {
      files.clear();
      for (const [path, bytes] of staged) files.set(path, bytes);
    },
    async abort() {
      staged.clear();
    },
  };
}
