/**
 * Files written whole or not at all: under a temporary name beside the target, synced, then given their name. A process
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

/** Makes new names in `folder` durable; Windows cannot open folders and does it by itself. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
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
    // Unlike a rename, a second name is refused where the first is taken.
    await link(temporary, path);
    await discard(temporary);
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw appeared(temporary, path, error);
    // Disks without second names.
    if (await isTaken(path)) throw appeared(temporary, path, error);
    await rename(temporary, path);
  }
}

function appeared(temporary: string, path: string, cause: unknown): ConfigError {
  settled(temporary);
  return new ConfigError("something of this name appeared while it was being written", {
    where: path,
    found: `what was written is whole, in ${temporary}`,
    hint: "Rename one of the two.",
    cause,
  });
}

/**
 * A sink for the file `path`. A symbolic link is followed and stays. Of an existing file that may be replaced the
 * rights are kept.
 * @throws ConfigError where something is there that is not to be replaced, FileError
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
      await explained(path, "write", async () => {
        if (await isTaken(full)) {
          await checkFilePlace(full, options).catch((error: unknown) => {
            kept = true;
            throw appeared(temporary, path, error);
          });
          await chmod(temporary, (await stat(full)).mode & 0o777);
          await rename(temporary, full);
        } else {
          await place(temporary, full).catch((error: unknown) => {
            kept = error instanceof ConfigError;
            throw error;
          });
        }
        settled(temporary);
        await syncFolder(dirname(full));
      });
    },
    async abort() {
      await writer.close().catch(() => {});
      if (!kept)
        await discard(temporary).catch((error: unknown) => Promise.reject(fileError(error, path, "remove")));
    },
  };
}

/** Writes a whole text file. @throws ConfigError where something is there that is not to be replaced, FileError */
export async function writeTextFile(
  path: string,
  text: string,
  options: FilePlaceOptions = {},
): Promise<void> {
  await writeWhole(await nodeFileSink(path, options), text);
}
