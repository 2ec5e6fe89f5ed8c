/**
 * Changes inside a folder that this program made and goes on writing, such as a training run's: its files are replaced,
 * lengthened and cut, and folders of its own in it deleted. Which folder is one of those the caller knows.
 */
import { appendFile, lstat, readdir, rename, rm, truncate } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { explained, isMissing } from "./file-error.ts";
import { FileWriter, syncFolder } from "./file-sink.ts";
import { foreignEntries } from "./manifest.ts";
import { discard, isAbandoned, isTaken, settled, temporaryName, unsettled } from "./temporary.ts";

/** Replaces a file of ours by way of a temporary one, so that a killed process leaves the old or the new text. */
export function replaceOwnFile(path: string, text: string): Promise<void> {
  return rewriteOwnFile(path, (write) => write(new TextEncoder().encode(text)));
}

/** As `replaceOwnFile`, with what `body` writes piece by piece. */
export async function rewriteOwnFile(
  path: string,
  body: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path, "tmp");
  const writer = await FileWriter.create(temporary, path);
  unsettled(temporary);
  try {
    await body((bytes) => writer.write(bytes));
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

/** Adds text at the end of a file of ours, which is made if it is missing. */
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

/** Renames something in a folder of ours to `damaged-NAME`, with a number if that is taken. Returns its new path. */
export async function setAside(path: string): Promise<string> {
  const name = `damaged-${basename(path)}`;
  let aside = join(dirname(path), name);
  for (let n = 2; await isTaken(aside); n++) aside = join(dirname(path), `${name}-${n}`);
  await explained(path, "write", () => rename(path, aside));
  return aside;
}

/** Deletes half-written things that dead processes left directly in a folder of ours. */
export async function clearAbandonedIn(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const name of names) {
    const path = join(folder, name);
    if (name.includes(".tmp-") && (await isAbandoned(path))) await discard(path);
  }
}

/** Deletes a file that this program wrote. @returns whether it did: false for any other, which stays */
export async function removeOwnFile(
  path: string,
  isOurs: (path: string) => Promise<boolean>,
): Promise<boolean> {
  return await explained(path, "remove", async () => {
    if (!(await lstat(path)).isFile() || !(await isOurs(path))) return false;
    await rm(path);
    return true;
  });
}
