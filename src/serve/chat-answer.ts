/** Answers of /v1/chat/completions: the whole body, or chunks as they come. */
import { type AnswerHead, collect, usageBody } from "./answers.ts";
import type { JobStream } from "./engine-client.ts";
import type { ChoiceUsage, Delta, TokenEntry, TokenProbability } from "./protocol.ts";

const tokenBody = ({ token, logprob, bytes }: TokenProbability) => ({ token, logprob, bytes });

const logprobsBody = (entries: readonly TokenEntry[]) => ({
  content: entries.map((entry) => ({ ...tokenBody(entry), top_logprobs: entry.top.map(tokenBody) })),
  refusal: null,
});

/** The body of an answer that is not streamed. @throws ApiError */
export async function chatBody(
  stream: JobStream,
  head: AnswerHead,
  logprobs: boolean,
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
        ...(choice.toolCalls.length === 0
          ? {}
          : {
              tool_calls: choice.toolCalls.map(({ id, name, arguments: text }) => ({
                id,
                type: "function",
                function: { name, arguments: text },
              })),
            }),
        refusal: null,
      },
      logprobs: logprobs ? logprobsBody(choice.logprobs) : null,
      finish_reason: choice.reason,
    })),
    usage: usageBody(
      choices.map((choice) => choice.usage),
      choices.length,
    ),
    system_fingerprint: head.fingerprint,
  };
}

function deltaBody({ content, reasoning, toolCalls }: Delta): Record<string, unknown> {
  return {
    ...(content === undefined ? {} : { content }),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(toolCalls === undefined
      ? {}
      : {
          tool_calls: toolCalls.map(({ index, id, name, arguments: text }) => ({
            index,
            ...(id === undefined ? {} : { id, type: "function" }),
            function: {
              ...(name === undefined ? {} : { name }),
              ...(text === undefined ? {} : { arguments: text }),
            },
          })),
        }),
  };
}

/** The chunks of a streamed answer: the role of each choice, its deltas, its end, and the usage where asked for. */
export async function* chatChunks(
  stream: JobStream,
  head: AnswerHead,
  { includeUsage, logprobs }: { includeUsage: boolean; logprobs: boolean },
): AsyncGenerator<Record<string, unknown>, void> {
  const chunk = (choices: unknown[], usage: unknown = null) => ({
    id: head.id,
    object: "chat.completion.chunk",
    created: head.created,
    model: head.model,
    system_fingerprint: head.fingerprint,
    choices,
    ...(includeUsage ? { usage } : {}),
  });
  const choice = (index: number, delta: unknown, entries: readonly TokenEntry[], reason: string | null) =>
    chunk([{ index, delta, logprobs: logprobs ? logprobsBody(entries) : null, finish_reason: reason }]);
  for (let index = 0; index < stream.choices; index++) {
    yield choice(index, { role: "assistant", content: "", refusal: null }, [], null);
  }
  const usages = new Array<ChoiceUsage>(stream.choices);
  for await (const event of stream) {
    if (event.type === "finished") {
      usages[event.choice] = event.usage;
      yield choice(event.choice, {}, [], event.reason);
    } else {
      yield choice(event.delta.choice, deltaBody(event.delta), event.delta.logprobs ?? [], null);
    }
  }
  if (includeUsage) yield chunk([], usageBody(usages, stream.choices));
}
