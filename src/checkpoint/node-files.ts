/**
 * Checkpoint files and folders on disk, for Node only. Files are replaced by rename after fsync, so that a killed
 * process leaves the earlier file; folders are staged beside their target and renamed.
 */
import { randomUUID } from "node:crypto";
import { type FileHandle, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import {
  type ByteSink,
  type ByteSource,
  checkInnerPath,
  checkRange,
  decodeUtf8,
  type FileTree,
  type FolderSink,
} from "./byte-source.ts";

// The operating system takes less than 2 GiB in one call.
const MAX_TRANSFER = 1 << 30;

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Makes renames in `dir` durable; Windows cannot open folders and does it by itself. */
async function syncFolder(dir: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let at = 0;
  while (at < bytes.length) {
    at += (await handle.write(bytes, at, Math.min(bytes.length - at, MAX_TRANSFER))).bytesWritten;
  }
}

/** Opens a file for random access; close it when done. Throws FormatError when it is missing or no file. */
export async function nodeFileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
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

/** A sink that writes beside `path` under a temporary name; `commit` syncs it and renames it over `path`. */
export async function nodeFileSink(path: string): Promise<ByteSink> {
  const dir = dirname(resolve(path));
  const temporary = join(dir, `.${basename(path)}.tmp-${randomUUID()}`);
  const handle = await open(temporary, "wx");
  let isOpen = true;
  const close = async () => {
    if (isOpen) await handle.close();
    isOpen = false;
  };
  return {
    name: path,
    write: (bytes) => writeAll(handle, bytes),
    async commit() {
      await handle.sync();
      await close();
      await rename(temporary, path);
      await syncFolder(dir);
    },
    async abort() {
      await close();
      await rm(temporary, { force: true });
    },
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
        bytes = await readFile(full);
      } catch (cause) {
        if (!isMissing(cause)) throw cause;
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
        if (!isMissing(cause)) throw cause;
        throw new FormatError("folder not found", {
          where: dir,
          cause,
          hint:
            (await asideOf(dir)).length > 0 ? "A replacement was cut short; call recoverFolder" : undefined,
        });
      }
    },
  };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Folders set aside by a replacement of `dir` that has not finished; only our own names count. */
async function asideOf(dir: string): Promise<string[]> {
  const full = resolve(dir);
  const prefix = `${basename(full)}.old-`;
  try {
    const names = await readdir(dirname(full));
    const ours = names.filter((name) => name.startsWith(prefix) && UUID.test(name.slice(prefix.length)));
    return ours.map((name) => join(dirname(full), name));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/**
 * Undoes a folder replacement that was killed between its two renames: when `dir` is missing and one
 * `<dir>.old-*` exists, that one gets its name back. Returns whether it did.
 */
export async function recoverFolder(dir: string): Promise<boolean> {
  if (await exists(dir)) return false;
  const aside = await asideOf(dir);
  if (aside.length === 0) return false;
  if (aside.length > 1) {
    throw new ConfigError("more than one earlier folder to recover from", {
      where: dir,
      found: aside,
      hint: "Rename the one to keep by hand",
    });
  }
  await rename(aside[0], dir);
  await syncFolder(dirname(resolve(dir)));
  return true;
}

/** Throws ConfigError when replacing `dir` would delete something that is not a checkpoint. */
async function checkReplaceable(dir: string): Promise<void> {
  if (!(await exists(dir))) return;
  const names = (await stat(dir)).isDirectory() ? await readdir(dir) : undefined;
  if (names && (names.length === 0 || names.includes("config.json"))) return;
  throw new ConfigError("refusing to replace something that is not a checkpoint folder", {
    where: dir,
    expected: "a new path, an empty folder, or a folder with config.json",
    found: names ? `${names.length} entries` : "a file",
  });
}

/**
 * A sink that stages a folder as `<dir>.tmp-<random>` and renames it to `dir` on commit.
 *
 * A new `dir` appears in one rename: whole or not at all. An existing one is replaced whole, files of the old one
 * do not remain: it is renamed to `<dir>.old-<random>`, the staged folder takes its name, the old one is deleted.
 * A process killed between the two renames leaves both complete under those names; the next sink for `dir`, or
 * `recoverFolder`, restores the old one. A staged folder of a
 * killed process stays as `<dir>.tmp-*` for the user to delete. Throws ConfigError when `dir` exists, is not empty and has no config.json.
 */
export async function nodeFolderSink(dir: string): Promise<FolderSink> {
  const full = resolve(dir);
  await mkdir(dirname(full), { recursive: true });
  await recoverFolder(full);
  await checkReplaceable(full);
  const staged = await mkdtemp(`${full}.tmp-`);
  return {
    name: dir,
    async file(path) {
      checkInnerPath(dir, path);
      await mkdir(dirname(join(staged, path)), { recursive: true });
      return nodeFileSink(join(staged, path));
    },
    async commit() {
      await syncFolder(staged);
      await checkReplaceable(full);
      if (await exists(full)) {
        const aside = `${full}.old-${randomUUID()}`;
        await rename(full, aside);
        try {
          await rename(staged, full);
        } catch (error) {
          await rename(aside, full);
          throw error;
        }
        await syncFolder(dirname(full));
        // Also those of earlier replacements that were killed before this line.
        for (const old of await asideOf(full)) await rm(old, { recursive: true, force: true });
      } else {
        await rename(staged, full);
        await syncFolder(dirname(full));
      }
    },
    abort: () => rm(staged, { recursive: true, force: true }),
  };
}
