/**
 * The shared cache of Hugging Face on disk: `models--org--name/` or `datasets--org--name/` with `blobs/` (contents under their etag),
 * `snapshots/COMMIT/` (links to blobs under the repository's paths) and `refs/` (the commit of a branch or tag).
 * Written so that the Python library reads it, and the other way around. Node only.
 */
import { randomUUID } from "node:crypto";
import {
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { checkInnerPath } from "../checkpoint/byte-source.ts";
import { codeOf } from "../files/file-error.ts";
import { lockOwner } from "../files/process-lock.ts";
import { makeFolders } from "../files/temporary.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import type { HubFile, RepoKind } from "./hub-client.ts";

export const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision);

/** Size of the file that `path` leads to, or null. */
export async function sizeOnDisk(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(codeOf(error))) return null;
    throw error;
  }
}

/** One repository in the cache. */
export class RepoCache {
  readonly name: string;
  readonly folder: string;

  constructor(cacheDir: string, name: string, kind: RepoKind = "model") {
    this.name = name;
    this.folder = join(cacheDir, [`${kind}s`, ...name.split("/")].join("--"));
  }

  /** Makes sure that the folder is there. */
  async make(): Promise<void> {
    await makeFolders(this.folder);
  }

  /**
   * Deletes all that the cache has of the repository. @returns its bytes
   * @throws ConfigError while something downloads it, or where another program made a link of its folder
   */
  async remove(): Promise<number> {
    const info = await lstat(this.folder).catch((error: unknown) => {
      if (codeOf(error) === "ENOENT") return null;
      throw error;
    });
    if (info === null) return 0;
    if (!info.isDirectory()) {
      throw new ConfigError("what the cache has under this name is no folder", {
        where: this.folder,
        hint: "Remove it by hand.",
      });
    }
    const blobs = join(this.folder, "blobs");
    const names = await readdir(blobs).catch(() => []);
    for (const name of names.filter((each) => each.endsWith(".deepseek-ts.lock"))) {
      const owner = await lockOwner(join(blobs, name));
      if (owner === null) continue;
      throw new ConfigError("the model is being downloaded", {
        where: this.name,
        found: `process ${owner.pid ?? "unknown"}`,
        hint: "Stop the download first.",
      });
    }
    let bytes = 0;
    for (const name of names) bytes += (await lstat(join(blobs, name)).catch(() => null))?.size ?? 0;
    // From here on no reader takes it for whole.
    const doomed = `${this.folder}.${randomUUID()}.tmp`;
    await rename(this.folder, doomed);
    await rm(doomed, { recursive: true, force: true });
    return bytes;
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** Where a file's content belongs. @throws FormatError on an etag that is not a plain name */
  blob(file: HubFile): string {
    if (!/^[\w-]{1,128}$/.test(file.etag)) {
      throw new FormatError("the hub sent no usable etag for a file", {
        where: this.name,
        name: file.path,
        found: JSON.stringify(file.etag),
      });
    }
    return join(this.folder, "blobs", file.etag);
  }

  /** The commit that a branch or tag had when it was last downloaded, or null. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    checkInnerPath(this.name, revision);
    try {
      const text = (await readFile(join(this.folder, "refs", revision), "utf8")).trim();
      return isCommit(text) ? text : null;
    } catch (error) {
      if (["ENOENT", "ENOTDIR", "EISDIR"].includes(codeOf(error))) return null;
      throw error;
    }
  }

  async writeRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    checkInnerPath(this.name, revision);
    const path = join(this.folder, "refs", revision);
    await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${randomUUID()}.tmp`;
    await writeFile(temporary, commit);
    await rename(temporary, path);
  }

  /** Paths of the files of a snapshot whose content is there, sorted. */
  async filesOf(commit: string): Promise<string[]> {
    const root = this.snapshot(commit);
    const found: string[] = [];
    const visit = async (inner: string): Promise<void> => {
      const entries = await readdir(join(root, inner), { withFileTypes: true }).catch((error: unknown) => {
        if (codeOf(error) === "ENOENT") return [];
        throw error;
      });
      for (const entry of entries) {
        const path = inner === "" ? entry.name : `${inner}/${entry.name}`;
        if (entry.isDirectory()) await visit(path);
        else if ((await sizeOnDisk(join(root, path))) !== null) found.push(path);
      }
    };
    await visit("");
    return found.sort();
  }

  /** Whether a snapshot already gives the file's content. */
  async holds(commit: string, file: HubFile): Promise<boolean> {
    return (await sizeOnDisk(join(this.snapshot(commit), file.path))) === file.size;
  }

  /** Makes the file's blob visible in a snapshot: a relative link, if the system has none a hard link or a copy. */
  async place(commit: string, file: HubFile): Promise<void> {
    checkInnerPath(this.name, file.path);
    const path = join(this.snapshot(commit), file.path);
    const blob = this.blob(file);
    const target = relative(dirname(path), blob);
    if ((await readlink(path).catch(() => null)) === target) return;
    await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${randomUUID()}.tmp`;
    try {
      await symlink(target, temporary);
    } catch (error) {
      // Windows without developer mode, and some network disks.
      if (!["EPERM", "ENOSYS", "ENOTSUP", "EINVAL"].includes(codeOf(error))) throw error;
      await link(blob, temporary).catch(() => copyFile(blob, temporary));
    }
    try {
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}
