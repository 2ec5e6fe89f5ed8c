/**
 * A folder on disk as a corpus (Node only): walks it in a fixed order, honours `.gitignore` files, detects
 * binaries and symbolic link loops, and applies the rules of `select.ts`. Paths are listed first and texts read
 * one at a time, so memory grows with the number of files only.
 */

import type { Dirent } from "node:fs";
import { lstat, readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { FormatError } from "../tensor/errors.ts";
import { comparePaths, type TextFile } from "./corpus.ts";
import { type IgnoreFile, isIgnored, parseIgnoreFile } from "./gitignore.ts";
import { hashUnit } from "./hash.ts";
import { PROJECT_MARKERS } from "./project.ts";
import {
  contentDrop,
  countDrop,
  folderRule,
  hasExtension,
  newReport,
  type ResolvedSelection,
  resolveSelection,
  type SelectionReport,
  type SelectOptions,
} from "./select.ts";

interface Candidate {
  readonly path: string;
  readonly size: number;
}

/** A walked folder: iterate it (as often as needed) for the texts; `report` counts the latest full pass. */
export interface FolderCorpus extends AsyncIterable<TextFile> {
  readonly root: string;
  /** Project manifests met on the way (package.json, go.mod ...), for grouping files by project. */
  readonly manifests: readonly string[];
  /** Files that passed the rules on paths and sizes. */
  readonly candidates: number;
  readonly report: SelectionReport;
  /** Reads the text at a path again, or gives null where there is no longer a text of permitted size. */
  read(path: string): Promise<string | null>;
}

/** Lists a folder (or a single file) and returns it as a corpus; throws FormatError where the root is missing. */
export async function folderCorpus(root: string, options: SelectOptions = {}): Promise<FolderCorpus> {
  const selection = resolveSelection(options);
  const listed = newReport();
  const top = await realpath(resolve(root)).catch((cause) => {
    throw new FormatError("no such folder or file", { where: "folderCorpus", name: root, cause });
  });
  const manifests: string[] = [];
  let candidates: Candidate[];
  let base = top;
  if ((await stat(top)).isFile()) {
    base = dirname(top);
    listed.seen = 1;
    candidates = [{ path: basename(top), size: (await stat(top)).size }];
  } else {
    candidates = await walk(top, selection, listed, manifests);
  }
  const seed = selection.sampleSeed;
  if (seed !== null) {
    const rank = new Map(candidates.map((c) => [c, hashUnit(`select:${c.path}`, seed)]));
    candidates.sort((a, b) => rank.get(a)! - rank.get(b)! || comparePaths(a.path, b.path));
  }
  const report = newReport();
  restart(report, listed);
  return {
    root: base,
    manifests,
    candidates: candidates.length,
    report,
    [Symbol.asyncIterator]: () => {
      restart(report, listed);
      return readAll(base, candidates, selection, report);
    },
    read: async (path) => {
      const bytes = await readIfThere(join(base, path), selection.maxFileBytes);
      return bytes === null ? null : decode(new TextDecoder("utf-8", { fatal: true }), bytes);
    },
  };
}

function restart(report: SelectionReport, listed: SelectionReport): void {
  report.seen = listed.seen;
  report.kept = 0;
  report.keptBytes = 0;
  for (const rule of Object.keys(report.dropped)) delete report.dropped[rule as keyof typeof report.dropped];
  Object.assign(report.dropped, listed.dropped);
}

async function* readAll(
  base: string,
  candidates: readonly Candidate[],
  selection: ResolvedSelection,
  report: SelectionReport,
): AsyncGenerator<TextFile> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const { path, size } of candidates) {
    // The listed size decides, so that a capped run does not read the rest of the disk.
    if (report.keptBytes + size > selection.maxBytes) {
      countDrop(report, "cap");
      continue;
    }
    const bytes = await readIfThere(join(base, path), selection.maxFileBytes);
    if (bytes === null) {
      countDrop(report, "vanished");
      continue;
    }
    const text = decode(decoder, bytes);
    const rule = text === null ? "binary" : contentDrop(path, text, selection);
    if (rule !== null) {
      countDrop(report, rule);
      continue;
    }
    report.kept++;
    report.keptBytes += bytes.length;
    yield { path, text: text! };
  }
}

/** The bytes of a file that was listed before; null where it was deleted, replaced or grown since. */
async function readIfThere(path: string, maxBytes: number): Promise<Uint8Array | null> {
  try {
    if ((await stat(path)).size > maxBytes) return null;
    return await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR") return null;
    throw cause;
  }
}

