/**
 * `prepareCorpus` for corpora larger than memory, with the same result. A first pass selects and removes duplicates
 * and keeps path, size and hash of each file (and the signatures of `dedupe.ts`); later passes read the texts again,
 * one project at a time, since ordering files by their imports needs all files of a project. Files that changed in
 * between are left out, so that no text can get from one part of the split into the other.
 */

import { ConfigError } from "../tensor/errors.ts";
import { utf8Length } from "../text/utf8-length.ts";
import { comparePaths, type TextFile } from "./corpus.ts";
import { type DedupeReport, Deduplicator, normalizeText } from "./dedupe.ts";
import { hashHex, hashUnit } from "./hash.ts";
import type { PrepareOptions } from "./prepare.ts";
import { groupByProject } from "./project.ts";
import { pathComment, pathInProject, projectFiles, type RepositoryOptions } from "./repository-order.ts";
import { contentKey, cutAt, planSplit, type SplitItem } from "./split.ts";

/** A corpus whose texts can be had again by path; no two of its files share a path. */
export interface RereadableCorpus extends AsyncIterable<TextFile> {
  /** The text at a path of this corpus, or null if it is gone. */
  read(path: string): Promise<string | null>;
}

export interface StreamOptions extends Pick<PrepareOptions, "dedupe" | "split"> {
  /** Repository order of the training part; false keeps the corpus' order. */
  readonly repository?: Omit<RepositoryOptions, "join"> | false;
  /** UTF-8 bytes of a project that are held at once; a larger one is ordered in parts, by path (default 256 MB). */
  readonly projectBytes?: number;
  /** Called during the first pass, every 256 files. */
  readonly onProgress?: (progress: { readonly files: number; readonly bytes: number }) => void;
  /** Ends the first pass between two files. */
  readonly signal?: AbortSignal;
}

/** Texts that are read anew each time they are iterated. */
export interface TextStream extends AsyncIterable<TextFile> {
  readonly files: number;
  /** UTF-8 bytes of all texts as they are handed out. */
  readonly bytes: number;
}

export interface TrainingStream extends TextStream {
  /**
   * At most `maxBytes` of these texts, in their order: all if they fit, else files drawn by a hash of path and
   * seed. @throws ConfigError if not one file fits
   */
  sample(maxBytes: number, seed: number): TextStream;
}

export interface PreparedStream {
  readonly train: TrainingStream;
  readonly heldOut: TextStream;
  readonly dedupe: DedupeReport;
  /** Files too long to be held out whole, whose ends are. */
  readonly dividedFiles: number;
  /** Projects above `projectBytes`, which are ordered in parts. */
  readonly dividedProjects: readonly string[];
  /** Files that had changed or vanished when a later pass came to them, so far. */
  readonly skipped: number;
}

/** What is kept of a file. */
interface Entry {
  readonly path: string;
  /** UTF-8 bytes of the text in the corpus, or of the part between `from` and `to`. */
  readonly bytes: number;
  /** Of the whole text. */
  readonly hash: string;
  /** Part of the text that is handed out, in UTF-16 units. */
  readonly from?: number;
  readonly to?: number;
}

/** Files that are held at once; `project` is null if they keep their order and are read one by one. */
interface Part {
  readonly project: string | null;
  readonly entries: readonly Entry[];
}

const PROJECT_BYTES = 256_000_000;
const PROGRESS_FILES = 256;

/** Reads the corpus once to select and split; the parts of the result read it again. Same files as `prepareCorpus`. */
export async function prepareStream(
  corpus: RereadableCorpus,
  options: StreamOptions = {},
): Promise<PreparedStream> {
  const { repository = {}, projectBytes = PROJECT_BYTES } = options;
  if (!(projectBytes > 0)) {
    throw new ConfigError("must be above 0", { where: "prepareStream.projectBytes", found: projectBytes });
  }
  const deduplicator = new Deduplicator(options.dedupe || {});
  const entries: (SplitItem & Entry)[] = [];
  let [files, bytes] = [0, 0];
  for await (const file of corpus) {
    options.signal?.throwIfAborted();
    const size = utf8Length(file.text);
    bytes += size;
    if (++files % PROGRESS_FILES === 0) options.onProgress?.({ files, bytes });
    const normal = normalizeText(file.text);
    if (options.dedupe !== false && deduplicator.add(file, normal).kind !== "unique") continue;
    const { path, section } = file;
    entries.push({ path, section, bytes: size, hash: hashHex(file.text), key: contentKey(normal) });
  }
  const skipped = new Set<string>();
  const { train, heldOut, divided } = await splitEntries(corpus, entries, options, skipped);
  const comments = repository !== false && repository.pathComment === true;
  const dividedProjects: string[] = [];
  let parts: Part[] = [{ project: null, entries: train }];
  if (repository !== false) {
    parts = [];
    for (const { project, items } of groupByProject(train, repository.manifests)) {
      const divided = divide(items, projectBytes);
      if (divided.length > 1) dividedProjects.push(project);
      for (const entries of divided) parts.push({ project, entries });
    }
  }
  const stream = (of: readonly Part[], pathComment: boolean): TextStream => ({
    files: of.reduce((sum, part) => sum + part.entries.length, 0),
    bytes: of.reduce((sum, part) => sum + partBytes(part, pathComment), 0),
    [Symbol.asyncIterator]: () => readParts(corpus, of, pathComment, skipped),
  });
  const whole = stream(parts, comments);
  return {
    train: {
      ...whole,
      sample: (maxBytes, seed) =>
        whole.bytes <= maxBytes ? whole : stream(draw(parts, maxBytes, seed, comments), comments),
    },
    heldOut: stream([{ project: null, entries: heldOut }], false),
    dedupe: deduplicator.report,
    dividedFiles: divided,
    dividedProjects,
    get skipped() {
      return skipped.size;
    },
  };
}

