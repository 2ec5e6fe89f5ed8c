/**
 * Reads the bodies of requests: OpenAI's fields and a few extensions, checked with zod and turned into jobs for the
 * engine. Unknown fields are ignored; fields that would change the answer but are not served are refused by name.
 */
import { z } from "zod";
import type { Message, Tool } from "../chat/messages.ts";
import { type JsonObject, type JsonPath, parsePlain } from "../json/index.ts";
import { invalidRequest, unsupported } from "./errors.ts";
import { chatFields, type functionFields, samplingFields } from "./fields.ts";
import { issueError } from "./issues.ts";
import type { ChatJob, CompletionJob, SamplingRequest, TokenizeRequest, ToolChoice } from "./protocol.ts";

/** Most choices of one request, over all its prompts. */
export const MAX_CHOICES = 64;

/** A request read, with what only the HTTP side needs. */
export interface Parsed<J> {
  readonly job: J;
  readonly model: string | null;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

export type Body = Record<string, unknown>;

/** @throws ApiError where the body is no object */
export function object(body: unknown): Body {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Body;
  throw invalidRequest("The body must be a JSON object.");
}

/** @throws ApiError naming the field that is wrong */
export function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw issueError(result.error);
}

/** Whether a field is absent, null or has one of the values under which it changes nothing. */
export const isDefault = (value: unknown, neutral: readonly unknown[]) =>
  value === undefined || value === null || neutral.some((n) => JSON.stringify(n) === JSON.stringify(value));

/** Fields that would change the answer, with the values under which they would not. */
const REFUSED: Record<
  "chat" | "completion",
  Record<string, { why: string; neutral?: readonly unknown[] }>
> = {
  chat: {
    audio: { why: "the model writes text" },
    modalities: { why: 'only ["text"] is possible', neutral: [["text"], []] },
    web_search_options: { why: "there is no web search" },
    background: { why: "answers are given at once", neutral: [false] },
  },
  completion: {
    best_of: { why: "use 'n' and choose yourself", neutral: [1] },
  },
};

function refuse(kind: "chat" | "completion", body: Body): void {
  for (const [field, { why, neutral = [] }] of Object.entries(REFUSED[kind])) {
    if (!isDefault(body[field], neutral)) throw unsupported(field, why);
  }
}

const chatSchema = z.object({ ...samplingFields, ...chatFields });

const completionSchema = z.object({
  ...samplingFields,
  prompt: z.union([
    z.string(),
    z.array(z.string()).min(1),
    z.array(z.int().min(0)).min(1),
    z.array(z.array(z.int().min(0)).min(1)).min(1),
  ]),
  suffix: z.string().nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
});

/** A seed for a request that gives none: answers then differ from call to call. */
const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** What generation takes, defaults filled in. */
export function sampling(
  body: z.infer<z.ZodObject<typeof samplingFields>>,
  maxTokens: number | null,
  logprobs: number | null,
): SamplingRequest {
  const topP = body.top_p ?? 1;
  const topK = Math.max(0, body.top_k ?? 0);
  const stop = body.stop ?? [];
  return {
    maxTokens,
    temperature: body.temperature ?? 1,
    // OpenAI allows 0, which leaves only the likeliest token.
    topP: topP === 0 ? 1 : topP,
    topK: topP === 0 ? 1 : topK,
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    logitBias: Object.entries(body.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias] as const),
    seed: body.seed ?? freshSeed(),
    stop: typeof stop === "string" ? [stop] : stop,
    logprobs,
    n: body.n ?? 1,
    ignoreEos: body.ignore_eos ?? false,
  };
}

type Streaming = Pick<z.infer<z.ZodObject<typeof samplingFields>>, "stream" | "stream_options" | "model">;

function streaming({ stream, stream_options: options, model }: Streaming) {
  if (options && !stream) {
    throw invalidRequest("'stream_options' may only be given with 'stream': true.", "stream_options");
  }
  return { model: model ?? null, stream: stream ?? false, includeUsage: options?.include_usage ?? false };
}

type ChatBody = z.infer<typeof chatSchema>;

