/** Answers of /v1/completions: the whole body, or chunks as they come. */

import type { GenerationReader } from "../engine/host/generation-job.ts";
import type { ChoiceUsage, TokenEntry, TokenProbability } from "../engine/host/protocol.ts";
import { type AnswerHead, collect, usageBody } from "./answers.ts";
import { type InsideParts, insideField } from "./inside-answer.ts";

const utf8 = new TextEncoder();

/** A token's text, or its id if that is asked for; of one that is part of a character its bytes, as OpenAI spells them. */
function label({ id, token, bytes }: TokenProbability, tokenIds: boolean): string {
  if (tokenIds) return `token_id:${id}`;
  const whole = utf8.encode(token);
  const same = whole.length === bytes.length && bytes.every((byte, i) => byte === whole[i]);
  return same || !token.includes("\ufffd") ? token : spelled(bytes);
}

const spelled = (bytes: readonly number[]) =>
  `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;

/**
 * Log-probabilities of the likeliest tokens and of the one that came, by text, with no token lost if two print alike:
 * the likelier has the text itself.
 */
function byLabel(entry: TokenEntry, tokenIds: boolean): Record<string, number> | null {
  if (entry.first) return null;
  const { top } = entry;
  const out = new Map<string, number>();
  for (const item of top.some(({ id }) => id === entry.id) ? top : [...top, entry]) {
    let key = label(item, tokenIds);
    if (out.has(key)) key = spelled(item.bytes);
    for (let again = 2; out.has(key); again++) key = `${spelled(item.bytes)} (${again})`;
    out.set(key, item.logprob);
  }
  return Object.fromEntries(out);
}

/** Scored tokens in the form of this interface. */
export const logprobsBody = (entries: readonly TokenEntry[], tokenIds = false) => ({
  tokens: entries.map((entry) => label(entry, tokenIds)),
  token_logprobs: entries.map(({ logprob, first }) => (first ? null : logprob)),
  top_logprobs: entries.map((entry) => byLabel(entry, tokenIds)),
  text_offset: entries.map(({ offset }) => offset),
});

export interface CompletionShape {
  readonly logprobs: boolean;
  /** Whether scored tokens are told by their ids. */
  readonly tokenIds: boolean;
  readonly choicesPerPrompt: number;
}

/** The body of an answer that is not streamed. @throws ApiError */
export async function completionBody(
  stream: GenerationReader,
  head: AnswerHead,
  shape: CompletionShape,
): Promise<Record<string, unknown>> {
  const choices = await collect(stream);
  return {
    id: head.id,
    object: "text_completion",
    created: head.created,
    model: head.model,
    choices: choices.map((choice, index) => ({
      index,
      text: choice.content,
      logprobs: shape.logprobs ? logprobsBody(choice.logprobs, shape.tokenIds) : null,
      finish_reason: choice.reason,
    })),
    usage: usageBody(
      choices.map((choice) => choice.usage),
      shape.choicesPerPrompt,
    ),
    ...insideField(choices[0]),
    system_fingerprint: head.fingerprint,
  };
}

/** The chunks of a streamed answer. */
export async function* completionChunks(
  stream: GenerationReader,
  head: AnswerHead,
  shape: CompletionShape & { readonly includeUsage: boolean },
): AsyncGenerator<Record<string, unknown>, void> {
  const chunk = (choices: unknown[], { usage = null, ...parts }: { usage?: unknown } & InsideParts = {}) => ({
    id: head.id,
    object: "text_completion",
    created: head.created,
    model: head.model,
    system_fingerprint: head.fingerprint,
    choices,
    ...insideField(parts),
    ...(shape.includeUsage ? { usage } : {}),
  });
  const usages = new Array<ChoiceUsage>(stream.choices);
  for await (const event of stream) {
    if (event.type === "finished") {
      usages[event.choice] = event.usage;
      const { choice: index, reason, figures } = event;
      yield chunk([{ index, text: "", logprobs: null, finish_reason: reason }], { figures });
      continue;
    }
    const { choice, content = "", logprobs = [], inside, pictures } = event.delta;
    const entries = shape.logprobs ? logprobsBody(logprobs, shape.tokenIds) : null;
    const told = { index: choice, text: content, logprobs: entries, finish_reason: null };
    yield chunk([told], { inside, pictures });
  }
  if (shape.includeUsage) yield chunk([], { usage: usageBody(usages, shape.choicesPerPrompt) });
}
