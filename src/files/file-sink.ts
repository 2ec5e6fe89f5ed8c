/**
 * Files written whole or not at all: under a temporary name next to the target, synced, then given their name. A process
 * killed at any moment leaves the earlier file, or the new one.
 */
import { chmod, type FileHandle, link, open, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { ConfigError } from "../tensor/errors.ts";
import { codeOf, explained, fileError } from "./file-error.ts";
import { checkFilePlace, type FilePlaceOptions, realPlace } from "./place.ts";
import { type ByteSink, writeWhole } from "./sink.ts";
import { clearAbandoned, discard, isTaken, settled, temporaryName, unsettled } from "./temporary.ts";

// The operating system takes less than 2 GiB in one call.
const MAX_TRANSFER = 1 << 30;

/** What disks answer that cannot sync a folder, or change rights: no reason to give up what was written. */
const CANNOT = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EPERM", "EACCES", "EBADF", "EISDIR"]);

function unlessItCannot(error: unknown): void {
  if (!CANNOT.has(codeOf(error))) throw error;
}

/** Makes new names in `folder` durable; Windows cannot open folders and does it by itself. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r").catch(unlessItCannot);
  try {
    await handle?.sync().catch(unlessItCannot);
  } finally {
    await handle?.close();
  }
}

/** Gives `path` the rights of `like`, if the disk has rights. */
export async function copyRights(like: string, path: string): Promise<void> {
  await chmod(path, (await stat(like)).mode & 0o777).catch(unlessItCannot);
}

/** The error for something whole that cannot get its name: it stays under its temporary one. */
export function keptAside(path: string, temporary: string, cause: unknown): ConfigError {
  settled(temporary);
  const foreseen = fileError(cause, path, "write");
  return new ConfigError("written data could not be renamed into place", {
    where: path,
    found: `it is whole, in ${temporary}`,
    hint: `Rename it by hand. ${foreseen instanceof Error ? foreseen.message : String(foreseen)}`,
    cause,
  });
}

/** A new file, open for writing; `path` is what errors name. */
export class FileWriter {
  readonly #path: string;
  readonly #handle: FileHandle;
  #isOpen = true;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  static async create(file: string, path = file): Promise<FileWriter> {
    return new FileWriter(path, await explained(path, "write", () => open(file, "wx")));
  }

  async write(bytes: Uint8Array): Promise<void> {
    await explained(this.#path, "write", async () => {
      for (let at = 0; at < bytes.length; ) {
        const count = Math.min(bytes.length - at, MAX_TRANSFER);
        at += (await this.#handle.write(bytes, at, count)).bytesWritten;
      }
    });
  }

  /** Syncs and closes. */
  async finish(): Promise<void> {
    await explained(this.#path, "write", () => this.#handle.sync());
    await this.close();
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await explained(this.#path, "write", () => this.#handle.close());
  }
}

/** Gives a finished file its name unless there is one of that name. */
async function place(temporary: string, path: string): Promise<void> {
  try {
    // Unlike a rename, a second name is refused if the first is taken.
    await link(temporary, path);
    await discard(temporary);
  } catch (error) {
    if (codeOf(error) === "EEXIST" || (await isTaken(path))) throw error;
    // Disks without second names.
    await rename(temporary, path);
  }
}

/**
 * A sink for the file `path`. A symbolic link is followed and stays. Of an existing file that may be replaced the
 * rights are kept.
 * @throws ConfigError if something is there that is not to be replaced, FileError
 */
export async function nodeFileSink(path: string, options: FilePlaceOptions = {}): Promise<ByteSink> {
  const full = await realPlace(path);
  await checkFilePlace(full, options);
  await explained(path, "read", () => clearAbandoned(full));
  const temporary = temporaryName(full, "tmp");
  const writer = await FileWriter.create(temporary, path);
  unsettled(temporary);
  let kept = false;
  return {
    name: path,
    write: (bytes) => writer.write(bytes),
    async commit() {
      await writer.finish();
      try {
        if (await isTaken(full)) {
          await checkFilePlace(full, options);
          await copyRights(full, temporary);
          await rename(temporary, full);
        } else await place(temporary, full);
      } catch (cause) {
        kept = true;
        throw keptAside(path, temporary, cause);
      }
      settled(temporary);
      await syncFolder(dirname(full));
    },
    async abort() {
      await writer.close().catch(() => {});
      if (!kept)
        await discard(temporary).catch((error: unknown) => Promise.reject(fileError(error, path, "remove")));
    },
  };
}

/** Writes a whole text file. @throws ConfigError if something is there that is not to be replaced, FileError */
export async function writeTextFile(
  path: string,
  text: string,
  options: FilePlaceOptions = {},
): Promise<void> {
  await writeWhole(await nodeFileSink(path, options), text);
}
