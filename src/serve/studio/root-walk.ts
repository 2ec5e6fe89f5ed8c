/** Walks the folders below the roots in search of what some of them hold: models, runs. Folders that are found to hold it are not entered. */
import { readdir, stat } from "node:fs/promises";
import type { RootPath } from "./protocol.ts";
import type { Roots } from "./roots.ts";

/** Folders and files that are looked into, and how deep. */
const MOST_PLACES = 5000;
const DEEPEST = 4;

export interface Walk {
  /** Gives what is at a place; null for nothing, or where it cannot be read: a folder is entered then. */
  look(place: RootPath): Promise<unknown>;
  /** Names of files that are looked at beside the folders. */
  readonly files?: RegExp;
  /** Findings after which it ends. */
  readonly most: number;
}

/** Looks at every folder below the roots, by name; hidden ones and `node_modules` are left out, as is what links lead to outside. */
export async function walkRoots(roots: Roots, { look, files, most }: Walk): Promise<void> {
  let found = 0;
  let looked = 0;
  async function visit(place: RootPath, depth: number): Promise<void> {
    if (found >= most || ++looked > MOST_PLACES) return;
    const there = await look(place).catch(() => null);
    if (there !== null) {
      found++;
      return;
    }
    const real = await roots.resolve(place).catch(() => null);
    if (real === null || depth > DEEPEST) return;
    const entries = await readdir(real, { withFileTypes: true }).catch(() => []);
    for (const { name } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (name.startsWith(".") || name === "node_modules") continue;
      const inner = { root: place.root, path: place.path === "" ? name : `${place.path}/${name}` };
      const target = await roots.resolve(inner).catch(() => null);
      if (target === null) continue;
      const isFolder = (await stat(target).catch(() => null))?.isDirectory() ?? false;
      if (isFolder || files?.test(name)) await visit(inner, depth + 1);
    }
  }
  for (const { name } of roots.list) await visit({ root: name, path: "" }, 0);
}
