/**
 * Whether a path may be written to: the one rule that nothing of the user's is replaced. A new name and an empty folder
 * are free; what this program made is replaced if that was asked for; everything else is refused, whatever was asked.
 */
import type { Stats } from "node:fs";
import { access, constants, lstat, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigError } from "../tensor/errors.ts";
import { explained, fileError, isMissing } from "./file-error.ts";
import { foreignEntries, readManifest } from "./manifest.ts";

export interface PlaceOptions {
  /** Replace what is there, provided that this program made it; else only a free place will do. */
  readonly force?: boolean;
  /** Files and folders that are read meanwhile: never replaced. */
  readonly sources?: readonly string[];
}

const SHOWN = 4;

/** "a, b and 3 more". */
export function someOf(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN).join(", ");
  return names.length > SHOWN ? `${shown} and ${names.length - SHOWN} more` : shown;
}

async function statIfThere(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw fileError(error, path, "read");
  }
}

const WINDOWS_DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** Refuses names that Windows takes for a device or silently shortens. @throws ConfigError */
export function checkName(path: string, platform: string = process.platform): void {
  const name = basename(path);
  if (platform !== "win32" || !(WINDOWS_DEVICE.test(name) || /[ .]$/.test(name))) return;
  throw new ConfigError("invalid file name on Windows", { where: path, hint: "Choose another name." });
}

/**
 * Where a path leads: symbolic links of the last part are followed, so that the link stays and its target is written.
 * @throws ConfigError for a link that leads nowhere
 */
export async function realPlace(path: string): Promise<string> {
  const full = resolve(path);
  checkName(full);
  const link = await lstat(full).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw fileError(error, full, "write");
  });
  if (!link?.isSymbolicLink()) return full;
  return await realpath(full).catch((cause: unknown) => {
    if (!isMissing(cause)) throw fileError(cause, full, "write");
    throw new ConfigError("dangling symbolic link", {
      where: path,
      hint: "Delete the link, or create its target.",
      cause,
    });
  });
}

/** Refuses a target that is, or contains, something that is read. @throws ConfigError */
async function checkSources(path: string, target: Stats, sources: readonly string[]): Promise<void> {
  for (const source of sources) {
    const real = await realpath(source).catch(() => null);
    if (real === null) continue;
    for (let at = real; ; at = dirname(at)) {
      const info = await statIfThere(at);
      // By number: names may differ in case or lead through links.
      if (info !== null && info.ino === target.ino && info.dev === target.dev) {
        throw new ConfigError(at === real ? "this is what is read" : "what is read lies in this folder", {
          where: path,
          found: source,
          hint: "Choose another place.",
        });
      }
      if (dirname(at) === at) break;
    }
  }
}

/** Finds out now, and not after hours of work, that the disk takes nothing new next to `path`. @throws FileError */
async function checkParent(path: string): Promise<void> {
  for (let at = dirname(path); ; at = dirname(at)) {
    const info = await statIfThere(at);
    if (info === null && dirname(at) !== at) continue;
    if (info !== null && !info.isDirectory()) {
      throw fileError(Object.assign(new Error("not a folder"), { code: "ENOTDIR" }), path, "write");
    }
    return await explained(path, "write", () => access(at, constants.W_OK | constants.X_OK));
  }
}

/** Refuses a folder that may not be written to. `path` is `realPlace` of what the user named. @throws ConfigError, FileError */
export async function checkFolderPlace(
  path: string,
  { force = false, sources = [] }: PlaceOptions,
): Promise<void> {
  const target = await statIfThere(path);
  if (target === null) return checkParent(path);
  if (!target.isDirectory()) {
    throw new ConfigError("a file of this name exists", { where: path, hint: "Choose another name." });
  }
  await checkSources(path, target, sources);
  const [manifest, foreign] = await explained(path, "read", async () => [
    await readManifest(path),
    await foreignEntries(path),
  ]);
  if (foreign.length > 0) {
    const message =
      manifest === null
        ? "the folder was not made by this program, and is not replaced"
        : "the folder holds files that this program did not write, or that were changed since";
    throw new ConfigError(message, {
      where: path,
      found: someOf(foreign),
      hint:
        manifest === null ? "Choose another place, or empty it." : "Move them away, or choose another place.",
    });
  }
  if (manifest !== null && !force) {
    throw new ConfigError("already exists", {
      where: path,
      hint: "Choose another place, or use --force.",
    });
  }
  const parent = await statIfThere(dirname(path));
  if (parent !== null && parent.dev !== target.dev) {
    throw new ConfigError("a mount point cannot be replaced", {
      where: path,
      hint: `Name a folder on it, such as ${join(path, "model")}.`,
    });
  }
  await checkParent(path);
}

export interface FilePlaceOptions extends PlaceOptions {
  /** Whether this program wrote the file; if that cannot be told, nothing is replaced. */
  readonly isOurs?: (path: string) => Promise<boolean>;
}

/** Refuses a file that may not be written to. `path` is `realPlace` of what the user named. @throws ConfigError, FileError */
export async function checkFilePlace(
  path: string,
  { force = false, sources = [], isOurs }: FilePlaceOptions,
): Promise<void> {
  const target = await statIfThere(path);
  const parent = await statIfThere(dirname(path));
  if (parent === null) throw fileError({ code: "ENOENT" }, path, "write");
  if (target === null) return checkParent(path);
  if (!target.isFile()) {
    throw new ConfigError(
      target.isDirectory() ? "there is a folder of this name" : "this is no ordinary file",
      {
        where: path,
        hint: "Choose another name.",
      },
    );
  }
  await checkSources(path, target, sources);
  if (!force) {
    throw new ConfigError("already exists", {
      where: path,
      hint: isOurs === undefined ? "Choose another name." : "Choose another name, or --force.",
    });
  }
  if (!(await explained(path, "read", async () => (await isOurs?.(path)) ?? false))) {
    throw new ConfigError("the existing file was not written by this program and is not replaced", {
      where: path,
      hint: "Choose another name, or move it away.",
    });
  }
  await checkParent(path);
}