/** The entries of both sides; what is divided is read once more to find the place. */
async function splitEntries(
  corpus: RereadableCorpus,
  entries: readonly (SplitItem & Entry)[],
  options: StreamOptions,
  skipped: Set<string>,
): Promise<{ train: Entry[]; heldOut: Entry[]; divided: number }> {
  const plan = planSplit(entries, options.split);
  const [train, heldOut]: Entry[][] = [[], []];
  const divided = new Set<string>();
  for (const [i, { path, section, bytes, hash }] of entries.entries()) {
    const entry: Entry = { path, bytes, hash };
    const share = plan[i];
    if (share === 0) train.push(entry);
    else if (share === 1) heldOut.push(entry);
    else {
      divided.add(section?.file ?? path);
      for await (const { text } of readUnchanged(corpus, [entry], skipped)) {
        const cut = cutAt(text, share);
        const head = utf8Length(text.slice(0, cut));
        if (cut > 0) train.push({ ...entry, bytes: head, to: cut });
        if (cut < text.length) heldOut.push({ ...entry, bytes: bytes - head, from: cut });
      }
    }
  }
  return { train, heldOut, divided: divided.size };
}

/** Cuts a list into runs of at most `limit` bytes; a larger file is its own run. */
function divide(entries: readonly Entry[], limit: number): Entry[][] {
  const runs: Entry[][] = [];
  let held = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    if (held + entry.bytes > limit) {
      runs.push([]);
      held = 0;
    }
    runs[runs.length - 1].push(entry);
    held += entry.bytes;
  }
  return runs;
}

/** Bytes of a file as it is handed out: a path comment adds itself and one line end. */
function shownBytes({ path, bytes }: Entry, project: string | null, comments: boolean): number {
  const comment = comments && project !== null ? pathComment(pathInProject(path, project)) : null;
  return comment === null ? bytes : bytes + utf8Length(comment) + 1;
}

function partBytes({ project, entries }: Part, comments: boolean): number {
  return entries.reduce((sum, entry) => sum + shownBytes(entry, project, comments), 0);
}

/** The parts with only as many files, drawn by their hashes, as fit into `maxBytes`. */
function draw(parts: readonly Part[], maxBytes: number, seed: number, comments: boolean): Part[] {
  // Selection and split rank by the path alone; the prefix makes this draw independent of theirs.
  const ranked = parts
    .flatMap(({ project, entries }) =>
      entries.map((entry) => ({
        path: entry.path,
        bytes: shownBytes(entry, project, comments),
        rank: hashUnit(`sample:${entry.path}`, seed),
      })),
    )
    .sort((a, b) => a.rank - b.rank || comparePaths(a.path, b.path));
  const chosen = new Set<string>();
  let left = maxBytes;
  for (const { path, bytes } of ranked) {
    if (bytes > left) continue;
    chosen.add(path);
    left -= bytes;
  }
  if (chosen.size === 0) {
    throw new ConfigError("no file is small enough for the sample", {
      where: "data.tokenizerBytes",
      expected: `at least ${ranked.reduce((least, { bytes }) => Math.min(least, bytes), Number.POSITIVE_INFINITY)}`,
      found: maxBytes,
    });
  }
  return parts
    .map(({ project, entries }) => ({ project, entries: entries.filter(({ path }) => chosen.has(path)) }))
    .filter(({ entries }) => entries.length > 0);
}

async function* readParts(
  corpus: RereadableCorpus,
  parts: readonly Part[],
  comments: boolean,
  skipped: Set<string>,
): AsyncGenerator<TextFile> {
  for (const { project, entries } of parts) {
    if (project === null) yield* readUnchanged(corpus, entries, skipped);
    // A generator of its own, so that no local of this one keeps a project's texts while the next is read.
    else yield* readProject(corpus, project, entries, comments, skipped);
  }
}

async function* readProject(
  corpus: RereadableCorpus,
  project: string,
  entries: readonly Entry[],
  comments: boolean,
  skipped: Set<string>,
): AsyncGenerator<TextFile> {
  const files: TextFile[] = [];
  for await (const file of readUnchanged(corpus, entries, skipped)) files.push(file);
  yield* projectFiles(files, project, { pathComment: comments });
}

/** Texts as the first pass saw them; the others are noted in `skipped`. */
async function* readUnchanged(
  corpus: RereadableCorpus,
  entries: readonly Entry[],
  skipped: Set<string>,
): AsyncGenerator<TextFile> {
  for (const { path, hash, from, to } of entries) {
    const text = await corpus.read(path);
    if (text === null || hashHex(text) !== hash) skipped.add(path);
    else yield { path, text: text.slice(from, to) };
  }
}
