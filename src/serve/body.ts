/** Bodies of requests as values: parsed with what must keep its digits, bounded in size, checked against zod schemas. */
import type { z } from "zod";
import { JsonNumber, type JsonPath, parsePlain } from "../json/index.ts";
import { invalidRequest, unsupported } from "./errors.ts";
import { issueError } from "./issues.ts";

export type Body = Record<string, unknown>;

/** @throws ApiError if the body is not an object */
export function object(body: unknown): Body {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Body;
  throw invalidRequest("The body must be a JSON object.");
}

/** @param prefix where the value stands, ending in a point @throws ApiError naming the field that is wrong */
export function read<T>(schema: z.ZodType<T>, body: unknown, prefix = ""): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw issueError(result.error, prefix);
}

/** Whether a field is absent, null or has one of the values under which it changes nothing. */
export const isDefault = (value: unknown, neutral: readonly unknown[]) =>
  value === undefined || value === null || neutral.some((n) => JSON.stringify(n) === JSON.stringify(value));

/** The value at a path of names with points between them. */
function valueAt(body: Body, path: string): unknown {
  let value: unknown = body;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Body)[name];
  }
  return value;
}

/**
 * Refuses by name what is not served and would change the answer.
 * @param prefix where the body stands, ending in a point
 * @throws ApiError
 */
export function refuseFields(
  fields: Iterable<{ readonly field: string; readonly why: string; readonly neutral?: readonly unknown[] }>,
  body: Body,
  prefix = "",
): void {
  for (const { field, why, neutral = [] } of fields) {
    if (!isDefault(valueAt(body, field), neutral)) throw unsupported(prefix + field, why);
  }
}

/** Deepest nesting of a body: beyond it recursive readers of schemas would run out of stack. */
const MAX_DEPTH = 100;
/** Most values: each may be wrong, and all that is wrong is collected before the first of it is told. */
const MAX_VALUES = 65_536;

/** Parts of bodies that are handed on as they were written. */
const EXACT: readonly JsonPath[] = [
  ["tools", "*", "function", "*"],
  ["tools", "*", "parameters"],
  ["tools", "*", "tools", "*", "parameters"],
  ["functions", "*", "*"],
  ["response_format", "json_schema", "schema"],
  ["response_format", "schema"],
  ["text", "format", "schema"],
  ["guided_json"],
  ["json_schema"],
  ["structured_outputs", "json"],
  ["chat_template_kwargs"],
];

/** Lists of texts and token ids, which are read one by one without a schema, and counted against the context. */
const LISTS: ReadonlySet<string> = new Set(["prompt", "tokens"]);

/** @throws ApiError 400 for a body with too many values */
function checkValues(body: unknown): void {
  let left = MAX_VALUES;
  const open: unknown[] = [body];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== "object" || value === null || value instanceof JsonNumber) continue;
    const outermost = value === body && !Array.isArray(value);
    const entries: Iterable<readonly [unknown, unknown]> =
      Array.isArray(value) || value instanceof Map ? value.entries() : Object.entries(value);
    for (const [key, item] of entries) {
      if (outermost && LISTS.has(key as string)) continue;
      if (--left < 0) {
        throw invalidRequest(
          `The body holds more than ${MAX_VALUES} values (objects, lists, texts, numbers).`,
          null,
          "request_too_large",
        );
      }
      // Nothing hangs on texts and numbers; undefined would end the loop.
      if (typeof item === "object" && item !== null) open.push(item);
    }
  }
}

/**
 * Parses a body; schemas and template variables in it are `JsonValue`s.
 * @throws ApiError 400 for what is not JSON, nested deeper than any reader here follows, or of too many values
 */
export function parseBody(text: string): unknown {
  let body: unknown;
  try {
    body = parsePlain(text, EXACT, { maxDepth: MAX_DEPTH });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalidRequest(`The body is not valid JSON: ${error.message}.`, null, "invalid_json");
  }
  checkValues(body);
  return body;
}
