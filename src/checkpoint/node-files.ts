/** Checkpoint files and folders on disk, for Node only: reading here, writing in `../files`. */
import { type FileHandle, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileError, isMissing } from "../files/file-error.ts";
import { temporariesOf } from "../files/temporary.ts";
import { openForReading } from "../files/text-file.ts";
import { FormatError } from "../tensor/errors.ts";
import {
  type ByteSource,
  checkInnerPath,
  checkRange,
  checkTextSize,
  decodeUtf8,
  type FileTree,
} from "./byte-source.ts";

export { nodeFileSink } from "../files/file-sink.ts";
export { nodeFolderSink, recoverFolder } from "../files/folder-sink.ts";

// The operating system takes less than 2 GiB in one call.
const MAX_TRANSFER = 1 << 30;

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Opens a file for random access; close it when done. @throws FormatError if it is missing or no file. */
export async function nodeFileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    handle = await openForReading(path);
  } catch (cause) {
    if (!isMissing(cause)) throw fileError(cause, path, "read");
    throw new FormatError("file not found", { where: path, cause });
  }
  const info = await handle.stat();
  if (!info.isFile()) {
    await handle.close();
    throw new FormatError("not a regular file", { where: path });
  }
  return {
    name: path,
    size: info.size,
    async read(offset, length, into) {
      checkRange(path, info.size, offset, length);
      // Every byte is overwritten or cut off, so that zeros first would be lost time.
      const bytes =
        into && into.length >= length
          ? into.subarray(0, length)
          : new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
      let at = 0;
      while (at < length) {
        const { bytesRead } = await handle.read(bytes, at, Math.min(length - at, MAX_TRANSFER), offset + at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      return at === length ? bytes : bytes.subarray(0, at);
    },
    close: () => handle.close(),
  };
}

/** A folder on disk. Links are followed, as the cache of Hugging Face needs. */
export function nodeFolder(dir: string): FileTree {
  const at = (path: string) => {
    checkInnerPath(dir, path);
    return join(dir, path);
  };
  return {
    name: dir,
    has: async (path) => exists(at(path)),
    open: async (path) => nodeFileSource(at(path)),
    async readText(path) {
      const full = at(path);
      let bytes: Uint8Array;
      try {
        checkTextSize(dir, path, (await stat(full)).size);
        bytes = await readFile(full);
      } catch (cause) {
        if (cause instanceof FormatError) throw cause;
        if (!isMissing(cause)) throw fileError(cause, full, "read");
        throw new FormatError("file not found", { where: dir, name: path, cause });
      }
      return decodeUtf8(full, bytes);
    },
    async list() {
      try {
        const entries = await readdir(dir, { withFileTypes: true });
        return entries
          .filter((entry) => !entry.isDirectory())
          .map((entry) => entry.name)
          .sort();
      } catch (cause) {
        if (!isMissing(cause)) throw fileError(cause, dir, "read");
        const cutShort = (await temporariesOf(resolve(dir), "old")).length > 0;
        throw new FormatError("folder not found", {
          where: dir,
          cause,
          hint: cutShort ? "A replacement was cut short; call recoverFolder" : undefined,
        });
      }
    },
  };
}
