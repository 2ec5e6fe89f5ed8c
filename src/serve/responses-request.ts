/**
 * Reads bodies of POST /v1/responses into chat jobs. Nothing is kept between requests: what stands for stored state
 * is refused by name.
 */
import type { Tool } from "../chat/messages.ts";
import type { ChatRequest, ResponseFormat, ToolChoice } from "../engine/host/protocol.ts";
import { fromPlain, toPlain } from "../json/index.ts";
import { type Body, object, read, refuseFields } from "./body.ts";
import type { WithReferences } from "./content-parts.ts";
import { ApiError, apiError, invalidRequest } from "./errors.ts";
import type { ResponseShape } from "./responses-answer.ts";
import { type ResponsesBody, responsesSchema } from "./responses-fields.ts";
import { messagesOf, qualified } from "./responses-items.ts";
import type { FunctionTool, ResponseSettings } from "./responses-types.ts";
import { type Parsed, sampling } from "./sampling-fields.ts";
import { checkedChoice, mustCall, templateChoice, toolsOf } from "./schemas.ts";

export interface ParsedResponses extends Parsed<WithReferences<ChatRequest>> {
  readonly shape: ResponseShape;
}

const STATELESS = "nothing is stored here; send the whole conversation as 'input'";
const OF_CHAT = "it belongs to /v1/chat/completions;";

/** Fields that would change the answer, with the values under which they would not. */
const REFUSED: Readonly<Record<string, { why: string; neutral?: readonly unknown[] }>> = {
  previous_response_id: { why: STATELESS },
  conversation: { why: STATELESS },
  prompt: { why: "no prompts are stored here; send 'instructions' and 'input'" },
  background: { why: "responses are synchronous", neutral: [false] },
  context_management: { why: "nothing is compacted; shorten 'input' yourself", neutral: [[]] },
  moderation: { why: "there is none" },
  truncation: { why: "nothing is left out; shorten 'input' yourself", neutral: ["disabled"] },
  modalities: { why: 'only ["text"] is possible', neutral: [["text"], []] },
  n: { why: "an answer has one choice", neutral: [1] },
  messages: { why: `${OF_CHAT} use 'input'` },
  max_tokens: { why: `${OF_CHAT} use 'max_output_tokens'` },
  max_completion_tokens: { why: `${OF_CHAT} use 'max_output_tokens'` },
  n_predict: { why: `${OF_CHAT} use 'max_output_tokens'` },
  inside: { why: "/v1/chat/completions and /v1/completions tell it", neutral: [false] },
  echo: { why: "an answer does not repeat its input", neutral: [false] },
  return_tokens_as_token_ids: { why: "tokens are told as text", neutral: [false] },
  guided_json: { why: `${OF_CHAT} use 'text.format'` },
  guided_choice: { why: `${OF_CHAT} use 'text.format'` },
  guided_regex: { why: `${OF_CHAT} use 'text.format'` },
  guided_grammar: { why: `${OF_CHAT} use 'text.format'` },
  structured_outputs: { why: `${OF_CHAT} use 'text.format'` },
  json_schema: { why: `${OF_CHAT} use 'text.format'` },
  grammar: { why: `${OF_CHAT} use 'text.format'`, neutral: [""] },
  response_format: { why: `${OF_CHAT} use 'text.format'` },
  reasoning_effort: { why: `${OF_CHAT} use 'reasoning.effort'` },
  logprobs: { why: `${OF_CHAT} use 'top_logprobs'`, neutral: [false] },
};

function refuse(body: Body): void {
  refuseFields(
    Object.entries(REFUSED).map(([field, rule]) => ({ field, ...rule })),
    body,
  );
}

type Given = NonNullable<ResponsesBody["tools"]>[number];
type FunctionGiven = Extract<Given, { type: "function" }>;

interface GivenFunction {
  readonly tool: FunctionGiven;
  readonly namespace: string | null;
  /** The field that its name stands in. */
  readonly param: string;
}

/** The functions among the tools, those of namespaces too. */
function functionsOf(list: readonly Given[]): GivenFunction[] {
  return list.flatMap((tool, at): GivenFunction[] => {
    if (tool.type === "function") return [{ tool, namespace: null, param: `tools[${at}].name` }];
    if (tool.type === "other") return [];
    return tool.tools.flatMap((inner, i) =>
      inner.type === "other"
        ? []
        : [{ tool: inner, namespace: tool.name, param: `tools[${at}].tools[${i}].name` }],
    );
  });
}

function functions(body: ResponsesBody): Pick<ResponseShape, "namespaced"> & { list: Tool[] } {
  const given = functionsOf(body.tools ?? []);
  const namespaced = new Map<string, { namespace: string; name: string }>();
  const named = given.map(({ tool: { type: _, ...rest }, namespace }) => {
    const name = qualified(namespace, rest.name);
    if (namespace !== null) namespaced.set(name, { namespace, name: rest.name });
    return { ...rest, name };
  });
  return { list: toolsOf(named, (i) => given[i].param), namespaced };
}

