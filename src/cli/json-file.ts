/** JSON files of a run: written whole or not at all, read with an error that names the file. */
import { readFile, rename, writeFile } from "node:fs/promises";
import { FormatError } from "../tensor/errors.ts";

/** Writes `value` by way of a temporary file, so that a killed process leaves no half. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(`${path}.tmp`, `${JSON.stringify(value, null, 2)}\n`);
  await rename(`${path}.tmp`, path);
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
