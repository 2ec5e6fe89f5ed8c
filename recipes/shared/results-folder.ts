/** A folder that the command line names for results: new, or with results of the same kind. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** @param file what lies in every folder of such results @throws Error for a folder of other things, which could be replaced */
export function checkResultsFolder(folder: string, file: string): void {
  if (!existsSync(folder) || existsSync(join(folder, file))) return;
  const [found] = readdirSync(folder);
  if (found === undefined) return;
  throw new Error(
    `--results: expected a new or empty folder, or one with ${file}; found ${found} in ${folder}. Name another one.`,
  );
}
