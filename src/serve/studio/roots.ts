/**
 * The folders that were named at the start: everything that the page names on disk lies below one of them, links followed. What a
 * path leads to is looked at, not how it is spelled.
 */
import type { FileHandle } from "node:fs/promises";
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileError, isMissing } from "../../files/file-error.ts";
import { checkName } from "../../files/place.ts";
import { isInnerPath } from "../../files/sink.ts";
import { openForReading } from "../../files/text-file.ts";
import { ApiError, invalidRequest } from "../errors.ts";
import type { FileEntry, FileList, Root, RootPath } from "./protocol.ts";
import { shownPath } from "./shown-path.ts";

/** Entries of a folder that are told. */
export const MOST_ENTRIES = 1000;
/** Characters of a path. */
const MOST_PATH = 1024;

function absent(what: string): ApiError {
  return new ApiError({
    ...{ status: 404, type: "invalid_request_error", param: "path", code: "file_not_found" },
    message: `There is nothing at '${what.slice(0, 200)}'.`,
  });
}

/** What a folder is, as far as the names in it say. */
export function holdsOf(names: ReadonlySet<string>): FileEntry["holds"] {
  if (names.has("run.json")) return "run";
  const weights = [...names].some((name) =>
    /\.(safetensors|bin|pt|pth)$|\.safetensors\.index\.json$/.test(name),
  );
  return names.has("config.json") && weights ? "model" : null;
}

export class Roots {
  readonly list: readonly Root[];
  readonly #real: ReadonlyMap<string, string>;

  private constructor(roots: readonly (Root & { readonly real: string })[]) {
    this.list = roots.map(({ name, path }) => ({ name, path }));
    this.#real = new Map(roots.map(({ name, real }) => [name, real]));
  }

  /** @param paths folders; one that is not there yet is empty until something is written below it */
  static async open(paths: readonly string[]): Promise<Roots> {
    const roots: (Root & { readonly real: string })[] = [];
    for (const given of paths) {
      const path = resolve(given);
      const real = await realOf(path);
      if (roots.some((root) => root.real === real)) continue;
      const name = basename(path).replace(/[/\\:\0]/g, "_") || "root";
      let unique = name;
      for (let n = 2; roots.some((root) => root.name === unique); n++) unique = `${name}-${n}`;
      roots.push({ name: unique, path, real });
    }
    return new Roots(roots);
  }