/** The text, or null for binaries. */
function decode(decoder: TextDecoder, bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

async function walk(
  root: string,
  selection: ResolvedSelection,
  report: SelectionReport,
  manifests: string[],
): Promise<Candidate[]> {
  const found: Candidate[] = [];
  const visited = new Set([root]);
  const rootInsidePackages = root.split(sep).includes("node_modules");
  const outer =
    selection.gitignore && !rootInsidePackages ? await ignoreFilesAbove(root) : { prefix: "", files: [] };
  const extra =
    selection.ignore.length > 0 ? [parseIgnoreFile(selection.ignore.join("\n"), outer.prefix)] : [];

  const visit = async (folder: string, inherited: readonly IgnoreFile[], insidePackages: boolean) => {
    const absolute = folder === "" ? root : join(root, folder);
    const entries = (await readdir(absolute, { withFileTypes: true })).sort((a, b) =>
      comparePaths(a.name, b.name),
    );
    let ignores = inherited;
    // A package's own ignore file would hide the build that was published.
    if (
      selection.gitignore &&
      !insidePackages &&
      entries.some((e) => e.name === ".gitignore" && e.isFile())
    ) {
      const text = await readFile(join(absolute, ".gitignore"), "utf8");
      ignores = [...inherited, parseIgnoreFile(text, joinPath(outer.prefix, folder))];
    }
    for (const entry of entries) {
      const path = joinPath(folder, entry.name);
      const kind = await kindOf(entry, join(root, path), selection.followSymlinks);
      const ignoredBy = (files: readonly IgnoreFile[]) =>
        isIgnored(files, joinPath(outer.prefix, path), kind === "folder");
      if (kind === "other") {
        countDrop(report, "symlink");
      } else if (kind === "folder") {
        const rule = folderRule(entry.name, { ...selection, insidePackages });
        const packages = entry.name === "node_modules";
        // What a repository ignores says nothing about installed packages, which were asked for explicitly.
        const rules = packages ? extra : [...ignores, ...extra];
        if (rule || ignoredBy(rules)) {
          countDrop(report, rule ?? "gitignore");
          continue;
        }
        if (entry.isSymbolicLink() || selection.followSymlinks) {
          const real = await realpath(join(root, path));
          if (visited.has(real)) {
            countDrop(report, "symlink");
            continue;
          }
          visited.add(real);
        }
        await visit(path, packages ? [] : ignores, insidePackages || packages);
      } else {
        report.seen++;
        if (PROJECT_MARKERS.has(entry.name)) manifests.push(path);
        if (ignoredBy([...ignores, ...extra])) countDrop(report, "gitignore");
        else if (!hasExtension(path, selection.extensions)) countDrop(report, "extension");
        else {
          const { size } = await stat(join(root, path));
          if (size > selection.maxFileBytes) countDrop(report, "tooLarge");
          else found.push({ path, size });
        }
      }
    }
  };
  await visit("", outer.files, rootInsidePackages);
  return found;
}

async function kindOf(
  entry: Dirent,
  absolute: string,
  follow: boolean,
): Promise<"file" | "folder" | "other"> {
  if (entry.isDirectory()) return "folder";
  if (entry.isFile()) return "file";
  if (!entry.isSymbolicLink() || !follow) return "other";
  const target = await stat(absolute).catch(() => null);
  return target?.isDirectory() ? "folder" : target?.isFile() ? "file" : "other";
}

/** Ignore files of the enclosing repository, outermost first, and the root's path within it. */
async function ignoreFilesAbove(root: string): Promise<{ prefix: string; files: IgnoreFile[] }> {
  const none = { prefix: "", files: [] };
  let top = root;
  while (!(await exists(join(top, ".git")))) {
    const parent = dirname(top);
    if (parent === top) return none;
    top = parent;
  }
  const prefix = relative(top, root).split(sep).join("/");
  if (prefix === "") return none;
  const files: IgnoreFile[] = [];
  const names = prefix.split("/");
  for (let depth = 0; depth < names.length; depth++) {
    const folder = names.slice(0, depth).join("/");
    const text = await readFile(join(top, folder, ".gitignore"), "utf8").catch(() => null);
    if (text !== null) files.push(parseIgnoreFile(text, folder));
  }
  return { prefix, files };
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function joinPath(folder: string, name: string): string {
  return folder === "" ? name : name === "" ? folder : `${folder}/${name}`;
}
