/**
 * Ordinary values with exact parts: what a program checks field by field is read as JSON.parse does, what it only hands
 * on (schemas, tools, arguments) keeps its digits and the order of its keys.
 */
import { type JsonLimits, parseJson } from "./parse.ts";
import type { JsonValue } from "./value.ts";

/** Keys that lead to a part, from the outermost object; `*` stands for every element or entry. */
export type JsonPath = readonly string[];

/**
 * The value of a JSON text as JSON.parse gives it, except that what stands at `paths` is a `JsonValue`.
 * @throws JsonSyntaxError if the text is no JSON or exceeds a limit
 */
export function parsePlain(text: string, paths: readonly JsonPath[], limits: JsonLimits = {}): unknown {
  // Checks limits on the way, before anything is made of what is not asked for.
  const exact = parseJson(text, { ...limits, only: new Set(paths.map(([first]) => first)) });
  let plain: unknown;
  try {
    plain = JSON.parse(text);
  } catch (error) {
    // Says where; values that were passed over have not been looked into.
    parseJson(text, limits);
    throw error;
  }
  for (const path of paths) graft(plain, exact, path);
  return plain;
}

/** `plain` with the value at `path` taken from `exact`. */
function graft(plain: unknown, exact: JsonValue, path: JsonPath): unknown {
  if (path.length === 0) return exact;
  const [first, ...rest] = path;
  if (Array.isArray(plain) && Array.isArray(exact) && first === "*") {
    for (let i = 0; i < plain.length; i++) plain[i] = graft(plain[i], exact[i], rest);
    return plain;
  }
  if (exact instanceof Map && first === "*") {
    for (const key of exact.keys()) graft(plain, exact, [key, ...rest]);
    return plain;
  }
  const inner = exact instanceof Map ? exact.get(first) : undefined;
  if (inner === undefined || typeof plain !== "object" || plain === null) return plain;
  const object = plain as Record<string, unknown>;
  const value = graft(object[first], inner, rest);
  if (value !== object[first]) Object.defineProperty(object, first, { value });
  return plain;
}
