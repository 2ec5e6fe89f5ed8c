/** JSON files of a run: written whole or not at all, read with an error that names the file and the place. */
import { replaceOwnFile } from "../files/owned.ts";
import { readJsonFile } from "../files/text-file.ts";
import { FormatError } from "../tensor/errors.ts";

/** Writes `value` into a run's folder; a killed process leaves the old or the new text. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await replaceOwnFile(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** The same with a text. */
export async function writeText(path: string, text: string): Promise<void> {
  await replaceOwnFile(path, text);
}

/** @throws FormatError if the file is missing, or not JSON: then with line and column of the damage */
export async function readJson(
  path: string,
  hint = "Is this the folder of a training run?",
): Promise<unknown> {
  return readJsonFile(path).catch((cause: Error) => {
    throw cause instanceof FormatError
      ? cause
      : new FormatError("cannot be read", { where: path, found: cause.message, hint, cause });
  });
}
