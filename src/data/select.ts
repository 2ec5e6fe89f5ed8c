/**
 * Which files of a folder or any other corpus become training text: ignored folders, extensions, sizes and the
 * content filters, with a count per rule of what was dropped. No file access; `node-files.ts` walks a disk.
 */

import { ConfigError } from "../tensor/errors.ts";
import { utf8Length } from "../text/utf8-length.ts";
import { baseName, type Corpus, type TextFile } from "./corpus.ts";
import { ALL_FILTERS, type ContentRule, type FilterSwitches, rejectedBy } from "./filters.ts";
import { isSecretName, isSecretText } from "./secrets.ts";

export const EXTENSION_PRESETS = ["code", "typescript", "text", "all"] as const;

export type ExtensionPreset = (typeof EXTENSION_PRESETS)[number];

/** Why an entry was left out. Rules on folders count a whole folder once. */
export type DropRule =
  | "ignoredFolder"
  | "dotFile"
  | "run"
  | "secret"
  | "fileName"
  | "unreadable"
  | "nodeModules"
  | "gitignore"
  | "symlink"
  | "extension"
  | "tooLarge"
  | "empty"
  | "binary"
  | "vanished"
  | "cap"
  | ContentRule;

export interface SelectOptions {
  /** A preset or a list of extensions with or without the dot (default "code"). */
  readonly extensions?: ExtensionPreset | readonly string[];
  /** Enter `node_modules` folders found below the root (default false; the root itself may always be one). */
  readonly includeNodeModules?: boolean;
  /** Honor `.gitignore` files (default true). */
  readonly gitignore?: boolean;
  /** Further patterns in `.gitignore` syntax, relative to the root. */
  readonly ignore?: readonly string[];
  /**
   * Files and folders, relative to the root, that are read although a rule on names leaves them out: dot files, runs
   * of this program, secrets, build folders, ignored files.
   */
  readonly include?: readonly string[];
  /** Files above this size are dropped unread (default: 4 MiB; plain text and a root that is a file: no limit). */
  readonly maxFileBytes?: number;
  /** Stop once this many bytes of text were kept (default no limit). */
  readonly maxBytes?: number;
  /** With `maxBytes`: take files in a seeded random order rather than by path, so that all folders are heard. */
  readonly sampleSeed?: number;
  /** Content rules to switch off, for example `{ dataSize: false }`. */
  readonly filters?: Partial<FilterSwitches>;
  /** Enter symbolic links to folders and read linked files (default false). */
  readonly followSymlinks?: boolean;
}

export interface SelectionReport {
  /** Files that were considered by path (entries below ignored folders are never seen). */
  seen: number;
  kept: number;
  /** UTF-8 bytes of the kept texts. */
  keptBytes: number;
  readonly dropped: Partial<Record<DropRule, number>>;
}

/** An empty report. */
export function newReport(): SelectionReport {
  return { seen: 0, kept: 0, keptBytes: 0, dropped: {} };
}

/** Adds one dropped entry to a report. */
export function countDrop(report: SelectionReport, rule: DropRule): void {
  report.dropped[rule] = (report.dropped[rule] ?? 0) + 1;
}

const MAX_FILE_BYTES = 4 * 1024 * 1024;

const TYPESCRIPT = ["ts", "tsx", "mts", "cts"];
const TEXT = ["txt", "md", "markdown", "mdx", "rst", "adoc", "org", "tex"];
const CODE = [
  ...TYPESCRIPT,
  ..."js jsx mjs cjs vue svelte py pyi c h cc cpp cxx hh hpp hxx cu cuh java kt kts scala go rs swift m mm".split(
    " ",
  ),
  ..."cs fs rb php pl pm lua r jl hs ml mli ex exs erl clj lisp el scm zig nim d dart sql sh bash zsh ps1".split(
    " ",
  ),
  ..."css scss less html htm xml xsl xslt json yaml yml toml cmake proto graphql wgsl glsl lean v sv vhd".split(
    " ",
  ),
];

