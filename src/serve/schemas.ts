/**
 * Reads the bodies of requests: OpenAI's fields and a few extensions, checked with zod and turned into jobs for the
 * engine. Unknown fields are ignored; fields that would change the answer but are not served are refused by name.
 */
import { z } from "zod";
import type { Tool } from "../chat/messages.ts";
import {
  type ChatRequest,
  type CompletionRequest,
  paramOf,
  type TokenizeRequest,
  type ToolChoice,
} from "../engine/host/protocol.ts";
import { fromPlain, type JsonObject } from "../json/index.ts";
import { type Body, object, read, refuseFields } from "./body.ts";
import { placedContent, type RequestMessage, type WithReferences } from "./content-parts.ts";
import { invalidRequest } from "./errors.ts";
import { chatFields, type functionFields } from "./fields.ts";
import { formatFields, formatOf } from "./output-format.ts";
import { type Endpoint, REFUSED } from "./request-table.ts";
import {
  checkChoices,
  type Parsed,
  sampling,
  samplingFields,
  streaming,
  tokenLimit,
} from "./sampling-fields.ts";

const refusedIn = (endpoint: Endpoint) =>
  REFUSED.filter((rule) => rule.endpoint === "both" || rule.endpoint === endpoint);
const REFUSED_IN_CHAT = refusedIn("chat");
const REFUSED_IN_COMPLETIONS = refusedIn("completions");

const chatSchema = z.object({ ...samplingFields, ...formatFields, ...chatFields });

const completionSchema = z.object({
  ...samplingFields,
  ...formatFields,
  suffix: z.string().nullish(),
  add_special_tokens: z.boolean().nullish(),
  logprobs: z.union([z.int().min(0).max(20), z.literal(false)]).nullish(),
});

type ChatBody = z.infer<typeof chatSchema>;

function message(
  body: Exclude<ChatBody["messages"][number], { role: "function" }>,
  at: number,
  functionId: string,
): RequestMessage {
  const { role } = body;
  switch (role) {
    case "system":
    case "developer":
      return { role: "system", content: body.content ?? "" };
    case "user": {
      const content = placedContent(body.content ?? "", `messages[${at}].content`, "image_url.url");
      return { role, content, ...(body.name ? { name: body.name } : {}) };
    }
    case "tool":
      return { role, content: body.content ?? "", tool_call_id: body.tool_call_id };
    case "assistant": {
      const { tool_calls: given, function_call: older } = body;
      const calls = [...(given ?? []), ...(older ? [{ id: functionId, function: older }] : [])];
      const reasoning = body.reasoning_content ?? body.reasoning;
      const said = [body.content, body.refusal, reasoning];
      if (calls.length === 0 && said.every((text) => text === undefined)) {
        const param = `messages[${at}].content`;
        throw invalidRequest(`'${param}' is required unless there are 'tool_calls'.`, param);
      }
      return {
        role,
        // A refusal is what was answered.
        content: (body.content ?? "") + (body.refusal ?? ""),
        ...(reasoning ? { reasoning_content: reasoning } : {}),
        ...(calls.length > 0 ? { tool_calls: calls.map((call) => ({ ...call, type: "function" })) } : {}),
      };
    }
  }
}

