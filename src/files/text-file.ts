/** Text files of the user's, read strictly, with errors that name the file and the next step. Node only. */
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { JsonSyntaxError, parseJson } from "../json/index.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { codeOf, explained } from "./file-error.ts";
import { strictText, withoutMark } from "./utf8.ts";

/** Opens a file that will only be read. @throws the system's error */
export function openForReading(path: string): Promise<FileHandle> {
  return open(path, "r");
}

/** What V8 holds in one string, a little less. */
const MOST_BYTES = 500_000_000;

/**
 * The text of a file, a byte-order mark included.
 * @throws FormatError for bytes that are no UTF-8, ConfigError for a file that is too long, FileError
 */
export async function readTextFile(path: string): Promise<string> {
  const bytes = await explained(path, "read", async () => {
    const { size } = await stat(path);
    if (size > MOST_BYTES) {
      throw new ConfigError("the file is too large to read as text", {
        where: path,
        expected: `at most ${MOST_BYTES} bytes`,
        found: size,
      });
    }
    return await readFile(path);
  });
  return strictText(path, bytes);
}

/** The text of a file, or null if there is none. */
export async function readTextIfThere(path: string): Promise<string | null> {
  try {
    return await readTextFile(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
}

/** The JSON value in a file. @throws FormatError, FileError */
export async function readJsonFile(path: string): Promise<unknown> {
  const text = withoutMark(await readTextFile(path));
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError("not valid JSON", {
      where: path,
      found: placeOfDamage(text) ?? (cause as Error).message,
      hint: "Fix the file at this position.",
      cause,
    });
  }
}

/** What is wrong and where, by line and column, which `JSON.parse` does not tell. */
function placeOfDamage(text: string): string | null {
  try {
    parseJson(text);
    return null;
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return error.message;
  }
}