/** The extensions of a preset, lower case and without dots; null means every extension. */
export function presetExtensions(extensions: ExtensionPreset | readonly string[]): readonly string[] | null {
  if (typeof extensions !== "string") {
    const wrong = extensions.find((e) => typeof e !== "string");
    if (wrong !== undefined) {
      throw new ConfigError("extensions must be strings", {
        where: "data.extensions",
        found: JSON.stringify(wrong),
      });
    }
    const list = extensions.map((e) => e.replace(/^\./, "").toLowerCase()).filter((e) => e !== "");
    if (list.length === 0) {
      throw new ConfigError("an empty list of extensions selects nothing", { where: "data.extensions" });
    }
    return list;
  }
  switch (extensions) {
    case "typescript":
      return TYPESCRIPT;
    case "text":
      return TEXT;
    case "code":
      return CODE;
    case "all":
      return null;
    default:
      throw new ConfigError("unknown extension preset", {
        where: "data.extensions",
        expected: EXTENSION_PRESETS,
        found: extensions,
      });
  }
}

/** Folders of version control, caches and environments: never training text. */
const NEVER = new Set(
  ".git .hg .svn .jj CVS .DS_Store .idea .vscode .cache .venv venv __pycache__ .mypy_cache .pytest_cache .tox".split(
    " ",
  ),
);
/** Build outputs of one's own project; inside installed packages the same names hold what was published. */
const BUILD = new Set(
  "dist build out target coverage .next .nuxt .svelte-kit .turbo .output .parcel-cache bower_components".split(
    " ",
  ),
);

/** Where an entry lies. */
export interface EntryPlace {
  readonly insidePackages: boolean;
  readonly includeNodeModules: boolean;
  /** Directly below the corpus' root, where training puts its runs. */
  readonly atRoot: boolean;
}

/** The rule that keeps a walker out of the folder called `name`, or null if it may enter. */
export function folderRule(name: string, context: EntryPlace): DropRule | null {
  if (NEVER.has(name)) return "ignoredFolder";
  if (name === "runs" && context.atRoot) return "run";
  // Where pnpm keeps what it installed.
  if (name.startsWith(".") && !(name === ".pnpm" && context.insidePackages)) return "dotFile";
  if (name === "node_modules")
    return context.includeNodeModules || context.insidePackages ? null : "nodeModules";
  return !context.insidePackages && BUILD.has(name) ? "ignoredFolder" : null;
}

/** The rule that drops the file called `name` unread, or null. */
export function fileRule(name: string): DropRule | null {
  return isSecretName(name) ? "secret" : name.startsWith(".") ? "dotFile" : null;
}

/** Whether `path` is among the paths of `include` or below one ("inside"), or above one ("toward"), or neither. */
export function included(path: string, include: readonly string[]): "inside" | "toward" | null {
  let result: "toward" | null = null;
  for (const named of include) {
    if (path === named || path.startsWith(`${named}/`)) return "inside";
    if (named.startsWith(`${path}/`)) result = "toward";
  }
  return result;
}

/** True if the file name ends in one of the extensions (`d.ts` matches `a.d.ts` only). */
export function hasExtension(path: string, extensions: readonly string[] | null): boolean {
  if (extensions === null) return true;
  const name = baseName(path).toLowerCase();
  return extensions.some((e) => name.endsWith(`.${e}`));
}

/** All options with their defaults filled in and checked. */
export interface ResolvedSelection {
  readonly extensions: readonly string[] | null;
  readonly includeNodeModules: boolean;
  readonly gitignore: boolean;
  readonly ignore: readonly string[];
  readonly include: readonly string[];
  /** Null if it depends on the file. */
  readonly maxFileBytes: number | null;
  readonly maxBytes: number;
  readonly sampleSeed: number | null;
  readonly filters: FilterSwitches;
  readonly followSymlinks: boolean;
}

