/**
 * Changes inside a folder that this program made and goes on writing, such as a training run's: its files are replaced,
 * lengthened and cut, and folders of its own in it deleted. Which folder is one of those the caller knows.
 */
import { appendFile, readdir, rename, truncate } from "node:fs/promises";
import { dirname, join } from "node:path";
import { explained, isMissing } from "./file-error.ts";
import { FileWriter, syncFolder } from "./file-sink.ts";
import { foreignEntries } from "./manifest.ts";
import { discard, isAbandoned, settled, temporaryName, unsettled } from "./temporary.ts";

/** Replaces a file of ours by way of a temporary one, so that a killed process leaves the old or the new text. */
export async function replaceOwnFile(path: string, text: string): Promise<void> {
  const temporary = temporaryName(path, "tmp");
  const writer = await FileWriter.create(temporary, path);
  unsettled(temporary);
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.finish();
    await explained(path, "write", async () => {
      await rename(temporary, path);
      await syncFolder(dirname(path));
    });
    settled(temporary);
  } catch (error) {
    await writer.close().catch(() => {});
    await discard(temporary);
    throw error;
  }
}

/** Adds text at the end of a file of ours, which is made where it is missing. */
export async function appendToOwnFile(path: string, text: string): Promise<void> {
  await explained(path, "write", () => appendFile(path, text));
}

/** Cuts a file of ours to its first `bytes` bytes. */
export async function truncateOwnFile(path: string, bytes: number): Promise<void> {
  await explained(path, "write", () => truncate(path, bytes));
}

/**
 * Deletes a folder that this program made. Where something else lies in it, it stays as it is; returned is what, as
 * paths relative to the folder.
 */
export async function removeOwnFolder(path: string): Promise<string[]> {
  return await explained(path, "remove", async () => {
    const foreign = await foreignEntries(path);
    if (foreign.length > 0) return foreign;
    // From here on no reader takes it for whole.
    const doomed = temporaryName(path, "tmp");
    await rename(path, doomed);
    await discard(doomed);
    return [];
  });
}

/** Deletes half-written things that dead processes left directly in a folder of ours. */
export async function clearAbandonedIn(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const name of names) {
    if (isAbandoned(name) && name.includes(".tmp-")) await discard(join(folder, name));
  }
}
