/** Answers of /v1/chat/completions: the whole body, or chunks as they come. */

import type { GenerationReader } from "../engine/host/generation-job.ts";
import type {
  ChoiceUsage,
  Delta,
  FinishReason,
  TokenEntry,
  TokenProbability,
  ToolCallPart,
} from "../engine/host/protocol.ts";
import { type AnswerHead, collect, phraseBody, usageBody, type WholeToolCall } from "./answers.ts";
import { type InsideParts, insideField } from "./inside-answer.ts";

const tokenBody = ({ id, token, logprob, bytes }: TokenProbability, { tokenIds }: ChatShape) => ({
  token: tokenIds ? `token_id:${id}` : token,
  logprob,
  bytes,
});

const logprobsBody = (entries: readonly TokenEntry[], shape: ChatShape) => ({
  content: entries.map((entry) => ({
    ...tokenBody(entry, shape),
    top_logprobs: entry.top.map((other) => tokenBody(other, shape)),
  })),
  refusal: null,
});

export interface ChatShape {
  readonly logprobs: boolean;
  /** Whether a call is answered as `function_call`, as before there were tools. */
  readonly oldForm: boolean;
  /** Whether scored tokens are told by their ids. */
  readonly tokenIds: boolean;
  /** Whether boxes are told as numbers too; default false. */
  readonly grounding?: boolean;
}

function callsBody(calls: readonly WholeToolCall[], { oldForm }: ChatShape): Record<string, unknown> {
  if (calls.length === 0) return {};
  if (oldForm) return { function_call: { name: calls[0].name, arguments: calls[0].arguments } };
  return {
    tool_calls: calls.map(({ id, name, arguments: text }) => ({
      id,
      type: "function",
      function: { name, arguments: text },
    })),
  };
}

const reasonOf = (reason: FinishReason, { oldForm }: ChatShape) =>
  oldForm && reason === "tool_calls" ? "function_call" : reason;

/** The body of an answer that is not streamed. @throws ApiError */
export async function chatBody(
  stream: GenerationReader,
  head: AnswerHead,
  shape: ChatShape,
): Promise<Record<string, unknown>> {
  const choices = await collect(stream);
  return {
    id: head.id,
    object: "chat.completion",
    created: head.created,
    model: head.model,
    choices: choices.map((choice, index) => ({
      index,
      message: {
        role: "assistant",
        content: choice.content === "" && choice.toolCalls.length > 0 ? null : choice.content,
        ...(choice.reasoning === "" ? {} : { reasoning_content: choice.reasoning }),
        ...callsBody(choice.toolCalls, shape),
        ...(shape.grounding ? { grounding: choice.grounding.map(phraseBody) } : {}),
        refusal: null,
      },
      logprobs: shape.logprobs ? logprobsBody(choice.logprobs, shape) : null,
      finish_reason: reasonOf(choice.reason, shape),
    })),
    usage: usageBody(
      choices.map((choice) => choice.usage),
      choices.length,
    ),
    ...insideField(choices[0]),
    system_fingerprint: head.fingerprint,
  };
}

function callParts(parts: readonly ToolCallPart[], { oldForm }: ChatShape): Record<string, unknown> {
  const functionOf = ({ name, arguments: text }: ToolCallPart) => ({
    ...(name === undefined ? {} : { name }),
    ...(text === undefined ? {} : { arguments: text }),
  });
  if (oldForm) {
    // Parts that come at once are of one call.
    const args = parts.map((part) => part.arguments ?? "").join("");
    return { function_call: functionOf({ index: 0, name: parts[0].name, arguments: args }) };
  }
  return {
    tool_calls: parts.map((part) => ({
      index: part.index,
      ...(part.id === undefined ? {} : { id: part.id, type: "function" }),
      function: functionOf(part),
    })),
  };
}

function deltaBody(
  { content, reasoning, toolCalls, grounding }: Delta,
  shape: ChatShape,
): Record<string, unknown> {
  return {
    ...(content === undefined ? {} : { content }),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(toolCalls === undefined ? {} : callParts(toolCalls, shape)),
    ...(grounding === undefined ? {} : { grounding: grounding.map(phraseBody) }),
  };
}

/** The chunks of a streamed answer: the role of each choice, its deltas, its end, and the usage if asked for. */
export async function* chatChunks(
  stream: GenerationReader,
  head: AnswerHead,
  shape: ChatShape & { readonly includeUsage: boolean },
): AsyncGenerator<Record<string, unknown>, void> {
  const chunk = (choices: unknown[], { usage = null, ...parts }: { usage?: unknown } & InsideParts = {}) => ({
    id: head.id,
    object: "chat.completion.chunk",
    created: head.created,
    model: head.model,
    system_fingerprint: head.fingerprint,
    choices,
    ...insideField(parts),
    ...(shape.includeUsage ? { usage } : {}),
  });
  const choice = (
    index: number,
    delta: unknown,
    entries: readonly TokenEntry[],
    reason: string | null,
    parts: InsideParts = {},
  ) => {
    const logprobs = shape.logprobs ? logprobsBody(entries, shape) : null;
    return chunk([{ index, delta, logprobs, finish_reason: reason }], parts);
  };
  for (let index = 0; index < stream.choices; index++) {
    // Readers take an empty text for the beginning of one, before reasoning and calls that have none.
    yield choice(index, { role: "assistant", content: null, refusal: null }, [], null);
  }
  const usages = new Array<ChoiceUsage>(stream.choices);
  for await (const event of stream) {
    if (event.type === "finished") {
      usages[event.choice] = event.usage;
      const { figures } = event;
      yield choice(event.choice, {}, [], reasonOf(event.reason, shape), { figures });
    } else {
      const { choice: index, logprobs = [], inside, pictures } = event.delta;
      yield choice(index, deltaBody(event.delta, shape), logprobs, null, { inside, pictures });
    }
  }
  if (shape.includeUsage) yield chunk([], { usage: usageBody(usages, stream.choices) });
}
