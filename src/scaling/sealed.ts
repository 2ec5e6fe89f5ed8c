/** JSON files that are not to be edited: each ends with a hash of the rest, so that what is read is what was written. */
import { createHash } from "node:crypto";
import { FormatError } from "../tensor/errors.ts";

const SEAL = "sha256";

const hashOf = (value: object) => createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** The text of a sealed file. */
export function sealedText(value: object): string {
  const plain = JSON.parse(JSON.stringify(value));
  return `${JSON.stringify({ ...plain, [SEAL]: hashOf(plain) }, null, 2)}\n`;
}

/** The value of a sealed file. @throws FormatError if it was edited or damaged */
export function openSealed<T>(text: string, where: string, hint: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FormatError("not JSON", { where, hint, cause });
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new FormatError("not a JSON object", { where, hint });
  }
  const { [SEAL]: expected, ...value } = json as Record<string, unknown>;
  const found = hashOf(value);
  if (expected === found) return value as T;
  throw new FormatError("edited or damaged after it was written", {
    ...{ where, name: SEAL, expected: expected ?? "a hash", found, hint },
  });
}