/** Fills in defaults. @throws ConfigError for limits that are not positive or unknown presets. */
export function resolveSelection(options: SelectOptions = {}): ResolvedSelection {
  for (const name of ["maxFileBytes", "maxBytes"] as const) {
    const value = options[name];
    if (value !== undefined && !(value > 0)) {
      throw new ConfigError("must be positive", { where: `data.${name}`, found: value });
    }
  }
  return {
    extensions: presetExtensions(options.extensions ?? "code"),
    includeNodeModules: options.includeNodeModules ?? false,
    gitignore: options.gitignore ?? true,
    ignore: options.ignore ?? [],
    include: (options.include ?? []).map((path) => path.replace(/^\.\//, "").replace(/\/+$/, "")),
    maxFileBytes: options.maxFileBytes ?? null,
    maxBytes: options.maxBytes ?? Number.POSITIVE_INFINITY,
    sampleSeed: options.sampleSeed ?? null,
    filters: { ...ALL_FILTERS, ...options.filters },
    followSymlinks: options.followSymlinks ?? false,
  };
}

/** Bytes up to which the file at `path` is read. */
export function fileLimit(path: string, { maxFileBytes }: ResolvedSelection): number {
  return maxFileBytes ?? (hasExtension(path, TEXT) ? Number.POSITIVE_INFINITY : MAX_FILE_BYTES);
}

/** The rule that drops a decoded text, or null if it is kept. */
export function contentDrop(path: string, text: string, selection: ResolvedSelection): DropRule | null {
  if (text.trim() === "") return "empty";
  if (text.includes("\0")) return "binary";
  if (isSecretText(text) && included(path, selection.include) !== "inside") return "secret";
  return rejectedBy(path, text, selection.filters);
}

/**
 * Filters any corpus (a browser's dropped folder, an archive) by folder names, extension, size and content, in
 * the corpus' order; `report` is filled while the result is read. `.gitignore` files, `ignore` patterns and
 * `sampleSeed` need a walker and have no effect here.
 */
export async function* selectCorpus(
  corpus: Corpus,
  options: SelectOptions = {},
  report: SelectionReport = newReport(),
): AsyncGenerator<TextFile> {
  const selection = resolveSelection(options);
  for await (const file of corpus) {
    report.seen++;
    const rule = pathDrop(file.path, selection) ?? sizeDrop(file, selection, report) ?? null;
    const verdict = rule ?? contentDrop(file.path, file.text, selection);
    if (verdict !== null) {
      countDrop(report, verdict);
      continue;
    }
    report.kept++;
    report.keptBytes += utf8Length(file.text);
    yield file;
  }
}

function pathDrop(path: string, selection: ResolvedSelection): DropRule | null {
  if (included(path, selection.include) === "inside") return null;
  let insidePackages = false;
  const folders = path.split("/").slice(0, -1);
  for (const [depth, name] of folders.entries()) {
    const inner = folders.slice(0, depth + 1).join("/");
    const { includeNodeModules } = selection;
    const rule = folderRule(name, { insidePackages, includeNodeModules, atRoot: depth === 0 });
    if (rule && included(inner, selection.include) !== "inside") return rule;
    insidePackages ||= name === "node_modules";
  }
  return hasExtension(path, selection.extensions) ? fileRule(baseName(path)) : "extension";
}

function sizeDrop(file: TextFile, selection: ResolvedSelection, report: SelectionReport): DropRule | null {
  const bytes = utf8Length(file.text);
  if (bytes > fileLimit(file.path, selection)) return "tooLarge";
  return report.keptBytes + bytes > selection.maxBytes ? "cap" : null;
}

const WORDS: Partial<Record<DropRule, (count: number) => string>> = {
  gitignore: (n) => `${n} by .gitignore`,
  dotFile: (n) => `${n} whose name begins with a dot`,
  run: (n) => `${n} that hold${n === 1 ? "s" : ""} runs or models of this program`,
  secret: (n) => `${n} that look${n === 1 ? "s" : ""} like secrets`,
  fileName: (n) => `${n} whose name is not UTF-8`,
  unreadable: (n) => `${n} that may not be read`,
  tooLarge: (n) => `${n} too large (data.maxFileBytes)`,
  binary: (n) => `${n} that ${n === 1 ? "is" : "are"} not UTF-8 text`,
  vanished: (n) => `${n} that changed meanwhile`,
  cap: (n) => `${n} beyond data.maxBytes`,
};

/** What was left out that a person may not expect, in words; "" if there is nothing to say. */
export function leftOutText({ dropped }: SelectionReport): string {
  const parts = Object.entries(WORDS).flatMap(([rule, words]) => {
    const count = dropped[rule as DropRule] ?? 0;
    return count > 0 ? [words(count)] : [];
  });
  return parts.join(", ");
}
