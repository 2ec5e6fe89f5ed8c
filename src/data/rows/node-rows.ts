/**
 * Rows for post-training from files, folders and data sets on the hub, in JSON Lines or Parquet: read one after the other and
 * never held, each checked. Node only.
 */
import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { nodeFileSource } from "../../checkpoint/node-files.ts";
import { explained } from "../../files/file-error.ts";
import { JsonSyntaxError, parseJson, toPlain } from "../../json/index.ts";
import type { DownloadOptions } from "../../pretrained/hub.ts";
import { HubError } from "../../pretrained/hub-client.ts";
import { downloadDataset } from "../../pretrained/hub-dataset.ts";
import { parseHubName } from "../../pretrained/hub-name.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { lineJson, lineName, linesOf, lineText } from "../conversations/json-lines.ts";
import { hashUnit } from "../hash.ts";
import { parquetRows } from "./parquet.ts";
import { parseRow, type RowKind, type RowKinds, splitText } from "./row.ts";
import { chooseRowFiles, type FileFilter, isRowFile } from "./row-files.ts";

export interface OpenRowsOptions extends FileFilter, Omit<DownloadOptions, "file"> {
  /** Longest row in bytes; default 16 MiB. */
  readonly maxRowBytes?: number;
}

/** A row, and where it is from. */
export interface LocatedRow<K extends RowKind> {
  readonly row: RowKinds[K];
  /** File and line, for errors. */
  readonly where: string;
  /** In [0, 1), by the row's prompt: what `heldOutBelow` splits by. */
  readonly hash: number;
}

export interface RowsProgress {
  readonly rows: number;
  /** Files read to their end, and all. */
  readonly filesDone: number;
  readonly files: number;
}

export interface ReadRowsOptions {
  readonly signal?: AbortSignal;
  /** Called now and then, and at the end. */
  readonly onProgress?: (progress: RowsProgress) => void;
}

/** Files of rows, found and not yet read. */
export interface RowSource {
  /** What it was opened by. */
  readonly names: readonly string[];
  readonly files: readonly string[];
  /** All rows, checked, file by file. May be asked for again. @throws FormatError naming file, line and field */
  read<K extends RowKind>(kind: K, options?: ReadRowsOptions): AsyncGenerator<LocatedRow<K>>;
}

const MAX_ROW_BYTES = 16 << 20;
/** Most bytes of a Parquet row group. */
const MAX_GROUP_BYTES = 1 << 30;
/** Rows between two calls of `onProgress`. */
const PROGRESS_ROWS = 1000;
/** Deepest folder that is looked into, and most files in all. */
const MOST_DEPTH = 8;
const MOST_FILES = 100_000;
const MOST_NESTING = 32;

/** Files below a folder, relative to it with `/`. Links to folders are not followed. */
async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  const visit = async (inner: string, depth: number): Promise<void> => {
    const path = join(folder, inner);
    for (const entry of await explained(path, "read", () => readdir(path, { withFileTypes: true }))) {
      if (entry.name.startsWith(".")) continue;
      const name = inner === "" ? entry.name : `${inner}/${entry.name}`;
      if (entry.isDirectory() && depth < MOST_DEPTH) await visit(name, depth + 1);
      else if (!entry.isDirectory()) found.push(name);
      if (found.length > MOST_FILES) {
        throw new ConfigError("too many files", { where: folder, expected: `at most ${MOST_FILES}` });
      }
    }
  };
  await visit("", 0);
  return found;
}

async function locate(name: string, options: OpenRowsOptions): Promise<string[]> {
  const info = await stat(name).catch(() => null);
  if (info?.isDirectory()) {
    return chooseRowFiles(name, await filesBelow(name), options).map((path) => join(name, path));
  }
  if (info !== null) {
    if (isRowFile(name)) return [name];
    throw new ConfigError("not a file of rows", {
      where: name,
      expected: "a name that ends in .jsonl, .ndjson, .json (lines) or .parquet",
    });
  }
  const hubName = name.replace(/^datasets\//, "");
  if (parseHubName(hubName) === null) {
    throw new ConfigError("neither a file or folder here nor the name of a data set on the hub", {
      where: name,
      expected: "a .jsonl or .parquet file, a folder of them, or owner/name",
      found: `nothing at ${resolve(name)}`,
    });
  }
  try {
    const choose = (where: string, paths: readonly string[]) => chooseRowFiles(where, paths, options, true);
    const { folder, files } = await downloadDataset(hubName, choose, options);
    return files.map((path) => join(folder, path));
  } catch (error) {
    if (!(error instanceof HubError) || !(error.unknownModel || error.unreachable)) throw error;
    const message = error.unknownModel
      ? "neither a file or folder here nor a data set on the hub that can be seen"
      : "no file or folder here, and the hub does not answer";
    throw new ConfigError(message, {
      where: name,
      found: `nothing at ${resolve(name)}; ${error.message}`,
      cause: error,
    });
  }
}

/** Columns of JSON may be nested as deep as they like. */
function parquetValue(text: string, where: string): unknown {
  try {
    return toPlain(parseJson(text, { maxDepth: MOST_NESTING }));
  } catch (cause) {
    if (!(cause instanceof JsonSyntaxError)) throw cause;
    throw new FormatError(`a value cannot be read: ${cause.message}`, { where, cause });
  }
}

/** The values of a file, each with its name for errors. */
async function* valuesOf(
  path: string,
  maxRowBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<{ value: unknown; where: string }> {
  if (/\.parquet$/i.test(path)) {
    let number = 0;
    const limits = { groupBytes: MAX_GROUP_BYTES, rowBytes: maxRowBytes };
    for await (const text of parquetRows(path, limits, signal)) {
      const where = `${path} row ${++number}`;
      yield { value: parquetValue(text, where), where };
    }
    return;
  }
  const source = await nodeFileSource(path);
  try {
    for await (const line of linesOf(source, maxRowBytes)) {
      const value = lineJson(path, line.number, lineText(path, line));
      yield { value, where: lineName(path, line.number) };
    }
  } finally {
    await source.close?.();
  }
}

/**
 * Finds the files of `names`: files, folders, or data sets on the hub, which are downloaded.
 * @throws ConfigError for a name that is none of these, or files that leave a choice; HubError, FormatError, FileError
 */
export async function openRows(names: readonly string[], options: OpenRowsOptions = {}): Promise<RowSource> {
  const { maxRowBytes = MAX_ROW_BYTES } = options;
  const files: string[] = [];
  for (const name of names) files.push(...(await locate(name, options)));
  return {
    names,
    files,
    async *read<K extends RowKind>(kind: K, { signal, onProgress }: ReadRowsOptions = {}) {
      let rows = 0;
      for (const [filesDone, path] of files.entries()) {
        for await (const { value, where } of valuesOf(path, maxRowBytes, signal)) {
          signal?.throwIfAborted();
          const row = parseRow(kind, value, where);
          yield { row, where, hash: hashUnit(splitText(row)) };
          if (++rows % PROGRESS_ROWS === 0) onProgress?.({ rows, filesDone, files: files.length });
        }
      }
      if (rows === 0) {
        throw new FormatError("no rows", { where: names.join(", "), expected: "a JSON object on each line" });
      }
      onProgress?.({ rows, filesDone: files.length, files: files.length });
    },
  };
}