function message(
  body: Exclude<ChatBody["messages"][number], { role: "function" }>,
  at: number,
  functionId: string,
): Message {
  const { role } = body;
  const content = body.content ?? "";
  switch (role) {
    case "system":
    case "developer":
      return { role: "system", content };
    case "user":
      return { role, content, ...(body.name ? { name: body.name } : {}) };
    case "tool":
      return { role, content, tool_call_id: body.tool_call_id };
    case "assistant": {
      const { tool_calls: given, function_call: older } = body;
      const calls = [...(given ?? []), ...(older ? [{ id: functionId, function: older }] : [])];
      const said = [body.content, body.refusal, body.reasoning_content];
      if (calls.length === 0 && said.every((text) => text === undefined)) {
        const param = `messages[${at}].content`;
        throw invalidRequest(`'${param}' is required unless there are 'tool_calls'.`, param);
      }
      return {
        role,
        // A refusal is what was answered.
        content: content + (body.refusal ?? ""),
        ...(body.reasoning_content ? { reasoning_content: body.reasoning_content } : {}),
        ...(calls.length > 0 ? { tool_calls: calls.map((call) => ({ ...call, type: "function" })) } : {}),
      };
    }
  }
}

/** The conversation; answers of functions, which say no id, are those of the call before them. */
function messagesOf(list: ChatBody["messages"]): Message[] {
  let functionId = "call_0";
  return list.map((body, at) => {
    if (body.role === "function")
      return { role: "tool", content: body.content ?? "", tool_call_id: functionId };
    if (body.role === "assistant" && body.function_call) functionId = `call_${at}`;
    return message(body, at, functionId);
  });
}

type FunctionBody = z.infer<z.ZodObject<typeof functionFields>>;

/**
 * Functions as tools, without fields that say nothing.
 * @throws ApiError where two have one name; `param` names the field of the one at an index
 */
export function toolsOf(functions: readonly FunctionBody[], param: (index: number) => string): Tool[] {
  const names = new Set<string>();
  return functions.map((given, i) => {
    const { name } = given;
    if (names.has(name)) throw invalidRequest(`There are two tools named '${name}'.`, param(i));
    names.add(name);
    const told = Object.entries(given).filter(([, value]) => value !== null && value !== undefined);
    return { type: "function", function: Object.fromEntries(told) as unknown as Tool["function"] };
  });
}

/**
 * Tools in the present form or the older one, as they were sent, with keys in that order; `read` holds what was read
 * of them.
 */
function tools(read: Pick<ChatBody, "tools" | "functions">, sent: Body): Tool[] {
  const { tools: list, functions } = read;
  if (list?.length && functions?.length) {
    throw invalidRequest("'functions' is the older form of 'tools'; give one of the two.", "functions");
  }
  const merged = (given: FunctionBody, i: number, asSent: readonly unknown[]) => ({
    ...(asSent[i] as FunctionBody),
    parameters: given.parameters,
  });
  if (functions?.length) {
    const asSent = sent.functions as readonly unknown[];
    return toolsOf(
      functions.map((given, i) => merged(given, i, asSent)),
      (i) => `functions[${i}].name`,
    );
  }
  const asSent = (sent.tools ?? []) as readonly { readonly function: unknown }[];
  const inner = asSent.map((tool) => tool.function);
  return toolsOf(
    (list ?? []).map((tool, i) => merged(tool.function, i, inner)),
    (i) => `tools[${i}].function.name`,
  ).map((tool, i) => ({ ...asSent[i], ...tool }));
}

/** The choice in one form, whichever field of a body spells it. @throws ApiError where it names no tool */
export function checkedChoice(choice: ToolChoice | null, list: readonly Tool[], param: string): ToolChoice {
  const wanted = choice ?? (list.length > 0 ? "auto" : "none");
  if (wanted === "none") return wanted;
  if (list.length === 0 && wanted !== "auto") {
    throw invalidRequest(`'${param}' asks for a call, but there are no 'tools'.`, param);
  }
  if (typeof wanted === "string") return wanted;
  const { mode, names } = wanted;
  const unknown = names.find((name) => !list.some((tool) => tool.function.name === name));
  if (unknown !== undefined) {
    throw invalidRequest(`'${param}' names '${unknown}', which is none of the tools.`, param);
  }
  return list.every((tool) => names.includes(tool.function.name)) ? mode : wanted;
}

