/** Bodies of the studio's own requests, checked field by field. */
import { z } from "zod";
import { type JsonValue, parseJson, toPlain } from "../../json/index.ts";
import { read } from "../body.ts";
import { invalidRequest } from "../errors.ts";

/** Deepest nesting of a body. */
const MAX_DEPTH = 100;
const MOST_NAME = 300;

const modelName = z.string().min(1).max(MOST_NAME);
const positive = z.int().min(1);

const rootPath = z.strictObject({ root: z.string().min(1).max(MOST_NAME), path: z.string().max(1024) });
const object = z.record(z.string(), z.unknown());

/** Bodies of the jobs that are not answers. */
export const BODIES = {
  open: z.strictObject({
    model: modelName,
    dtype: z.enum(["auto", "f32", "bf16", "f16", "q8", "q4"]).optional(),
    context: positive.optional(),
    speculative: z.boolean().optional(),
  }),
  download: z.strictObject({ model: modelName }),
  quantize: z.strictObject({ model: modelName, dtype: z.enum(["q8", "q4"]), out: rootPath }),
  convert: z.strictObject({
    ...{ model: modelName, out: rootPath },
    type: z.enum(["f32", "f16", "bf16", "q8_0", "q4_0"]),
  }),
  train: z.strictObject({
    ...{ out: rootPath, config: object },
    data: z.union([rootPath, z.literal("typescript")]).nullable(),
  }),
  resume: z.strictObject({ run: rootPath }),
  prove: z.strictObject({
    model: modelName,
    source: z.string().min(1).max(1_000_000),
    search: z.enum(["sample", "resume", "rmaxts"]),
    budget: z.int().min(1).max(10_000),
    seed: z.int().min(0).optional(),
  }),
  check: z.strictObject({ source: z.string().max(1_000_000), steps: z.boolean().optional() }),
  close: z.strictObject({ model: modelName }),
} as const;

export type BodyKind = keyof typeof BODIES;
export type BodyOf<K extends BodyKind> = z.infer<(typeof BODIES)[K]>;

/** A body of a kind. @throws ApiError 400 naming the field that is wrong */
export function bodyOf<K extends BodyKind>(kind: K, body: unknown, prefix = "body."): BodyOf<K> {
  return read(BODIES[kind] as unknown as z.ZodType<BodyOf<K>>, body, prefix);
}

/** A request for a job, its body as it was written. */
export interface JobAsked {
  readonly kind: string;
  readonly body: JsonValue;
  readonly id?: string;
  readonly inside: boolean;
}

const asked = z.strictObject({
  kind: z.string().max(50),
  body: z.unknown(),
  id: z.string().optional(),
  inside: z.boolean().optional(),
});

/** The JSON of a text, with its digits. @throws ApiError 400 */
export function parseExact(text: string): JsonValue {
  try {
    return parseJson(text, { maxDepth: MAX_DEPTH });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalidRequest(`The body is not valid JSON: ${error.message}.`, null, "invalid_json");
  }
}

/** @throws ApiError 400 */
export function parseJobRequest(text: string): JobAsked {
  const exact = parseExact(text);
  if (!(exact instanceof Map)) throw invalidRequest("The body must be a JSON object.");
  const body = exact.get("body");
  if (body === undefined) throw invalidRequest("'body' is missing.", "body", "missing_field");
  const rest = toPlain(new Map([...exact].filter(([key]) => key !== "body"))) as object;
  const { kind, id, inside = false } = read(asked, { ...rest, body: null });
  return { kind, body, id, inside };
}