/** The conversation; answers of functions, which say no id, are those of the call before them. */
function messagesOf(list: ChatBody["messages"]): RequestMessage[] {
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
 * @throws ApiError if two have one name; `param` names the field of the one at an index
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

/** The choice in one form, whichever field of a body spells it. @throws ApiError if it names no tool */
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
): Pick<ChatRequest, "thinking" | "templateVariables"> {
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

export interface ParsedChat extends Parsed<WithReferences<ChatRequest>> {
  /** Whether calls are answered in the older form, as `function_call`. */
  readonly oldForm: boolean;
  /** Whether scored tokens are told by their ids. */
  readonly tokenIds: boolean;
}

/** Whether the last message is a beginning that the answer continues. @throws ApiError if another one is marked */
function continuesFinal(
  body: Pick<ChatBody, "messages" | "continue_final_message" | "add_generation_prompt">,
): boolean {
  const { messages, continue_final_message: asked, add_generation_prompt: fresh } = body;
  const marked = messages.findIndex((one) => one.role === "assistant" && (one.prefix || one.partial));
  const last = messages.length - 1;
  if (marked >= 0 && marked < last) {
    const param = `messages[${marked}].prefix`;
    throw invalidRequest(`'${param}' may only be set in the last message.`, param);
  }
  if (asked && messages[last].role !== "assistant") {
    throw invalidRequest(
      `'continue_final_message' needs a last message of the assistant; it is of the ${messages[last].role}.`,
      "continue_final_message",
    );
  }
  const continues = marked >= 0 || (asked ?? false);
  if (continues && fresh) {
    throw invalidRequest(
      "'add_generation_prompt' begins an answer, a continued last message has begun already; give one of the two.",
      "add_generation_prompt",
    );
  }
  return continues;
}

/** The body of POST /v1/chat/completions. @throws ApiError */
export function parseChat(json: unknown): ParsedChat {
  const raw = object(json);
  refuseFields(REFUSED_IN_CHAT, raw);
  const body = read(chatSchema, raw);
  if (body.top_logprobs != null && !body.logprobs && body.top_logprobs > 0) {
    throw invalidRequest("'top_logprobs' may only be given with 'logprobs': true.", "top_logprobs");
  }
  const list = tools(body, raw);
  const oldForm = (body.functions?.length ?? 0) > 0;
  const choice = toolChoice(body, list);
  const format = formatOf(body);
  if (format.type !== "text" && mustCall(choice)) {
    const [param] = paramOf(format).split(".");
    throw invalidRequest(`'${param}' and a forced 'tool_choice' contradict each other.`, param);
  }
  const limit = tokenLimit(body) ?? null;
  if (limit === 0)
    throw invalidRequest("'max_tokens' must be at least 1, or -1 for as many as fit.", "max_tokens");
  const shared = sampling(body, limit, body.logprobs ? (body.top_logprobs ?? 0) : null);
  checkChoices(shared.n);
  const continueFinal = continuesFinal(body);
  if (shared.echo && !continueFinal) {
    throw invalidRequest(
      "'echo' repeats a last message that is continued; set 'continue_final_message'.",
      "echo",
    );
  }
  const { thinking, templateVariables } = templateChoice(body, body.reasoning_effort);
  return {
    ...streaming(body),
    oldForm,
    tokenIds: body.return_tokens_as_token_ids ?? false,
    job: {
      kind: "chat",
      ...shared,
      messages: messagesOf(body.messages),
      tools: list,
      toolChoice: choice,
      // The older form has room for one call.
      parallelToolCalls: oldForm ? false : (body.parallel_tool_calls ?? true),
      format,
      thinking,
      templateVariables: withDocuments(templateVariables, body.documents),
      continueFinal,
      addGenerationPrompt: body.add_generation_prompt ?? true,
      grounding: body.grounding ?? false,
    },
  };
}

/** Documents are one more variable of templates. */
function withDocuments(variables: JsonObject, documents: ChatBody["documents"]): JsonObject {
  return documents == null ? variables : new Map([...variables, ["documents", fromPlain(documents)]]);
}

function promptProblem(message: string, param: string): never {
  throw invalidRequest(`Invalid value for '${param}': ${message}.`, param, "invalid_value");
}

/** Token ids; `param` names the list. @throws ApiError */
function tokenIds(list: readonly unknown[], param: string): readonly number[] {
  const wrong = list.findIndex((id) => !Number.isInteger(id) || (id as number) < 0);
  if (wrong < 0) return list as readonly number[];
  return promptProblem("expected a token id, an integer of 0 or more", `${param}[${wrong}]`);
}

/** Prompts in all four forms: lists of ids are long, and a schema would look at each of them several times. @throws ApiError */
function prompts(prompt: unknown): (string | readonly number[])[] {
  if (prompt === undefined || prompt === null) {
    throw invalidRequest("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter");
  }
  if (typeof prompt === "string") return [prompt];
  if (!Array.isArray(prompt) || prompt.length === 0) {
    return promptProblem("expected a text, token ids, or a list of these that is not empty", "prompt");
  }
  if (typeof prompt[0] === "number") return [tokenIds(prompt, "prompt")];
  checkChoices(prompt.length);
  return prompt.map((item, i) => {
    const param = `prompt[${i}]`;
    if (typeof item === "string" && typeof prompt[0] === "string") return item;
    if (Array.isArray(item) && item.length > 0 && Array.isArray(prompt[0])) return tokenIds(item, param);
    return promptProblem("expected a text or token ids, as the first of the list is", param);
  });
}

export interface ParsedCompletion extends Parsed<CompletionRequest> {
  /** Whether scored tokens are told by their ids. */
  readonly tokenIds: boolean;
}

/** The body of POST /v1/completions. @throws ApiError */
export function parseCompletion(json: unknown): ParsedCompletion {
  const raw = object(json);
  refuseFields(REFUSED_IN_COMPLETIONS, raw);
  const { prompt, ...rest } = raw;
  const list = prompts(prompt);
  const body = read(completionSchema, rest);
  const suffix = body.suffix ?? null;
  if (suffix !== null && list.some((one) => typeof one !== "string")) {
    throw invalidRequest("'suffix' needs prompts that are text, not token ids.", "suffix");
  }
  const { logprobs } = body;
  const limit = tokenLimit(body);
  // 16 is OpenAI's default for this old interface.
  const shared = sampling(
    body,
    limit === undefined ? 16 : limit,
    typeof logprobs === "number" ? logprobs : null,
  );
  if (suffix !== null && shared.echo && shared.logprobs !== null) {
    throw invalidRequest(
      "'echo' with 'logprobs' scores a prompt; one with a hole is none. Leave 'suffix' out.",
      "suffix",
    );
  }
  checkChoices(shared.n * list.length);
  return {
    ...streaming(body),
    tokenIds: body.return_tokens_as_token_ids ?? false,
    job: {
      kind: "completion",
      ...shared,
      prompts: list,
      suffix,
      addSpecialTokens: body.add_special_tokens ?? true,
      format: formatOf(body),
    },
  };
}

type TokenizeText = Extract<TokenizeRequest, { text: string }>;
type TokenizeMessages = Exclude<TokenizeRequest, { text: string }>;

const tokenizeSchema = z.object({
  text: z.string().nullish(),
  prompt: z.string().nullish(),
  content: z.string().nullish(),
  ...{ messages: chatFields.messages.nullish(), tools: chatFields.tools, thinking: chatFields.thinking },
  chat_template_kwargs: chatFields.chat_template_kwargs,
  reasoning_effort: chatFields.reasoning_effort,
  add_generation_prompt: z.boolean().nullish(),
  continue_final_message: z.boolean().nullish(),
  add_special_tokens: z.boolean().nullish(),
  add_special: z.boolean().nullish(),
  parse_special: z.boolean().nullish(),
});

const REFUSED_IN_TOKENIZE = [
  { field: "return_token_strs", why: "ids are told; /detokenize gives their text", neutral: [false] },
  { field: "with_pieces", why: "ids are told; /detokenize gives their text", neutral: [false] },
  { field: "chat_template", why: "templates come with the model, not with requests" },
];

/**
 * The body of POST /tokenize: `text`, or as other servers call it `prompt` or `content`, or `messages` as the chat
 * endpoint would render them. A `prompt` is read as /v1/completions reads it, control tokens included. @throws ApiError
 */
export function parseTokenize(json: unknown): TokenizeText | WithReferences<TokenizeMessages> {
  const raw = object(json);
  refuseFields(REFUSED_IN_TOKENIZE, raw);
  const body = read(tokenizeSchema, raw);
  if (body.messages != null) {
    const chat = { ...body, messages: body.messages };
    return {
      messages: messagesOf(chat.messages),
      tools: tools({ tools: body.tools }, raw),
      ...templateChoice(body, body.reasoning_effort),
      continueFinal: continuesFinal(chat),
      addGenerationPrompt: body.add_generation_prompt ?? true,
    };
  }
  const text = body.text ?? body.prompt ?? body.content;
  if (text == null) {
    throw invalidRequest("Missing required parameter: 'text'.", "text", "missing_required_parameter");
  }
  return {
    text,
    // llama.cpp's form adds none unless it is asked to.
    addSpecialTokens: body.add_special_tokens ?? body.add_special ?? (body.text ?? body.prompt) != null,
    parseSpecial: body.parse_special ?? body.text == null,
  };
}

/** The body of POST /detokenize. @throws ApiError */
export function parseDetokenize(json: unknown): readonly number[] {
  const { tokens } = object(json);
  if (Array.isArray(tokens)) return tokenIds(tokens, "tokens");
  throw invalidRequest("'tokens' must be a list of token ids.", "tokens", "invalid_value");
}