function toolChoice(body: ChatBody, list: readonly Tool[]): ToolChoice {
  const { tool_choice: choice, function_call: older } = body;
  if (choice != null && body.functions?.length) {
    throw invalidRequest(
      "'tool_choice' belongs to 'tools'; with 'functions' give 'function_call'.",
      "tool_choice",
    );
  }
  if (older != null && body.tools?.length) {
    throw invalidRequest(
      "'function_call' belongs to 'functions'; with 'tools' give 'tool_choice'.",
      "function_call",
    );
  }
  if (older != null) {
    const wanted = typeof older === "string" ? older : { mode: "required" as const, names: [older.name] };
    return checkedChoice(wanted, list, "function_call");
  }
  const read = (): ToolChoice | null => {
    if (choice == null || typeof choice === "string") return choice ?? null;
    if (choice.type === "function") return { mode: "required", names: [choice.function.name] };
    const { mode, tools } = choice.allowed_tools;
    return { mode, names: tools.map((tool) => tool.function.name) };
  };
  return checkedChoice(read(), list, "tool_choice");
}

/** Whether the answer has to be a call. */
export const mustCall = (choice: ToolChoice) =>
  choice === "required" || (typeof choice === "object" && choice.mode === "required");

type Thinking = Pick<ChatBody, "thinking" | "chat_template_kwargs">;
type Effort = ChatBody["reasoning_effort"];

/** Efforts that ask for an answer at once. */
const AT_ONCE: readonly Effort[] = ["none", "minimal"];

/**
 * Variables of the template, and whether the model thinks first. What is said of that outright counts more than an
 * effort, which for a template that knows only yes and no is one of the two.
 */
export function templateChoice(
  { thinking: asked, chat_template_kwargs: given }: Thinking,
  effort: Effort,
): Pick<ChatJob, "thinking" | "templateVariables"> {
  const own = ["thinking", "enable_thinking"];
  const said = [asked ? asked.type === "enabled" : null, ...own.map((name) => given?.get(name))].find(
    (v) => typeof v === "boolean",
  );
  const variables: JsonObject = new Map(effort == null ? [] : [["reasoning_effort", effort]]);
  for (const [name, value] of given ?? []) if (!own.includes(name)) variables.set(name, value);
  return {
    thinking: said ?? (effort == null ? null : !AT_ONCE.includes(effort)),
    templateVariables: variables,
  };
}

function checkChoices(choices: number): void {
  if (choices <= MAX_CHOICES) return;
  throw invalidRequest(`A request may ask for ${MAX_CHOICES} choices; this one asks for ${choices}.`, "n");
}

export interface ParsedChat extends Parsed<ChatJob> {
  /** Whether calls are answered in the older form, as `function_call`. */
  readonly oldForm: boolean;
}

/** The body of POST /v1/chat/completions. @throws ApiError */
export function parseChat(json: unknown): ParsedChat {
  const raw = object(json);
  refuse("chat", raw);
  const body = read(chatSchema, raw);
  if (body.top_logprobs != null && !body.logprobs) {
    throw invalidRequest("'top_logprobs' may only be given with 'logprobs': true.", "top_logprobs");
  }
  const list = tools(body, raw);
  const oldForm = (body.functions?.length ?? 0) > 0;
  const format = body.response_format;
  const choice = toolChoice(body, list);
  const constrained = format != null && format.type !== "text";
  if (constrained && mustCall(choice)) {
    throw invalidRequest(
      "'response_format' and a forced 'tool_choice' contradict each other.",
      "response_format",
    );
  }
  const limit = body.max_completion_tokens ?? body.max_tokens ?? null;
  const shared = sampling(body, limit, body.logprobs ? (body.top_logprobs ?? 0) : null);
  checkChoices(shared.n);
  return {
    ...streaming(body),
    oldForm,
    job: {
      kind: "chat",
      ...shared,
      messages: messagesOf(body.messages),
      tools: list,
      toolChoice: choice,
      // The older form has room for one call.
      parallelToolCalls: oldForm ? false : (body.parallel_tool_calls ?? true),
      format:
        format?.type === "json_schema"
          ? {
              type: "json_schema",
              name: format.json_schema.name,
              schema: format.json_schema.schema ?? true,
            }
          : { type: format?.type ?? "text" },
      ...templateChoice(body, body.reasoning_effort),
    },
  };
}

