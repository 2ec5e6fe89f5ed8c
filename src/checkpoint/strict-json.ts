/**
 * JSON of untrusted checkpoint files: what JSON.parse accepts, less duplicate keys (which it hides, and which let
 * two readers see two different files) and `__proto__` keys.
 */
import { FormatError } from "../tensor/errors.ts";

// Recursive code downstream, JSON.stringify included, must not run out of stack on a hostile file.
const MAX_DEPTH = 64;

export type JsonObject = Record<string, unknown>;

/** Whether `value` is an object of JSON, neither null nor an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON of `value` for an error message, cut to a readable length. */
export function excerpt(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

/** Index of the quote that closes the string opened at `open`; the text is valid JSON. */
function stringEnd(text: string, open: number): number {
  let at = open + 1;
  while (text.charCodeAt(at) !== 0x22) at += text.charCodeAt(at) === 0x5c ? 2 : 1;
  return at;
}

/** @throws FormatError at the first duplicate or `__proto__` key of `text`, which JSON.parse has accepted. */
function checkKeys(text: string, where: string): void {
  // One entry per open bracket: the keys of an object, or null for an array.
  const open: (Set<string> | null)[] = [];
  const path: string[] = [];
  let expectKey = false;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c === '"') {
      const end = stringEnd(text, at);
      if (expectKey) {
        const key = JSON.parse(text.slice(at, end + 1)) as string;
        const keys = open[open.length - 1] as Set<string>;
        path[open.length - 1] = key;
        const name = path.slice(0, open.length).join(".");
        if (key === "__proto__") throw new FormatError("key not allowed in JSON", { where, name });
        if (keys.has(key)) throw new FormatError("duplicate key in JSON", { where, name });
        keys.add(key);
        expectKey = false;
      }
      at = end;
    } else if (c === "{" || c === "[") {
      path[open.length] = "";
      open.push(c === "{" ? new Set() : null);
      if (open.length > MAX_DEPTH) {
        throw new FormatError("JSON is nested too deeply", {
          where,
          expected: `at most ${MAX_DEPTH} levels`,
        });
      }
      expectKey = c === "{";
    } else if (c === "}" || c === "]") {
      open.pop();
      expectKey = false;
    } else if (c === ",") {
      expectKey = open[open.length - 1] !== null;
    }
  }
}

/** Parses a JSON object. @throws FormatError if it is not one, or has duplicate or `__proto__` keys. */
export function parseJsonObject(text: string, where: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`not valid JSON (${(cause as Error).message.slice(0, 120)})`, { where, cause });
  }
  if (!isObject(value)) {
    const found = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
    throw new FormatError("JSON is not an object", { where, expected: "object", found });
  }
  checkKeys(text, where);
  return value;
}
