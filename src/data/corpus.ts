/**
 * The two shapes the data folder works on: a corpus (a stream of text files from a disk, an archive or a
 * browser's file picker) and the part of a tokenizer that turning text into training sequences needs.
 */

/** One text of a corpus; `path` uses forward slashes and is relative to the corpus root. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
  /** Where this is a part of a longer file: that file's path, and which part it is, from 0. */
  readonly section?: { readonly file: string; readonly index: number };
}

/** Any source of texts. Nothing here holds more than one text at a time unless its docstring says so. */
export type Corpus = AsyncIterable<TextFile> | Iterable<TextFile>;

/** Ids of the fill-in-the-middle sentinels. */
export interface FimIds {
  readonly begin: number;
  readonly hole: number;
  readonly end: number;
}

/** What the data pipeline asks of a tokenizer; `encode` must not add special tokens by itself. */
export interface Tokenizer {
  encode(text: string): ArrayLike<number>;
  readonly eosId: number;
  readonly bosId?: number;
  readonly fim?: FimIds;
}

/** Collects a corpus into memory. */
export async function collect(corpus: Corpus): Promise<TextFile[]> {
  const files: TextFile[] = [];
  for await (const file of corpus) files.push(file);
  return files;
}

/** Compares by UTF-16 code units, so that the order does not depend on the locale. */
export function comparePaths(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The part of a path after its last slash. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The part of a path before its last slash, or "" at the root. */
export function folderOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}
