/**
 * Folders written whole or not at all: staged as `DIR.tmp-OWNER` next to the target and renamed at the end.
 *
 * A new folder appears in one rename. An existing one is replaced in two: it becomes `DIR.old-OWNER`, then the staged
 * one takes its name. A process killed between the two leaves both intact; the next process restores the old one
 * (`recoverFolder`).
 */
import { readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConfigError } from "../tensor/errors.ts";
import { explained, fileError } from "./file-error.ts";
import { copyRights, FileWriter, keptAside, syncFolder } from "./file-sink.ts";
import {
  type FileMark,
  FileMarker,
  type FolderKind,
  foreignEntries,
  MANIFEST,
  manifestText,
} from "./manifest.ts";
import { checkFolderPlace, type PlaceOptions, realPlace } from "./place.ts";
import { type ByteSink, checkInnerPath, type FolderSink } from "./sink.ts";
import {
  clearAbandoned,
  discard,
  isAbandoned,
  isTaken,
  makeFolder,
  makeFolders,
  settled,
  temporariesOf,
  temporaryName,
  unsettled,
} from "./temporary.ts";

export interface FolderOptions extends PlaceOptions {
  /** What the folder will hold (default: a model). */
  readonly kind?: FolderKind;
  /** Whether the disk must hold each file before the folder gets its name (default); not needed for what can be made again. */
  readonly durable?: boolean;
}

/** A folder under a temporary name, for contents that are not a plain list of files. */
export interface StagedFolder {
  /** Where to write until `commit`. */
  readonly path: string;
  /** Gives the folder its name; `files` are the marks of what it holds. */
  commit(files?: ReadonlyMap<string, FileMark>): Promise<void>;
  abort(): Promise<void>;
}

/** How long a reader waits for a living process that stands between the two renames. */
const SWAP_MS = 2000;

/**
 * Undoes a replacement of `dir` that was killed between its two renames. Returns whether it did.
 * @throws ConfigError if more than one earlier folder is left
 */
export async function recoverFolder(dir: string): Promise<boolean> {
  const full = await realPlace(dir);
  for (const began = performance.now(); !(await isTaken(full)); ) {
    const aside = await temporariesOf(full, "old");
    if (aside.length === 0) return false;
    if (aside.length === 1 && (await isAbandoned(aside[0]))) {
      await explained(dir, "write", () => rename(aside[0], full));
      await syncFolder(dirname(full));
      return true;
    }
    if (performance.now() - began > SWAP_MS) {
      throw new ConfigError("an earlier replacement of the folder was interrupted", {
        where: dir,
        found: aside,
        hint: "Rename the one to keep by hand.",
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

/** Deletes a folder that was set aside, unless it holds a file that this program did not write. */
async function dropAside(aside: string): Promise<void> {
  if ((await foreignEntries(aside)).length > 0) return;
  const doomed = temporaryName(aside.replace(/\.old-[^/\\]*$/, ""), "tmp");
  await rename(aside, doomed);
  await discard(doomed);
}

/** Gives a staged folder its name if there is none, or an empty folder. */
async function takeName(staged: string, full: string): Promise<void> {
  // Windows renames over nothing.
  if (process.platform === "win32") await rmdir(full).catch(() => {});
  await rename(staged, full);
}

/**
 * Stages a folder for `dir`, whose parents are made. A symbolic link is followed and stays.
 * @throws ConfigError if something is there that is not to be replaced, FileError
 */
export async function stageFolder(dir: string, options: FolderOptions = {}): Promise<StagedFolder> {
  const full = await realPlace(dir);
  await recoverFolder(full);
  await checkFolderPlace(full, options);
  await makeFolders(dirname(full), dir);
  await explained(dir, "read", async () => {
    await clearAbandoned(full);
    // Replaced by a process that was killed before it deleted it.
    for (const old of await temporariesOf(full, "old")) {
      if ((await isAbandoned(old)) && (await isTaken(full))) await dropAside(old);
    }
  });
  const staged = temporaryName(full, "tmp");
  await makeFolder(staged, dir);
  unsettled(staged);
  let kept = false;

  const swap = async () => {
    const aside = temporaryName(full, "old");
    await rename(full, aside);
    try {
      await rename(staged, full);
    } catch (error) {
      await rename(aside, full);
      throw error;
    }
    return aside;
  };
  const giveName = async (): Promise<string | null> => {
    if (await isTaken(full)) {
      await checkFolderPlace(full, options);
      await copyRights(full, staged);
      if ((await readdir(full)).length > 0) return swap();
    }
    await takeName(staged, full);
    return null;
  };

  return {
    path: staged,
    async commit(files = new Map()) {
      const manifest = await FileWriter.create(join(staged, MANIFEST), dir);
      await manifest.write(new TextEncoder().encode(manifestText(options.kind ?? "model", files)));
      await manifest.finish();
      await syncFolder(staged);
      let aside: string | null;
      try {
        aside = await giveName();
      } catch (cause) {
        // The work of hours may be in it.
        kept = true;
        throw keptAside(dir, staged, cause);
      }
      settled(staged);
      await syncFolder(dirname(full));
      // Where this fails the next one that writes here does it.
      if (aside !== null) await dropAside(aside).catch(() => {});
    },
    async abort() {
      if (!kept)
        await discard(staged).catch((error: unknown) => Promise.reject(fileError(error, dir, "remove")));
    },
  };
}

/**
 * A sink that stages a folder and puts it at `dir` on commit, with the list of its files by which this program
 * recognizes it later. A symbolic link is followed and stays.
 * @throws ConfigError if something is there that is not to be replaced, FileError
 */
export async function nodeFolderSink(dir: string, options: FolderOptions = {}): Promise<FolderSink> {
  const staged = await stageFolder(dir, options);
  const marks = new Map<string, FileMark>();
  const folders = new Set<string>();
  return {
    name: dir,
    async file(path): Promise<ByteSink> {
      checkInnerPath(dir, path);
      const full = join(staged.path, path);
      const shown = join(dir, path);
      if (path.includes("/")) {
        await makeFolders(dirname(full), shown);
        for (let at = dirname(full); at !== staged.path; at = dirname(at)) folders.add(at);
      }
      const marker = new FileMarker();
      const writer = await FileWriter.create(full, shown);
      return {
        name: shown,
        async write(bytes) {
          await writer.write(bytes);
          marker.push(bytes);
        },
        async commit() {
          await (options.durable === false ? writer.close() : writer.finish());
          marks.set(path, marker.mark());
        },
        async abort() {
          await writer.close().catch(() => {});
          await rm(full, { force: true });
        },
      };
    },
    async commit() {
      for (const folder of folders) await explained(dir, "write", () => syncFolder(folder));
      await staged.commit(marks);
    },
    abort: () => staged.abort(),
  };
}
