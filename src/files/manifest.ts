/**
 * How this program recognizes its own folder: `.deepseek-ts.json` in it lists every file that was written, with
 * size and a SHA-256 (of long files: of samples all over them). A folder may be replaced or deleted only if it holds
 * these files, unchanged, and nothing else. A `config.json` proves nothing: many projects have one.
 */
import { createHash, type Hash } from "node:crypto";
import type { Dirent } from "node:fs";
import { lstat, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, isMissing } from "./file-error.ts";
import { isInnerPath } from "./sink.ts";

/** The file in a folder that says what this program wrote there. */
export const MANIFEST = ".deepseek-ts.json";

/** What a folder holds: a model, a saved state of training, tokens, a whole training run, a part of the embedded Lean, or the studio's page. */
export type FolderKind = "model" | "state" | "dataset" | "run" | "lean" | "page";

const FORMAT = "deepseek-ts folder";
/** Files up to this size are hashed whole; of longer ones, after it, the first bytes of every stride. */
const HASHED_BYTES = 16 * 1024 * 1024;
const STRIDE_BYTES = 8 * 1024 * 1024;
const SAMPLE_BYTES = 64 * 1024;
/** A list is a few files long; what is larger is not one of ours. */
const MANIFEST_BYTES = 16 * 1024 * 1024;
/** What file managers put everywhere. */
const DROPPINGS = new Set([".DS_Store", "Thumbs.db", "desktop.ini"]);

export interface FileMark {
  readonly size: number;
  readonly sha256: string;
}

export interface Manifest {
  readonly format: typeof FORMAT;
  readonly kind: FolderKind;
  readonly files: Readonly<Record<string, FileMark>>;
}

/** From `at` on, the next range of a file that its mark is taken of. */
function nextSample(at: number): { from: number; to: number } {
  if (at < HASHED_BYTES) return { from: at, to: HASHED_BYTES };
  const stride = at - (at % STRIDE_BYTES);
  if (at < stride + SAMPLE_BYTES) return { from: at, to: stride + SAMPLE_BYTES };
  return { from: stride + STRIDE_BYTES, to: stride + STRIDE_BYTES + SAMPLE_BYTES };
}

/** Takes the mark of a file while it is written, in pieces of any length. */
export class FileMarker {
  #size = 0;
  readonly #hash: Hash = createHash("sha256");

  push(bytes: Uint8Array): void {
    const start = this.#size;
    const end = start + bytes.byteLength;
    for (let at = start; at < end; ) {
      const { from, to } = nextSample(at);
      if (from < end) this.#hash.update(bytes.subarray(from - start, Math.min(to, end) - start));
      at = to;
    }
    this.#size = end;
  }

  mark(): FileMark {
    return { size: this.#size, sha256: this.#hash.copy().digest("hex") };
  }
}

/** The text of a folder's manifest. */
export function manifestText(kind: FolderKind, files: ReadonlyMap<string, FileMark>): string {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  const manifest: Manifest = { format: FORMAT, kind, files: Object.fromEntries(sorted) };
  return `${JSON.stringify(manifest, null, 1)}\n`;
}

/** Also true only if all paths stay inside the folder: what is listed may be deleted. */
function isManifest(value: Partial<Manifest> | null): value is Manifest {
  if (value?.format !== FORMAT || typeof value.files !== "object" || value.files === null) return false;
  return Object.entries(value.files).every(
    ([path, mark]) => isInnerPath(path) && Number.isInteger(mark?.size),
  );
}

/** The manifest of a folder, or null if it has none that can be read. */
export async function readManifest(folder: string): Promise<Manifest | null> {
  const path = join(folder, MANIFEST);
  try {
    const info = await lstat(path);
    if (!info.isFile() || info.size > MANIFEST_BYTES) return null;
    const value = JSON.parse(await readFile(path, "utf8")) as Partial<Manifest> | null;
    return isManifest(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError || isMissing(error) || codeOf(error) === "EACCES") return null;
    throw error;
  }
}

/** Whether a file still has its mark; of a long one only the samples are read. */
async function isUnchanged(path: string, mark: FileMark): Promise<boolean> {
  if ((await lstat(path)).size !== mark.size) return false;
  const hash = createHash("sha256");
  const handle = await open(path, "r");
  try {
    const buffer = new Uint8Array(1 << 20);
    for (let at = 0; at < mark.size; ) {
      const { from, to } = nextSample(at);
      const end = Math.min(to, mark.size);
      for (at = from; at < end; ) {
        const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, end - at), at);
        if (bytesRead === 0) return false;
        hash.update(buffer.subarray(0, bytesRead));
        at += bytesRead;
      }
    }
  } finally {
    await handle.close();
  }
  return hash.digest("hex") === mark.sha256;
}

/**
 * What in `folder` is not this program's, as paths relative to it: files, links and folders that its manifest does not
 * list, and listed files that were changed since. Without a manifest that is everything.
 */
export async function foreignEntries(folder: string): Promise<string[]> {
  const manifest = await readManifest(folder);
  const marks = new Map(Object.entries(manifest?.files ?? {}));
  const found: string[] = [];
  const visit = async (inner: string): Promise<void> => {
    const entries = await readdir(join(folder, inner), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = inner === "" ? entry.name : `${inner}/${entry.name}`;
      if (await isForeign(entry, path)) found.push(path);
    }
  };
  const isForeign = async (entry: Dirent, path: string): Promise<boolean> => {
    if (entry.isDirectory()) {
      if (![...marks.keys()].some((listed) => listed.startsWith(`${path}/`))) return true;
      await visit(path);
      return false;
    }
    if (!entry.isFile()) return true;
    if (DROPPINGS.has(entry.name) || (manifest !== null && path === MANIFEST)) return false;
    const mark = marks.get(path);
    return mark === undefined || !(await isUnchanged(join(folder, path), mark));
  };
  await visit("");
  return found;
}
