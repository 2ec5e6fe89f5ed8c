/** Answers of POST /v1/responses: the news of a job as items and events, the whole body as what the events add up to. */

import type { GenerationReader } from "../engine/host/generation-job.ts";
import type {
  ChoiceUsage,
  Delta,
  FinishReason,
  TokenEntry,
  TokenProbability,
  ToolCallPart,
} from "../engine/host/protocol.ts";
import { freshId } from "../text/ids.ts";
import { type AnswerHead, type PhraseBody, phraseBody } from "./answers.ts";
import { apiError, type ErrorShape } from "./errors.ts";
import { carryReasoning } from "./responses-items.ts";
import type {
  ItemStatus,
  Logprob,
  OutputItem,
  OutputText,
  ResponseBody,
  ResponseEvent,
  ResponseSettings,
  ResponseUsage,
} from "./responses-types.ts";

/** What an answer depends on, besides what comes of the model. */
export interface ResponseShape {
  readonly settings: ResponseSettings;
  readonly logprobs: boolean;
  /** Whether reasoning also comes in the form that clients send back unread. */
  readonly carriesReasoning: boolean;
  /** Whether boxes are told as numbers too. */
  readonly grounding: boolean;
  /** Functions of namespaces, by the name that the model knows. */
  readonly namespaced: ReadonlyMap<string, { readonly namespace: string; readonly name: string }>;
}

type Kind = "message" | "reasoning" | "function_call";

const PREFIX: Readonly<Record<Kind, string>> = { message: "msg_", reasoning: "rs_", function_call: "fc_" };

/** The item that is growing. */
interface Growing {
  readonly kind: Kind;
  readonly id: string;
  /** Of a call. */
  readonly callId: string;
  readonly name: string;
  /** Text, reasoning or arguments. */
  text: string;
  readonly logprobs: Logprob[];
  readonly phrases: PhraseBody[];
}

const scored = ({ token, bytes, logprob }: TokenProbability) => ({ token, bytes: [...bytes], logprob });

const logprobOf = (entry: TokenEntry): Logprob => ({ ...scored(entry), top_logprobs: entry.top.map(scored) });

const usageOf = (usage: ChoiceUsage): ResponseUsage => ({
  input_tokens: usage.promptTokens,
  // What is cached here costs nothing to write.
  input_tokens_details: {
    cached_tokens: usage.cachedTokens,
    cache_write_tokens: 0,
    image_tokens: usage.imageTokens,
  },
  output_tokens: usage.completionTokens,
  output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
  total_tokens: usage.promptTokens + usage.completionTokens,
});

/** Turns the news of one choice into events. */
export class ResponseWriter {
  readonly #head: AnswerHead;
  readonly #shape: ResponseShape;
  readonly #output: OutputItem[] = [];
  #growing: Growing | null = null;
  /** Scored tokens whose text has not come out yet. */
  #pending: Logprob[] = [];
  #ended: Partial<ResponseBody> = {};

  constructor(head: AnswerHead, shape: ResponseShape) {
    this.#head = head;
    this.#shape = shape;
  }

