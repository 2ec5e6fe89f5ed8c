/** Finds TypeScript that lies on the machine anyway: the installed packages nearest to a folder. */
import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ConfigError } from "../tensor/errors.ts";

/** Text below this teaches little. */
const ENOUGH_BYTES = 2_000_000;

/** Bytes of TypeScript below a folder, counted no further than `enough`. */
export async function typescriptBytes(folder: string, enough = ENOUGH_BYTES): Promise<number> {
  let bytes = 0;
  const visit = async (at: string): Promise<void> => {
    for (const entry of await readdir(at, { withFileTypes: true }).catch(() => [])) {
      if (bytes >= enough) return;
      const path = join(at, entry.name);
      if (entry.isDirectory()) await visit(path);
      else if (entry.isFile() && /\.[cm]?tsx?$/.test(entry.name)) {
        // A name that is not UTF-8 cannot be opened by its text.
        bytes += (await stat(path).catch(() => null))?.size ?? 0;
      }
    }
  };
  await visit(folder);
  return bytes;
}

function* nodeModulesAbove(start: string): Generator<string> {
  for (let at = resolve(start); ; at = dirname(at)) {
    yield join(at, "node_modules");
    if (dirname(at) === at) return;
  }
}

/**
 * The nearest `node_modules` of `start`, then of this package, with enough TypeScript in it; if none has enough,
 * the one with the most. @throws ConfigError if there is none at all
 */
export async function nearestTypescript(start: string): Promise<string> {
  const here = dirname(fileURLToPath(import.meta.url));
  let best = { folder: "", bytes: 0 };
  for (const folder of new Set([...nodeModulesAbove(start), ...nodeModulesAbove(here)])) {
    const bytes = await typescriptBytes(folder);
    if (bytes > best.bytes) best = { folder, bytes };
    if (bytes >= ENOUGH_BYTES) break;
  }
  if (best.folder !== "") return best.folder;
  throw new ConfigError("no TypeScript found in any node_modules folder", {
    where: start,
    hint: "Pass a folder: deepseek-ts demo FOLDER.",
  });
}
