/**
 * A folder on disk as a corpus (Node only): walks it in a fixed order, honors `.gitignore` files, detects
 * binaries and symbolic link loops, leaves out what this program made, and applies the rules of `select.ts`. Paths are
 * listed first and texts read one at a time, files above 4 MiB in sections, so memory grows with the number of files
 * only.
 */

import type { Dirent, Stats } from "node:fs";
import { lstat, readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { codeOf, fileError, isMissing } from "../files/file-error.ts";
import { MANIFEST } from "../files/manifest.ts";
import { ownedTarget } from "../files/temporary.ts";
import { openForReading } from "../files/text-file.ts";
import { FormatError } from "../tensor/errors.ts";
import { comparePaths, type TextFile } from "./corpus.ts";
import { ALL_FILTERS } from "./filters.ts";
import { type IgnoreFile, isIgnored, parseIgnoreFile } from "./gitignore.ts";
import { hashUnit } from "./hash.ts";
import { PROJECT_MARKERS } from "./project.ts";
import { readSection, type Section, sectionCount } from "./sections.ts";
import {
  contentDrop,
  countDrop,
  type DropRule,
  fileLimit,
  fileRule,
  folderRule,
  hasExtension,
  included,
  newReport,
  type ResolvedSelection,
  resolveSelection,
  type SelectionReport,
  type SelectOptions,
} from "./select.ts";

interface Candidate {
  /** Path of the text: the file's, with a number if it is a section. */
  readonly path: string;
  readonly file: string;
  readonly section: Section | null;
  /** Bytes of the text, at most. */
  readonly size: number;
}

/** A walked folder: iterate it (as often as needed) for the texts; `report` counts the latest full pass. */
export interface FolderCorpus extends AsyncIterable<TextFile> {
  readonly root: string;
  /** Project manifests met on the way (package.json, go.mod ...), for grouping files by project. */
  readonly manifests: readonly string[];
  /** Texts that passed the rules on paths and sizes. */
  readonly candidates: number;
  readonly report: SelectionReport;
  /** Reads the text at a path again, or gives null if there is no longer a text of permitted size. */
  read(path: string): Promise<string | null>;
}

const NO_FILTERS = Object.fromEntries(Object.keys(ALL_FILTERS).map((name) => [name, false]));
const SECTION_BYTES = 4 * 1024 * 1024;

/** The size of the sections of a file, or null if it is read whole. */
function sectionSize(bytes: number, { maxBytes }: ResolvedSelection): number | null {
  // A file beyond the limit of the whole corpus gives some of its sections.
  if (bytes > maxBytes) return Math.max(4096, Math.min(SECTION_BYTES, Math.floor(maxBytes / 8)));
  return bytes > SECTION_BYTES ? SECTION_BYTES : null;
}

function candidatesOf(file: string, bytes: number, selection: ResolvedSelection): Candidate[] {
  const size = sectionSize(bytes, selection);
  if (size === null) return [{ path: file, file, section: null, size: bytes }];
  return Array.from({ length: sectionCount(bytes, size) }, (_, index) => ({
    path: `${file}#part-${String(index).padStart(5, "0")}`,
    file,
    section: { index, size },
    size: Math.min(size, bytes - index * size),
  }));
}

/** Lists a folder (or a single file) and returns it as a corpus. @throws FormatError if the root is missing. */
export async function folderCorpus(root: string, options: SelectOptions = {}): Promise<FolderCorpus> {
  const listed = newReport();
  const top = await realpath(resolve(root)).catch((cause: unknown) => {
    if (!isMissing(cause)) throw fileError(cause, root, "read");
    throw new FormatError("no such folder or file", {
      where: root,
      hint: "Pass an existing folder or file.",
      cause,
    });
  });
  const manifests: string[] = [];
  const isFile = (await stat(top)).isFile();
  // A file that is named itself is meant, whatever it is called, however long, and whatever it holds.
  const named = {
    include: [basename(top)],
    maxFileBytes: options.maxFileBytes ?? Number.POSITIVE_INFINITY,
    filters: { ...NO_FILTERS, ...options.filters },
  };
  const selection = resolveSelection(isFile ? { ...options, ...named } : options);
  let candidates: Candidate[];
  let base = top;
  if (isFile) {
    base = dirname(top);
    listed.seen = 1;
    candidates = candidatesOf(basename(top), (await stat(top)).size, selection);
  } else {
    candidates = await walk(top, selection, listed, manifests);
  }
  const seed = selection.sampleSeed;
  if (seed !== null) {
    const rank = new Map(candidates.map((c) => [c, hashUnit(`select:${c.path}`, seed)]));
    candidates.sort((a, b) => rank.get(a)! - rank.get(b)! || comparePaths(a.path, b.path));
  }
  const sections = new Map<string, Candidate>();
  for (const candidate of candidates) if (candidate.section) sections.set(candidate.path, candidate);
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
      const file = sections.get(path) ?? { path, file: path, section: null };
      const bytes = await readIfThere(base, file, selection);
      return bytes instanceof Uint8Array ? decode(new TextDecoder("utf-8", { fatal: true }), bytes) : null;
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
  // Sections of one file count once.
  const counted = new Set<string>();
  const first = (what: string, { file, section }: Candidate) => {
    if (section === null) return true;
    const key = `${what}:${file}`;
    if (counted.has(key)) return false;
    counted.add(key);
    return true;
  };
  const drop = (rule: DropRule, candidate: Candidate) => {
    if (first(rule, candidate)) countDrop(report, rule);
  };
  for (const candidate of candidates) {
    const { path, file, section, size } = candidate;
    // The listed size decides, so that a capped run does not read the rest of the disk.
    if (report.keptBytes + size > selection.maxBytes) {
      drop("cap", candidate);
      continue;
    }
    const bytes = await readIfThere(base, candidate, selection);
    if (!(bytes instanceof Uint8Array)) {
      drop(bytes, candidate);
      continue;
    }
    const text = decode(decoder, bytes);
    const rule = text === null ? "binary" : contentDrop(file, text, selection);
    if (rule !== null) {
      drop(rule, candidate);
      continue;
    }
    if (first("kept", candidate)) report.kept++;
    report.keptBytes += bytes.length;
    yield section === null
      ? { path, text: text! }
      : { path, text: text!, section: { file, index: section.index } };
  }
}

/** The bytes of a text that was listed before, or why there are none: deleted, replaced or grown since. */
async function readIfThere(
  base: string,
  { file, section }: Pick<Candidate, "file" | "section">,
  selection: ResolvedSelection,
): Promise<Uint8Array | "vanished" | "unreadable"> {
  const path = join(base, file);
  try {
    const { size } = await stat(path);
    if (size > fileLimit(file, selection)) return "vanished";
    if (section === null) return size > SECTION_BYTES ? "vanished" : await readFile(path);
    const handle = await openForReading(path);
    try {
      return await readSection(handle, size, section);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (isMissing(cause) || codeOf(cause) === "EISDIR") return "vanished";
    if (isDenied(cause)) return "unreadable";
    throw fileError(cause, path, "read");
  }
}

const isDenied = (error: unknown) => ["EACCES", "EPERM"].includes(codeOf(error));

/** The text, or null for binaries. */
function decode(decoder: TextDecoder, bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** The entries of a folder by name, and how many have a name that is no UTF-8: Node cannot open these by a text. */
async function listFolder(path: string): Promise<{ entries: Dirent[]; unnamed: number }> {
  let entries: Dirent[] = await readdir(path, { withFileTypes: true });
  let unnamed = 0;
  if (entries.some(({ name }) => name.includes("\ufffd"))) {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const named = new Set<string>();
    for (const name of await readdir(path, { encoding: "buffer" })) {
      try {
        named.add(decoder.decode(name));
      } catch {
        unnamed++;
      }
    }
    // Two names that differ in bytes may read alike.
    entries = entries.filter(({ name }) => named.delete(name));
  }
  return { entries: entries.sort((a, b) => comparePaths(a.name, b.name)), unnamed };
}

/** Whether a folder is a training run, a model or tokens of this program's. */
async function isOwnFolder(path: string, entries: readonly Dirent[]): Promise<boolean> {
  if (entries.some(({ name }) => name === MANIFEST)) return true;
  if (!entries.some((entry) => entry.name === "run.json" && entry.isFile())) return false;
  try {
    // Runs from before there was a list of files.
    const run = JSON.parse(await readFile(join(path, "run.json"), "utf8")) as Record<string, unknown> | null;
    return run !== null && ["seed", "vocabSize", "model", "data", "training"].every((key) => key in run);
  } catch {
    return false;
  }
}

async function statIfThere(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isMissing(error) || isDenied(error)) return null;
    throw fileError(error, path, "read");
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
  const ignoredBy = (files: readonly IgnoreFile[], path: string, isFolder: boolean) =>
    isIgnored(files, joinPath(outer.prefix, path), isFolder);

  /** `toward`: only what leads to an included path, or lies below one, counts here. */
  const visit = async (
    folder: string,
    inherited: readonly IgnoreFile[],
    insidePackages: boolean,
    toward: boolean,
  ) => {
    const absolute = folder === "" ? root : join(root, folder);
    let listing: Awaited<ReturnType<typeof listFolder>>;
    try {
      listing = await listFolder(absolute);
    } catch (error) {
      if (folder === "" || !(isMissing(error) || isDenied(error))) throw fileError(error, absolute, "read");
      countDrop(report, isDenied(error) ? "unreadable" : "vanished");
      return;
    }
    const { entries, unnamed } = listing;
    if (folder !== "" && !toward && (await isOwnFolder(absolute, entries))) {
      if (included(folder, selection.include) === null) {
        countDrop(report, "run");
        return;
      }
    }
    for (let i = 0; i < unnamed; i++) countDrop(report, "fileName");
    let ignores = inherited;
    // A package's own ignore file would hide the build that was published.
    if (
      selection.gitignore &&
      !insidePackages &&
      entries.some((e) => e.name === ".gitignore" && e.isFile())
    ) {
      const text = await readFile(join(absolute, ".gitignore"), "utf8").catch(() => "");
      ignores = [...inherited, parseIgnoreFile(text, joinPath(outer.prefix, folder))];
    }
    for (const entry of entries) {
      const path = joinPath(folder, entry.name);
      const asked = included(path, selection.include);
      if (toward && asked === null) continue;
      const kind = await kindOf(entry, join(root, path), selection.followSymlinks);
      if (kind === "other") {
        countDrop(report, "symlink");
      } else if (kind === "folder") {
        const packages = entry.name === "node_modules";
        // What a repository ignores says nothing about installed packages, which were asked for explicitly.
        const rules = packages ? extra : [...ignores, ...extra];
        const { includeNodeModules } = selection;
        const rule =
          folderRule(entry.name, { insidePackages, includeNodeModules, atRoot: folder === "" }) ??
          (ownedTarget(entry.name) === null ? null : "run") ??
          (ignoredBy(rules, path, true) ? "gitignore" : null);
        if (rule !== null && asked !== "inside") {
          countDrop(report, rule);
          if (asked === null) continue;
        }
        if (entry.isSymbolicLink() || selection.followSymlinks) {
          const real = await realpath(join(root, path));
          if (visited.has(real)) {
            countDrop(report, "symlink");
            continue;
          }
          visited.add(real);
        }
        await visit(
          path,
          packages ? [] : ignores,
          insidePackages || packages,
          asked !== "inside" && (toward || rule !== null),
        );
      } else {
        report.seen++;
        if (PROJECT_MARKERS.has(entry.name)) manifests.push(path);
        const rule =
          asked === "inside"
            ? null
            : ((ignoredBy([...ignores, ...extra], path, false) ? "gitignore" : null) ??
              (hasExtension(path, selection.extensions) ? null : "extension") ??
              fileRule(entry.name));
        if (rule !== null) {
          countDrop(report, rule);
          continue;
        }
        const info = await statIfThere(join(root, path));
        if (info === null) countDrop(report, "vanished");
        else if (info.size > fileLimit(path, selection)) countDrop(report, "tooLarge");
        else found.push(...candidatesOf(path, info.size, selection));
      }
    }
  };
  await visit("", outer.files, rootInsidePackages, false);
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
