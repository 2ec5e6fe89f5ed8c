/** The files of the built page, as they lie in their folder: nothing outside of it, nothing that is no plain file. */
import { lstat, readFile, realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import { isMissing } from "../../files/file-error.ts";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  json: "application/json",
  map: "application/json",
  webmanifest: "application/manifest+json",
  svg: "image/svg+xml",
  png: "image/png",
  ico: "image/x-icon",
  webp: "image/webp",
  woff2: "font/woff2",
  wasm: "application/wasm",
  txt: "text/plain; charset=utf-8",
};
/** Files whose names change with what they hold. */
const HASHED = /^assets\//;
/** Parts of paths: no `.` and `..`, nothing hidden, nothing that a system reads in its own way. */
const PATH = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/;

export interface PageFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The file at `path` below `folder`, the empty one being `index.html`; null if there is none.
 * @param path as it stands in an address, without the first slash
 */
export async function pageFile(folder: string, path: string): Promise<PageFile | null> {
  const inner = path === "" ? "index.html" : path;
  const type = TYPES[/\.(\w+)$/.exec(inner)?.[1] ?? ""];
  if (type === undefined || !PATH.test(inner)) return null;
  try {
    const root = await realpath(folder);
    const real = await realpath(join(root, inner));
    if (!real.startsWith(root + sep) || !(await lstat(real)).isFile()) return null;
    const cache = HASHED.test(inner) ? "public, max-age=31536000, immutable" : "no-cache";
    return {
      bytes: new Uint8Array(await readFile(real)),
      headers: { "content-type": type, "cache-control": cache },
    };
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}