  /** The answer as far as it has come. */
  get body(): ResponseBody {
    const { id, created, model } = this.#head;
    return {
      id,
      object: "response",
      created_at: created,
      completed_at: null,
      status: "in_progress",
      model,
      error: null,
      incomplete_details: null,
      ...this.#shape.settings,
      output: [...this.#output],
      ...this.#ended,
      access_programs: null,
      background: false,
      conversation: null,
      previous_response_id: null,
      prompt: null,
      service_tier: "default",
      store: false,
    };
  }

  begin(): ResponseEvent[] {
    return [
      { type: "response.created", response: this.body },
      { type: "response.in_progress", response: this.body },
    ];
  }

  push({ content, reasoning, toolCalls = [], logprobs = [], grounding = [] }: Delta): ResponseEvent[] {
    const events: ResponseEvent[] = [];
    if (this.#shape.logprobs) this.#pending.push(...logprobs.map(logprobOf));
    // The rest of a call comes before a text, and a text before the next call.
    const next = toolCalls.findIndex((part) => part.id !== undefined);
    const rest = next < 0 ? toolCalls : toolCalls.slice(0, next);
    for (const part of rest) this.#call(part, events);
    if (reasoning !== undefined) this.#text("reasoning", reasoning, events);
    if (content !== undefined) this.#text("message", content, events, grounding.map(phraseBody));
    for (const part of toolCalls.slice(rest.length)) this.#call(part, events);
    return events;
  }

  finish(reason: FinishReason, usage: ChoiceUsage): ResponseEvent[] {
    const cut = reason === "length";
    const events: ResponseEvent[] = [];
    const status = cut ? "incomplete" : "completed";
    this.#close(status, events);
    const answered = this.#output.some(({ type }) => type !== "reasoning");
    // Readers look for a message, however empty the answer.
    if (this.#output.length === 0 || (!cut && !answered)) {
      this.#open("message", events);
      this.#close(status, events);
    }
    this.#ended = {
      status,
      completed_at: cut ? null : Math.floor(Date.now() / 1000),
      incomplete_details: cut ? { reason: "max_output_tokens" } : null,
      usage: usageOf(usage),
    };
    events.push({ type: `response.${status}`, response: this.body });
    return events;
  }

  fail({ message }: ErrorShape): ResponseEvent[] {
    this.#ended = { status: "failed", error: { code: "server_error", message } };
    return [{ type: "response.failed", response: this.body }];
  }

  #place(id: string) {
    return { item_id: id, output_index: this.#output.length };
  }

  get #summarizes(): boolean {
    return this.#shape.settings.reasoning.summary !== null;
  }

  #open(kind: Kind, events: ResponseEvent[], { id: callId = "", name = "" } = {}): Growing {
    this.#close("completed", events);
    const growing: Growing = {
      ...{ kind, id: freshId(PREFIX[kind]), callId, name },
      ...{ text: "", logprobs: [], phrases: [] },
    };
    this.#growing = growing;
    if (kind !== "message") this.#pending = [];
    const place = this.#place(growing.id);
    const added = { ...this.#item(growing, "in_progress"), ...(kind === "message" ? { content: [] } : {}) };
    events.push({
      type: "response.output_item.added",
      output_index: place.output_index,
      item: added as OutputItem,
    });
    if (kind === "message") {
      events.push({
        type: "response.content_part.added",
        ...place,
        content_index: 0,
        part: this.#part(growing),
      });
    } else if (kind === "reasoning") {
      const event = this.#summarizes
        ? {
            ...{
              type: "response.reasoning_summary_part.added" as const,
              ...place,
              summary_index: 0 as const,
            },
            part: { type: "summary_text" as const, text: "" },
          }
        : {
            ...{ type: "response.content_part.added" as const, ...place, content_index: 0 as const },
            part: { type: "reasoning_text" as const, text: "" },
          };
      events.push(event);
    }
    return growing;
  }

