/** The fields of chat bodies, as zod schemas: messages, tools, their choice, the template's variables. */
import { z } from "zod";
import { fromPlain, type JsonObject } from "../json/index.ts";
import { userContent } from "./content-parts.ts";

/** Parts that hold text: the field of each type that holds it. */
type TextFields = Readonly<Record<string, "text" | "refusal">>;

/** A part of content, read as its text. */
const textPart = (fields: TextFields) =>
  z
    .object({ type: z.string(), text: z.string().nullish(), refusal: z.string().nullish() })
    .transform((part, context) => {
      const field = Object.hasOwn(fields, part.type) ? fields[part.type] : null;
      const text = field === null ? null : part[field];
      if (text != null) return text;
      const [path, message] =
        field === null
          ? ["type", `parts of type '${part.type}' are not supported in this message: it holds text`]
          : [field, `a part of type '${part.type}' needs its ${field}`];
      context.addIssue({ code: "custom", path: [path], message });
      return z.NEVER;
    });

/** Content as one text: parts are joined as they are. */
export const contentSchema = (fields: TextFields) =>
  z.union([z.string(), z.array(textPart(fields)).transform((texts) => texts.join(""))]);

const content = contentSchema({ text: "text" });
/** Clients dump their own objects, with null if there is nothing. */
const anyContent = content.nullable();
const answerContent = contentSchema({ text: "text", refusal: "refusal" });

const calledFunction = z.object({ name: z.string().min(1), arguments: z.string() });
const callSchema = z.object({
  id: z.string(),
  type: z.literal("function").nullish(),
  function: calledFunction,
});

const messageSchema = z.discriminatedUnion(
  "role",
  [
    z.object({ role: z.literal("system"), content: anyContent }),
    z.object({ role: z.literal("developer"), content: anyContent }),
    z.object({ role: z.literal("user"), content: userContent.nullable(), name: z.string().nullish() }),
    z.object({
      role: z.literal("assistant"),
      content: answerContent.nullish(),
      refusal: z.string().nullish(),
      reasoning_content: z.string().nullish(),
      // Another name of it.
      reasoning: z.string().nullish(),
      // The beginning of the answer to come, in DeepSeek's interface and others.
      prefix: z.boolean().nullish(),
      partial: z.boolean().nullish(),
      tool_calls: z.array(callSchema).nullish(),
      function_call: calledFunction.nullish(),
    }),
    z.object({ role: z.literal("tool"), content: anyContent, tool_call_id: z.string() }),
    z.object({ role: z.literal("function"), content: anyContent, name: z.string() }),
  ],
  { error: "expected one of 'system', 'developer', 'user', 'assistant', 'tool', 'function'" },
);

/** An object that is handed on with its digits and the order of its keys, as `parseBody` reads it. */
export const exactObject = z.unknown().transform((value, context): JsonObject => {
  // A number that kept its digits is an object to JavaScript, but none to JSON.
  const exact = typeof value === "object" && value !== null ? fromPlain(value) : null;
  if (exact instanceof Map) return exact;
  context.addIssue({ code: "custom", message: "expected an object" });
  return z.NEVER;
});

/** A function that may be called. */
export const functionFields = {
  name: z.string().regex(/^[a-zA-Z0-9_.-]{1,64}$/, "expected 1 to 64 letters, digits, '_', '-' or '.'"),
  description: z.string().nullish(),
  parameters: exactObject.nullish(),
  strict: z.boolean().nullish(),
};

const toolSchema = z.object({
  type: z.literal("function", { error: "only tools of type 'function' are supported" }),
  function: z.object(functionFields),
});

/** A format by a JSON schema. */
export const jsonSchemaFields = {
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, "expected 1 to 64 letters, digits, '_' or '-'"),
  schema: z.union([z.boolean(), exactObject]).nullish(),
  strict: z.boolean().nullish(),
};

/** What only chat takes; `thinking` (as DeepSeek's own interface has it) and `chat_template_kwargs` are extensions. */
export const chatFields = {
  messages: z.array(messageSchema).min(1),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(toolSchema).max(128).nullish(),
  tool_choice: z
    .union([
      z.enum(["none", "auto", "required"]),
      z.discriminatedUnion(
        "type",
        [
          z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
          z.object({
            type: z.literal("allowed_tools"),
            allowed_tools: z.object({
              mode: z.enum(["auto", "required"]),
              tools: z
                .array(z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }))
                .min(1),
            }),
          }),
        ],
        { error: "expected one of 'function', 'allowed_tools'" },
      ),
    ])
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  // The older form of tools and tool_choice.
  functions: z.array(z.object(functionFields)).max(128).nullish(),
  function_call: z.union([z.enum(["none", "auto"]), z.object({ name: z.string() })]).nullish(),
  thinking: z.object({ type: z.enum(["enabled", "disabled"]) }).nullish(),
  reasoning_effort: z.enum(["none", "minimal", "low", "medium", "high", "xhigh", "max"]).nullish(),
  chat_template_kwargs: exactObject.nullish(),
  documents: z.array(z.record(z.string(), z.unknown())).nullish(),
  grounding: z.boolean().nullish(),
  add_generation_prompt: z.boolean().nullish(),
  continue_final_message: z.boolean().nullish(),
};
