/** JSON files of a run: written whole or not at all, read with an error that names the file. */
import { readFile } from "node:fs/promises";
import { replaceOwnFile } from "../files/owned.ts";
import { FormatError } from "../tensor/errors.ts";

/** Writes `value` into a run's folder; a killed process leaves the old or the new text. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await replaceOwnFile(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** @throws FormatError where the file is missing or not JSON */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new FormatError("not a readable JSON file", {
      where: path,
      hint: "Is this the folder of a training run?",
      cause,
    });
  }
}
