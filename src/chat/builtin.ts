/**
 * Templates for checkpoints that bring none, in our own words, and the rule that picks one. What they render is what
 * the released models were trained on: User/Assistant in plain text (LLM, MoE, V2, Coder-V2), `### Instruction:`
 * (Coder v1) and the token layout of V2.5, V3, R1 and V3.1. Where the original writes fixed English text, the text
 * here is another one: Coder's preamble (`preamble` overrides it; a system message replaces it) and the description
 * of tools, which V3's own template leaves to the caller. They are Jinja, so that they can be saved next to a model.
 */
import type { ModelType } from "../models/config.ts";
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

export type BuiltinName = "llm" | "coder" | "v2.5" | "v3" | "r1" | "v3.1";

/** What else is known of a model, for the choice of a template. */
export interface TemplateHints {
  readonly modelType?: ModelType;
  /** Name of the folder or repository; "R1" and "V2.5" in it count. */
  readonly name?: string;
}

/** `#NAME#` stands for a token, so that the templates below stay readable. */
const tokens = (text: string) =>
  text.replace(/#(\w+)#/g, (_, name: string) => TOKEN[name as keyof typeof TOKEN]);

/** Stops at what a layout has no place for. */
const NO_TOOLS = `
{%- if tools -%}{{- raise_exception('it has no place for tools') -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' or message.tool_calls -%}
    {{- raise_exception('it has no place for tool calls and their answers') -}}
  {%- endif -%}
{%- endfor -%}`;

const LLM = String.raw`
{{- bos_token -}}${NO_TOOLS}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}{{- message.content + '\n\n' -}}
  {%- elif message.role == 'user' -%}{{- 'User: ' + message.content + '\n\n' -}}
  {%- else -%}{{- 'Assistant: ' + message.content + eos_token -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}`.trim();

/** Stands in for Coder's own preamble. */
export const CODER_PREAMBLE =
  "You are a programming assistant. Answer questions about code and computer science.";

const CODER = String.raw`
{{- bos_token -}}${NO_TOOLS}
{%- set state = namespace(opened=false) -%}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}{{- message.content + '\n' -}}{%- set state.opened = true -%}{%- endif -%}
{%- endfor -%}
{%- if not state.opened -%}
  {{- (preamble if preamble is defined else '${CODER_PREAMBLE}') + '\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{{- '### Instruction:\n' + message.content + '\n' -}}
  {%- elif message.role == 'assistant' -%}{{- '### Response:\n' + message.content + '\n${TOKEN.eot}\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Response:\n' -}}{%- endif -%}`.trim();

/** All system messages first, then what tools there are and the call format `call`. */
const opening = (call: string) => String.raw`
{{- bos_token -}}
{%- set state = namespace(system='', outputs=false, asked=false) -%}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}
    {%- set state.system = state.system + ('\n\n' if state.system else '') + message.content -%}
  {%- endif -%}
{%- endfor -%}
{{- state.system -}}
{%- if tools -%}
  {{- ('\n\n' if state.system else '') + '## Functions\nThese functions can be called:\n' -}}
  {%- for tool in tools -%}{{- '\n' + (tool.function | tojson) + '\n' -}}{%- endfor -%}
  {{- '\nTo call functions, end the answer with exactly this, arguments being a JSON object:\n' -}}
  {{- '#toolCallsBegin#${call}#toolCallsEnd#' -}}
{%- endif -%}`;

/** Layout of V2.5, V3 and R1: `answer` renders an earlier answer's text, `prompt` opens the next. */
const layoutV3 = (answer: string, prompt: string) =>
  tokens(
    String.raw`${opening("#toolCallBegin#function#toolSep#NAME\\n```json\\nARGUMENTS\\n```#toolCallEnd#")}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {%- if not state.outputs -%}{{- '#toolOutputsBegin#' -}}{%- endif -%}
    {%- set state.outputs = true -%}
    {{- '#toolOutputBegin#' + message.content + '#toolOutputEnd#' -}}
  {%- elif message.role == 'user' -%}
    {{- ('#toolOutputsEnd#' if state.outputs else '') + '#user#' + message.content -}}
    {%- set state.outputs = false -%}
  {%- elif message.role == 'assistant' -%}
    {{- '#toolOutputsEnd#' if state.outputs else '#assistant#' -}}
    {%- set state.outputs = false -%}
    {{- ${answer} if message.content else '' -}}
    {%- if message.tool_calls -%}
      {{- '#toolCallsBegin#' -}}
      {%- for call in message.tool_calls -%}
        {{- ('' if loop.first else '\n') + '#toolCallBegin#' + call.type + '#toolSep#' + call.function.name -}}
        {{- '\n${"```"}json\n' + call.function.arguments + '\n${"```"}#toolCallEnd#' -}}
      {%- endfor -%}
      {{- '#toolCallsEnd#' -}}
    {%- endif -%}
    {{- eos_token -}}
  {%- endif -%}
{%- endfor -%}
{%- if state.outputs -%}{{- '#toolOutputsEnd#' -}}
{%- elif add_generation_prompt -%}{{- ${prompt} -}}
{%- endif -%}`,
  ).trim();

const V3 = layoutV3("message.content", "'#assistant#'");
const R1 = layoutV3(
  "message.content.split('</think>')[-1]",
  "'#assistant#' if thinking is defined and not thinking else '#assistant#<think>\\n'",
);

/** V3.1: an answer follows `</think>`; tool results have no outer brackets and are answered directly. */
const V31 = tokens(
  `${opening("#toolCallBegin#NAME#toolSep#ARGUMENTS#toolCallEnd#")}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}
    {{- '#user#' + message.content -}}
    {%- set state.asked = true -%}
  {%- elif message.role == 'assistant' -%}
    {%- if state.asked -%}{{- '#assistant#</think>' -}}{%- endif -%}
    {%- set state.asked = false -%}
    {{- message.content.split('</think>')[-1] if message.content else '' -}}
    {%- if message.tool_calls -%}
      {{- '#toolCallsBegin#' -}}
      {%- for call in message.tool_calls -%}
        {{- '#toolCallBegin#' + call.function.name + '#toolSep#' + call.function.arguments + '#toolCallEnd#' -}}
      {%- endfor -%}
      {{- '#toolCallsEnd#' -}}
    {%- endif -%}
    {{- eos_token -}}
  {%- elif message.role == 'tool' -%}
    {{- '#toolOutputBegin#' + message.content + '#toolOutputEnd#' -}}
    {%- set state.asked = false -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and state.asked -%}
  {{- '#assistant#' + ('<think>' if thinking else '</think>') -}}
{%- endif -%}`,
).trim();

/** Jinja sources by name. */
export const BUILTIN_TEMPLATES: Readonly<Record<BuiltinName, string>> = {
  llm: LLM,
  coder: CODER,
  "v2.5": V3,
  v3: V3,
  r1: R1,
  "v3.1": V31,
};

/** Id of BOS in the vocabulary of 100,000 tokens that LLM, MoE and all of V2 share. */
const BOS_100K = 100_000;

/**
 * The built-in template for a model without one. `<|EOT|>` without `<｜User｜>` means Coder v1 (v1.5 too). The shared
 * 100K vocabulary means plain User/Assistant, or V2.5 if the name says so (its tokens exist in Coder-V2 as well).
 * Otherwise `<｜User｜>` and `<｜Assistant｜>` mean, where `<think>` is a token, R1 in a `llama` or `qwen2` and else V3.1; R1 if
 * the name says so, and V3.
 * Without those tokens, a `llama`, `deepseek` or `deepseek_v2` with the family's BOS and EOS is plain again.
 * @throws ConfigError if nothing fits
 */
export function builtinFor(tokenizer: Tokenizer, hints: TemplateHints = {}): BuiltinName {
  const has = (token: string) => tokenizer.idOf(token) !== undefined;
  const named = (pattern: RegExp) => pattern.test(hints.name ?? "");
  const users = has(TOKEN.user) && has(TOKEN.assistant);
  if (has(TOKEN.eot) && !users) return "coder";
  if (tokenizer.idOf(TOKEN.bos) === BOS_100K) {
    return users && named(/(?:^|[^a-z0-9])v2\.5(?![0-9])/i) ? "v2.5" : "llm";
  }
  if (users) {
    // Distilled models were trained on R1's answers.
    const distilled = hints.modelType === "llama" || hints.modelType === "qwen2";
    if (has("<think>") && has("</think>")) return distilled ? "r1" : "v3.1";
    return named(/(?:^|[^a-z0-9])r1(?![a-z0-9])/i) ? "r1" : "v3";
  }
  const plain = hints.modelType !== undefined && hints.modelType !== "deepseek_v3";
  if (plain && has(TOKEN.bos) && has(TOKEN.eos)) return "llm";
  throw new ConfigError("the model brings no chat template, and none that is built in fits its tokenizer", {
    where: "chat template",
    expected: `${TOKEN.user} and ${TOKEN.assistant}, ${TOKEN.eot}, or a model_type of the plain layout`,
    found: hints.modelType ?? "no such tokens",
    hint: `Choose one (${Object.keys(BUILTIN_TEMPLATES).join(", ")}) or pass a Jinja template.`,
  });
}
