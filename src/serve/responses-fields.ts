/** The fields of POST /v1/responses as zod schemas: input items, flat tools, their choice, formats. */
import { z } from "zod";
import { userInput } from "./content-parts.ts";
import { chatFields, contentSchema, functionFields, jsonSchemaFields } from "./fields.ts";
import { samplingFields } from "./sampling-fields.ts";

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Of developers, and of the system. */
const content = contentSchema({ input_text: "text", text: "text" });
const answerContent = contentSchema({
  output_text: "text",
  input_text: "text",
  text: "text",
  refusal: "refusal",
});
const message = { type: z.literal("message") };

const role = z.discriminatedUnion(
  "role",
  [
    z.object({ ...message, role: z.literal("user"), content: userInput }),
    z.object({ ...message, role: z.literal("system"), content }),
    z.object({ ...message, role: z.literal("developer"), content }),
    z.object({ ...message, role: z.literal("assistant"), content: answerContent.nullable() }),
  ],
  { error: "expected one of 'user', 'assistant', 'system', 'developer'" },
);

const id = z.string().min(1);
const output = contentSchema({ input_text: "text", output_text: "text", text: "text" });
const reasoningText = contentSchema({ reasoning_text: "text", summary_text: "text", text: "text" });

const item = z.discriminatedUnion(
  "type",
  [
    role,
    z.object({
      type: z.literal("function_call"),
      call_id: id,
      name: z.string().min(1),
      namespace: z.string().nullish(),
      arguments: z.string(),
    }),
    z.object({ type: z.literal("function_call_output"), call_id: id, output }),
    // Calls of free-form tools, from a history with another server: their input is a text.
    z.object({
      type: z.literal("custom_tool_call"),
      call_id: id,
      name: z.string().min(1),
      input: z.string(),
    }),
    z.object({ type: z.literal("custom_tool_call_output"), call_id: id, output }),
    z.object({
      type: z.literal("reasoning"),
      summary: reasoningText.nullish(),
      content: reasoningText.nullish(),
      encrypted_content: z.string().nullish(),
    }),
  ],
  {
    error: ({ input }) => {
      const type = isObject(input) ? input.type : undefined;
      if (type === "item_reference") return "items are not stored here, so that none can be referred to";
      return `items of type '${String(type)}' are not supported`;
    },
  },
);

export type InputItem = z.infer<typeof item>;

/** Messages may leave their type out. */
const inputItem = z.preprocess(
  (value) =>
    isObject(value) && value.type == null && "role" in value ? { ...value, type: "message" } : value,
  item,
);

const flatFunction = z.object({ type: z.literal("function"), ...functionFields });
const other = z.object({ type: z.literal("other") });

/** A tool of one of `types`; other kinds, which servers run themselves or which are not functions, are left out. */
const toolOf = <T extends z.ZodType>(types: readonly string[], schema: T) =>
  z.preprocess(
    (value) =>
      isObject(value) && typeof value.type === "string" && !types.includes(value.type)
        ? { type: "other" }
        : value,
    schema,
  );

const namespace = z.object({
  type: z.literal("namespace"),
  name: z.string().min(1),
  description: z.string().nullish(),
  tools: z.array(toolOf(["function"], z.discriminatedUnion("type", [flatFunction, other]))).max(128),
});

const tool = toolOf(
  ["function", "namespace"],
  z.discriminatedUnion("type", [flatFunction, namespace, other]),
);

const choice = z.union([
  z.enum(["none", "auto", "required"]),
  z.discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("function"), name: z.string() }),
      z.object({
        type: z.literal("allowed_tools"),
        mode: z.enum(["auto", "required"]),
        tools: z.array(z.object({ type: z.string(), name: z.string().optional() })).min(1),
      }),
    ],
    { error: "only tools of type 'function' can be chosen" },
  ),
]);

const format = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("text") }),
    z.object({ type: z.literal("json_object") }),
    z.object({ type: z.literal("json_schema"), description: z.string().nullish(), ...jsonSchemaFields }),
  ],
  { error: "expected one of 'text', 'json_object', 'json_schema'" },
);

const {
  max_tokens: _a,
  max_completion_tokens: _b,
  n_predict: _c,
  n: _d,
  echo: _e,
  stream_options: _f,
  return_tokens_as_token_ids: _g,
  ...generation
} = samplingFields;

export const responsesSchema = z.object({
  ...generation,
  thinking: chatFields.thinking,
  chat_template_kwargs: chatFields.chat_template_kwargs,
  grounding: chatFields.grounding,
  input: z.union([z.string(), z.array(inputItem)]),
  instructions: z.string().nullish(),
  max_output_tokens: z.int().min(1).nullish(),
  max_tool_calls: z.int().nullish(),
  top_logprobs: chatFields.top_logprobs,
  include: z.array(z.string()).nullish(),
  tools: z.array(tool).max(128).nullish(),
  tool_choice: choice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  text: z.object({ format: format.nullish() }).nullish(),
  reasoning: z
    .object({
      effort: chatFields.reasoning_effort,
      summary: z.enum(["auto", "concise", "detailed"]).nullish(),
      generate_summary: z.enum(["auto", "concise", "detailed"]).nullish(),
    })
    .nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  user: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
  safety_identifier: z.string().nullish(),
});

export type ResponsesBody = z.infer<typeof responsesSchema>;
