/**
 * What the text of an answer must be, in all spellings: `response_format` as OpenAI, llama.cpp and others have it,
 * vLLM's `structured_outputs` and the older `guided_*`, llama.cpp's `json_schema`. One of them at a time.
 */
import { z } from "zod";
import { paramOf, type ResponseFormat } from "../engine/host/protocol.ts";
import { JsonSyntaxError, type JsonValue, parseJson } from "../json/index.ts";
import { invalidRequest } from "./errors.ts";
import { exactObject, jsonSchemaFields } from "./fields.ts";

const schemaValue = z.union([z.boolean(), exactObject]);
/** As text too, as some clients send it. */
const schemaOrText = z.union([z.string(), z.boolean(), exactObject]);
const choices = z.array(z.string()).min(1).max(1024);

const formatSchema = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("text") }),
    z.object({ type: z.literal("json_object"), schema: schemaValue.nullish() }),
    z.object({
      type: z.literal("json_schema"),
      json_schema: z.object(jsonSchemaFields).nullish(),
      schema: schemaValue.nullish(),
    }),
  ],
  { error: "expected one of 'text', 'json_object', 'json_schema'" },
);

/** The fields, for either endpoint. */
export const formatFields = {
  response_format: formatSchema.nullish(),
  json_schema: schemaOrText.nullish(),
  guided_json: schemaOrText.nullish(),
  guided_choice: choices.nullish(),
  guided_regex: z.string().min(1).nullish(),
  structured_outputs: z
    .object({
      json: schemaOrText.nullish(),
      regex: z.string().min(1).nullish(),
      choice: choices.nullish(),
      json_object: z.boolean().nullish(),
      grammar: z.null({ error: "free grammars are not read; use 'json' or 'regex'" }).optional(),
      structural_tag: z.null({ error: "structural tags are not read; use 'json' or 'regex'" }).optional(),
      whitespace_pattern: z.null({ error: "white space of JSON is not chosen" }).optional(),
      disable_additional_properties: z.literal(false, { error: "say it in the schema" }).nullish(),
      disable_any_whitespace: z.boolean().nullish(),
    })
    .nullish(),
};

type FormatBody = z.infer<z.ZodObject<typeof formatFields>>;

function bySchema(value: JsonValue | string, param: string): ResponseFormat {
  let schema = value;
  if (typeof value === "string") {
    try {
      schema = parseJson(value, { maxDepth: 100 });
    } catch (error) {
      if (!(error instanceof JsonSyntaxError)) throw error;
      throw invalidRequest(`'${param}' is no JSON: ${error.message}.`, param, "invalid_value");
    }
  }
  if (typeof schema === "boolean" || schema instanceof Map) {
    return { type: "json_schema", name: "answer", schema, param };
  }
  throw invalidRequest(`'${param}' must be a JSON schema: an object.`, param, "invalid_value");
}

function byResponseFormat(format: NonNullable<FormatBody["response_format"]>): ResponseFormat {
  if (format.type === "text") return { type: "text" };
  const plain = format.schema;
  if (format.type === "json_object") {
    return plain == null ? { type: "json_object" } : bySchema(plain, "response_format.schema");
  }
  const { json_schema: wrapped } = format;
  if (wrapped != null) {
    return { type: "json_schema", name: wrapped.name, schema: wrapped.schema ?? true };
  }
  if (plain != null) return bySchema(plain, "response_format.schema");
  const param = "response_format.json_schema";
  throw invalidRequest(`Missing required parameter: '${param}'.`, param, "missing_required_parameter");
}

/** The one format that is asked for. @throws ApiError if two are */
export function formatOf(body: FormatBody): ResponseFormat {
  const found: ResponseFormat[] = [];
  const json = (value: JsonValue | string | null | undefined, param: string) => {
    if (value != null) found.push(bySchema(value, param));
  };
  const texts = (value: readonly string[] | null | undefined, param: string) => {
    if (value != null) found.push({ type: "choice", texts: value, param });
  };
  const pattern = (value: string | null | undefined, param: string) => {
    if (value != null) found.push({ type: "pattern", pattern: value, param });
  };
  if (body.response_format != null && body.response_format.type !== "text") {
    found.push(byResponseFormat(body.response_format));
  }
  json(body.json_schema, "json_schema");
  json(body.guided_json, "guided_json");
  texts(body.guided_choice, "guided_choice");
  pattern(body.guided_regex, "guided_regex");
  const { structured_outputs: vllm } = body;
  json(vllm?.json, "structured_outputs.json");
  texts(vllm?.choice, "structured_outputs.choice");
  pattern(vllm?.regex, "structured_outputs.regex");
  if (vllm?.json_object) found.push({ type: "json_object", param: "structured_outputs.json_object" });
  if (found.length <= 1) return found[0] ?? { type: "text" };
  const [first, second] = found.map(paramOf);
  throw invalidRequest(`'${first}' and '${second}' contradict each other: an answer has one format.`, second);
}