  /** The root and the path of `ROOT/PATH`; null if it begins with no root. */
  parse(text: string): RootPath | null {
    const at = text.indexOf("/");
    const root = at < 0 ? text : text.slice(0, at);
    if (!this.#real.has(root)) return null;
    return { root, path: at < 0 ? "" : text.slice(at + 1) };
  }

  /** A text for the page, with the names of the roots in place of where they are on this machine. */
  shown(text: string): string {
    let all = text;
    for (const { name, path } of this.list) {
      for (const folder of new Set([this.#real.get(name)!, path])) {
        if (folder !== sep) all = all.replaceAll(folder + sep, `${name}/`).replaceAll(folder, name);
      }
    }
    return all;
  }

  /** `ROOT/PATH` of a path of this machine. @throws ApiError 404 for one below no root */
  nameOf(path: string): string {
    return shownPath(this.#placeOf(path));
  }

  /** The place of a path of this machine. @throws ApiError 404 for one below no root */
  #placeOf(path: string): RootPath {
    const full = resolve(path);
    for (const { name, path: folder } of this.list) {
      if (full === folder) return { root: name, path: "" };
      const inner = relative(folder, full).replaceAll(sep, "/");
      if (isInnerPath(inner)) return { root: name, path: inner };
    }
    throw absent(path);
  }

  /** The place of a root, where it is spelled below it. @throws ApiError 400, 404 */
  #spelled({ root, path }: RootPath): string {
    const folder = this.#real.get(root);
    if (folder === undefined) {
      const names = this.list.map(({ name }) => `'${name}'`).join(", ");
      throw new ApiError({
        ...{ status: 404, type: "invalid_request_error", param: "root", code: "unknown_root" },
        message: `There is no root '${root.slice(0, 100)}'; there is ${names || "none"}.`,
      });
    }
    if (path.length > MOST_PATH || (path !== "" && !isInnerPath(path))) {
      throw invalidRequest(
        `'${path.slice(0, 100)}' is no path below a root: expected names with '/' between them, without '..'.`,
        "path",
        "invalid_path",
      );
    }
    return join(folder, path);
  }

  #isBelow(real: string, { root }: RootPath): boolean {
    const folder = this.#real.get(root)!;
    return real === folder || real.startsWith(folder.endsWith(sep) ? folder : folder + sep);
  }

  /** Where something is that exists, links followed. @throws ApiError 400, 404, also for what a link leads to outside */
  async resolve(place: RootPath): Promise<string> {
    const path = this.#spelled(place);
    try {
      const real = await realpath(path);
      if (this.#isBelow(real, place)) return real;
    } catch (error) {
      if (!isMissing(error)) throw fileError(error, shownPath(place), "read");
    }
    throw absent(shownPath(place));
  }

  /**
   * Where something new may be written: below the root, also by way of the folders that are there.
   * @throws ApiError 400, 404
   */
  async place(place: RootPath): Promise<string> {
    const path = this.#spelled(place);
    if (place.path === "")
      throw invalidRequest("'path' must name something below the root.", "path", "invalid_path");
    for (const part of place.path.split("/")) {
      checkName(part);
      if (part.startsWith(".")) {
        throw invalidRequest(
          `'${part.slice(0, 100)}' would be hidden: choose another name.`,
          "path",
          "invalid_path",
        );
      }
    }
    for (let at = path; ; at = dirname(at)) {
      const info = await lstat(at).catch((error: unknown) => {
        if (isMissing(error)) return null;
        throw fileError(error, shownPath(place), "write");
      });
      // A root that is made with what is written first.
      if (info === null && at !== this.#real.get(place.root)) continue;
      const real = info === null ? at : await realpath(at).catch(() => null);
      if (real !== null && this.#isBelow(real, place)) return path;
      throw absent(shownPath(place));
    }
  }

  /** Opens a file for reading; what was opened is what is checked. @throws ApiError 400, 404 */
  async openFile(place: RootPath): Promise<FileHandle> {
    const real = await this.resolve(place);
    // Opening a pipe would wait for its writer.
    if (!(await stat(real).catch(() => null))?.isFile()) throw absent(shownPath(place));
    const handle = await openForReading(real).catch((error: unknown) => {
      if (isMissing(error)) throw absent(shownPath(place));
      throw fileError(error, shownPath(place), "read");
    });
    try {
      const [opened, there] = [await handle.stat(), await stat(await this.resolve(place))];
      if (opened.isFile() && opened.ino === there.ino && opened.dev === there.dev) return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
    await handle.close();
    throw absent(shownPath(place));
  }

  /** What a folder holds, folders first, up to a limit. @throws ApiError 400, 404 */
  async entries(place: RootPath): Promise<FileList> {
    const root = place.path === "" ? await this.resolve(place).catch(() => null) : undefined;
    // One that will be made with what is written first.
    if (root === null && this.#real.has(place.root)) return { ...place, entries: [], more: false };
    const real = root ?? (await this.resolve(place));
    const found = await readdir(real, { withFileTypes: true }).catch((error: unknown) => {
      if (isMissing(error)) throw absent(shownPath(place));
      throw fileError(error, shownPath(place), "read");
    });
    const visible = found.filter(({ name }) => !name.startsWith("."));
    visible.sort((a, b) => Number(b.isDirectory()) - Number(a.isDirectory()) || (a.name < b.name ? -1 : 1));
    const entries: FileEntry[] = [];
    for (const { name } of visible.slice(0, MOST_ENTRIES)) {
      const inner = { root: place.root, path: place.path === "" ? name : `${place.path}/${name}` };
      // Of a link outside nothing is told.
      const path = isInnerPath(name) ? await this.resolve(inner).catch(() => null) : null;
      const info = path === null ? null : await stat(path).catch(() => null);
      if (path === null || info === null) continue;
      const folder = info.isDirectory();
      if (!folder && !info.isFile()) continue;
      const names = folder ? await readdir(path).catch(() => []) : [];
      const holds = folder ? holdsOf(new Set(names)) : /\.gguf$/i.test(name) ? "model" : null;
      entries.push({
        name,
        folder,
        size: folder ? null : info.size,
        changed: Math.round(info.mtimeMs),
        holds,
      });
    }
    return { ...place, entries, more: visible.length > MOST_ENTRIES };
  }
}

/** The real path of a folder, or of where it will be. */
async function realOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isMissing(error) || dirname(path) === path) throw fileError(error, path, "read");
    return join(await realOf(dirname(path)), basename(path));
  }
}