  #part({ text, logprobs, phrases }: Growing): OutputText {
    const grounding = this.#shape.grounding && { grounding: [...phrases] };
    return { type: "output_text", text, annotations: [], logprobs: [...logprobs], ...grounding };
  }

  #item(growing: Growing, status: ItemStatus): OutputItem {
    const { kind, id, callId, name, text } = growing;
    switch (kind) {
      case "message":
        return { type: kind, id, status, role: "assistant", content: [this.#part(growing)] };
      case "function_call":
        return {
          ...{ type: kind, id, status, call_id: callId, name },
          ...this.#named(name),
          arguments: text,
        };
      case "reasoning": {
        const carried = this.#shape.carriesReasoning && status !== "in_progress";
        const known = status === "in_progress" ? [] : [text];
        return {
          ...{ type: kind, id, status },
          summary: this.#summarizes ? known.map((text) => ({ type: "summary_text", text })) : [],
          ...(this.#summarizes ? {} : { content: known.map((text) => ({ type: "reasoning_text", text })) }),
          ...(carried ? { encrypted_content: carryReasoning(text) } : {}),
        };
      }
    }
  }

  /** What a client calls a function. */
  #named(name: string): { name: string; namespace?: string } {
    return this.#shape.namespaced.get(name) ?? { name };
  }

  #text(
    kind: "message" | "reasoning",
    delta: string,
    events: ResponseEvent[],
    grounding: readonly PhraseBody[] = [],
  ): void {
    const growing = this.#growing?.kind === kind ? this.#growing : this.#open(kind, events);
    growing.text += delta;
    const place = this.#place(growing.id);
    if (kind === "message") {
      const logprobs = this.#pending.splice(0);
      growing.logprobs.push(...logprobs);
      growing.phrases.push(...grounding);
      const told = grounding.length > 0 && { grounding: [...grounding] };
      events.push({
        type: "response.output_text.delta",
        ...place,
        ...{ content_index: 0, delta, logprobs, ...told },
      });
    } else if (this.#summarizes) {
      events.push({ type: "response.reasoning_summary_text.delta", ...place, summary_index: 0, delta });
    } else {
      events.push({ type: "response.reasoning_text.delta", ...place, content_index: 0, delta });
    }
  }

  #call(part: ToolCallPart, events: ResponseEvent[]): void {
    if (part.id !== undefined) this.#open("function_call", events, part);
    const { arguments: delta = "" } = part;
    const growing = this.#growing;
    if (growing?.kind !== "function_call" || delta === "") return;
    growing.text += delta;
    this.#pending = [];
    events.push({ type: "response.function_call_arguments.delta", ...this.#place(growing.id), delta });
  }

  #close(status: "completed" | "incomplete", events: ResponseEvent[]): void {
    const growing = this.#growing;
    if (growing === null) return;
    this.#growing = null;
    const { kind, id, text, name } = growing;
    const place = this.#place(id);
    if (kind === "message") {
      growing.logprobs.push(...this.#pending.splice(0));
      const part = this.#part(growing);
      const { logprobs } = part;
      events.push(
        { type: "response.output_text.done", ...place, content_index: 0, text, logprobs },
        { type: "response.content_part.done", ...place, content_index: 0, part },
      );
    } else if (kind === "function_call") {
      events.push({
        type: "response.function_call_arguments.done",
        ...place,
        name: this.#named(name).name,
        arguments: text,
      });
    } else if (this.#summarizes) {
      const part = { type: "summary_text" as const, text };
      events.push(
        { type: "response.reasoning_summary_text.done", ...place, summary_index: 0, text },
        { type: "response.reasoning_summary_part.done", ...place, summary_index: 0, part },
      );
    } else {
      const part = { type: "reasoning_text" as const, text };
      events.push(
        { type: "response.reasoning_text.done", ...place, content_index: 0, text },
        { type: "response.content_part.done", ...place, content_index: 0, part },
      );
    }
    const item = this.#item(growing, status);
    events.push({ type: "response.output_item.done", output_index: place.output_index, item });
    this.#output.push(item);
  }
}

/** The events of a streamed answer; if the job fails, the last of them says so. */
export async function* responseEvents(
  stream: GenerationReader,
  head: AnswerHead,
  shape: ResponseShape,
): AsyncGenerator<ResponseEvent, void> {
  const writer = new ResponseWriter(head, shape);
  yield* writer.begin();
  try {
    for await (const event of stream) {
      yield* event.type === "delta" ? writer.push(event.delta) : writer.finish(event.reason, event.usage);
    }
  } catch (error) {
    const known = apiError(error);
    if (known === null) throw error;
    yield* writer.fail(known.shape);
  }
}

/** The body of an answer that is not streamed. @throws ApiError */
export async function responseBody(
  stream: GenerationReader,
  head: AnswerHead,
  shape: ResponseShape,
): Promise<ResponseBody> {
  const writer = new ResponseWriter(head, shape);
  for await (const event of stream) {
    if (event.type === "delta") writer.push(event.delta);
    else writer.finish(event.reason, event.usage);
  }
  return writer.body;
}