function prompts(prompt: z.infer<typeof completionSchema>["prompt"]): (string | readonly number[])[] {
  if (typeof prompt === "string") return [prompt];
  if (typeof prompt[0] === "number") return [prompt as number[]];
  return prompt as (string | number[])[];
}

/** The body of POST /v1/completions. @throws ApiError */
export function parseCompletion(json: unknown): Parsed<CompletionJob> {
  const raw = object(json);
  refuse("completion", raw);
  const body = read(completionSchema, raw);
  const list = prompts(body.prompt);
  const [echo, suffix] = [body.echo ?? false, body.suffix ?? null];
  if (echo && body.logprobs != null) {
    throw unsupported("echo", "together with 'logprobs', since the prompt's tokens are not scored");
  }
  if (suffix !== null && list.some((prompt) => typeof prompt !== "string")) {
    throw invalidRequest("'suffix' needs prompts that are text, not token ids.", "suffix");
  }
  // 16 is OpenAI's default for this old interface.
  const shared = sampling(body, body.max_tokens ?? 16, body.logprobs ?? null);
  checkChoices(shared.n * list.length);
  return {
    ...streaming(body),
    job: { kind: "completion", ...shared, prompts: list, suffix, echo },
  };
}

const tokenizeSchema = z.object({
  text: z.string().nullish(),
  prompt: z.string().nullish(),
  messages: chatFields.messages.nullish(),
  tools: chatFields.tools,
  add_special_tokens: z.boolean().nullish(),
  parse_special: z.boolean().nullish(),
});

/** The body of POST /tokenize: `text` (or `prompt`), or `messages` as the chat endpoint would render them. */
export function parseTokenize(json: unknown): TokenizeRequest {
  const raw = object(json);
  const body = read(tokenizeSchema, raw);
  const text = body.text ?? body.prompt;
  if (body.messages != null) {
    return { messages: messagesOf(body.messages), tools: tools({ tools: body.tools }, raw) };
  }
  if (text == null)
    throw invalidRequest("Missing required parameter: 'text'.", "text", "missing_required_parameter");
  return {
    text,
    addSpecialTokens: body.add_special_tokens ?? true,
    parseSpecial: body.parse_special ?? false,
  };
}

const detokenizeSchema = z.object({ tokens: z.array(z.int().min(0)) });

/** The body of POST /detokenize. */
export function parseDetokenize(json: unknown): readonly number[] {
  return read(detokenizeSchema, object(json)).tokens;
}

/** Deepest nesting of a body: beyond it recursive readers of schemas would run out of stack. */
const MAX_DEPTH = 100;

/** Parts of bodies that are handed on as they were written. */
const EXACT: readonly JsonPath[] = [
  ["tools", "*", "function", "*"],
  ["tools", "*", "parameters"],
  ["tools", "*", "tools", "*", "parameters"],
  ["functions", "*", "*"],
  ["response_format", "json_schema", "schema"],
  ["text", "format", "schema"],
  ["chat_template_kwargs"],
];

/**
 * Parses a body; schemas and template variables in it are `JsonValue`s.
 * @throws ApiError 400 for what is not JSON, or nested deeper than any reader here follows
 */
export function parseBody(text: string): unknown {
  try {
    return parsePlain(text, EXACT, { maxDepth: MAX_DEPTH });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalidRequest(`The body is not valid JSON: ${error.message}.`, null, "invalid_json");
  }
}
