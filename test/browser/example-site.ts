/** A page of examples/, built by Vite from this package's sources. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "vite";
import { entries } from "../../scripts/support/entries.ts";
import { buildSite } from "./chromium.ts";

/**
 * @param name of the folder to build in
 * @param example folder of examples/
 * @returns the folder to serve, and the text of its page
 */
export async function buildExample(
  name: string,
  example = "browser",
): Promise<{ folder: string; page: string }> {
  const root = join(import.meta.dirname, "../../examples", example);
  const site = buildSite(name);
  const folder = join(site, "page");
  const alias = entries.map(({ specifier, types }) => ({
    find: new RegExp(`^${specifier}$`),
    replacement: join(site, types.slice(types.lastIndexOf("/dist/") + 1).replace(/\.d\.ts$/, ".js")),
  }));
  const output = { outDir: folder, emptyOutDir: true };
  await build({ root, logLevel: "error", resolve: { alias }, build: output });
  return { folder, page: readFileSync(join(folder, "index.html"), "utf8") };
}