function toolChoice({ tool_choice: choice }: ResponsesBody, list: readonly Tool[]): ToolChoice {
  if (choice == null || typeof choice === "string") return checkedChoice(choice ?? null, list, "tool_choice");
  if (choice.type === "function") {
    return checkedChoice({ mode: "required", names: [choice.name] }, list, "tool_choice");
  }
  const { mode, tools } = choice;
  const names = tools.flatMap((tool) =>
    tool.type === "function" && tool.name !== undefined ? [tool.name] : [],
  );
  if (names.length > 0) return checkedChoice({ mode, names }, list, "tool_choice");
  if (mode === "auto") return "none";
  throw invalidRequest("'tool_choice' asks for a call, but none of its tools is a function.", "tool_choice");
}

function formatOf({ text }: ResponsesBody): ResponseFormat {
  const format = text?.format;
  if (format?.type !== "json_schema") return { type: format?.type ?? "text" };
  return { type: format.type, name: format.name, schema: format.schema ?? true };
}

/** A schema for an answer, which is written by JSON.stringify. */
const plain = (schema: unknown) => toPlain(fromPlain(schema)) as { [key: string]: unknown };

const functionBody = ({ name, description, parameters, strict }: FunctionGiven): FunctionTool => ({
  ...{ type: "function", name, description: description ?? null },
  ...{ parameters: parameters ? plain(parameters) : null, strict: strict ?? false },
});

function settingsOf(body: ResponsesBody): ResponseSettings {
  const format = body.text?.format;
  const schema = format?.type === "json_schema" && typeof format.schema === "object" ? format.schema : null;
  const { effort, summary, generate_summary: older } = body.reasoning ?? {};
  return {
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: body.max_tool_calls ?? null,
    metadata: body.metadata ?? {},
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    prompt_cache_key: body.prompt_cache_key ?? null,
    reasoning: { effort: effort ?? null, summary: summary ?? older ?? null },
    safety_identifier: body.safety_identifier ?? null,
    temperature: body.temperature ?? 1,
    text: {
      format:
        format?.type === "json_schema"
          ? {
              ...{ type: format.type, name: format.name },
              ...(format.description == null ? {} : { description: format.description }),
              ...{ schema: schema ? plain(schema) : {}, strict: format.strict ?? true },
            }
          : { type: format?.type ?? "text" },
      verbosity: "medium",
    },
    tool_choice: body.tool_choice ?? "auto",
    tools: (body.tools ?? []).flatMap((tool): ResponseSettings["tools"] => {
      if (tool.type === "function") return [functionBody(tool)];
      if (tool.type === "other") return [];
      const { type, name, description, tools } = tool;
      const inner = tools.flatMap((one) => (one.type === "function" ? [functionBody(one)] : []));
      return inner.length > 0 ? [{ type, name, description: description ?? "", tools: inner }] : [];
    }),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: "disabled",
    ...(body.user == null ? {} : { user: body.user }),
  };
}

/** The body of POST /v1/responses. @throws ApiError */
export function parseResponses(json: unknown): ParsedResponses {
  const raw = object(json);
  refuse(raw);
  const body = read(responsesSchema, raw);
  const { list, namespaced } = functions(body);
  const choice = toolChoice(body, list);
  const format = formatOf(body);
  if (format.type !== "text" && mustCall(choice)) {
    throw invalidRequest("'text.format' and a forced 'tool_choice' contradict each other.", "text.format");
  }
  const include = body.include ?? [];
  const logprobs = include.includes("message.output_text.logprobs") || (body.top_logprobs ?? 0) > 0;
  return {
    model: body.model ?? null,
    stream: body.stream ?? false,
    includeUsage: true,
    job: {
      kind: "chat",
      ...sampling(body, body.max_output_tokens ?? null, logprobs ? (body.top_logprobs ?? 0) : null),
      messages: messagesOf(body.input, body.instructions),
      tools: list,
      toolChoice: choice,
      parallelToolCalls: body.parallel_tool_calls ?? true,
      format,
      continueFinal: false,
      addGenerationPrompt: true,
      grounding: body.grounding ?? false,
      ...templateChoice(body, body.reasoning?.effort),
    },
    shape: {
      settings: settingsOf(body),
      logprobs,
      namespaced,
      carriesReasoning: include.includes("reasoning.encrypted_content"),
      grounding: body.grounding ?? false,
    },
  };
}

/** Fields of the chat job as they are called in a body of /v1/responses. */
const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^messages/, "input"],
  [/^response_format\.json_schema/, "text.format"],
  [/^response_format/, "text.format"],
];

/** An error about the job that names the field of the request. */
export function inResponsesTerms(error: unknown): unknown {
  const { shape = null } = apiError(error) ?? {};
  if (shape === null || shape.param === null) return error;
  const { param } = shape;
  const found = NAMES.find(([pattern]) => pattern.test(param));
  return found ? new ApiError({ ...shape, param: param.replace(found[0], () => found[1]) }) : error;
}
