/** An answer as a job's events tell it: what has come so far. Events may be read again from any number. */
import type { JobEvent, JobProgress } from "../backend/wire.ts";
import type { Ending, Figures, Phrase, ToolCall, Turn } from "./conversation.ts";

interface CallPart {
  readonly index: number;
  readonly id?: string;
  readonly function?: { readonly name?: string; readonly arguments?: string };
}

interface Chunk {
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: {
      readonly content?: string | null;
      readonly reasoning_content?: string | null;
      readonly tool_calls?: readonly CallPart[];
      readonly grounding?: readonly Phrase[];
    };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly error?: { readonly message?: string };
}

/** Grows by events; `turn` gives what is kept of it. */
export class Answer {
  content: string;
  reasoning: string;
  phrases: readonly Phrase[];
  calls: readonly ToolCall[];
  ended: Ending = null;
  error: string | null = null;
  after: number;
  progress: JobProgress | null = null;
  /** Tokens that came, as far as chunks tell. */
  count: number;
  #promptTokens: number;
  #firstAt: number | null = null;
  #lastAt = 0;
  #thoughtFrom: number | null = null;
  #thought: number | null;
  #before: number;
  #firstToken: number | null;
  readonly #asked: number;

  /** @param turn with what earlier reading left; `asked`: when the answer was asked for, in milliseconds since 1970 */
  constructor(turn: Turn, asked: number) {
    this.content = turn.content;
    this.reasoning = turn.reasoning;
    this.phrases = turn.phrases;
    this.calls = turn.calls;
    this.after = turn.job?.after ?? 0;
    const { figures } = turn;
    this.count = figures?.tokens ?? 0;
    this.#promptTokens = figures?.promptTokens ?? 0;
    this.#thought = figures?.thought ?? null;
    this.#before = figures?.writing ?? 0;
    this.#firstToken = figures?.firstToken ?? null;
    this.#asked = asked;
  }

  read({ number, time, event }: JobEvent): void {
    this.after = number;
    if (event.type === "progress") this.progress = event.progress;
    else if (event.type === "chunk") this.#chunk(event.chunk as Chunk, time);
    else if (event.type === "end") {
      const { state, error } = event.job;
      if (state === "failed") this.#fail(error?.message ?? "The answer failed.");
      else if (state === "canceled") this.ended = "stopped";
      else if (state === "interrupted") this.ended = "interrupted";
      else this.ended ??= "whole";
    }
  }

  #fail(message: string): void {
    this.ended = "failed";
    this.error = message;
  }

  #token(time: number): void {
    this.progress = null;
    this.count++;
    this.#firstAt ??= time;
    this.#firstToken ??= Math.max(0, time - this.#asked);
    this.#lastAt = time;
  }

  #chunk({ choices, usage, error }: Chunk, time: number): void {
    if (error) this.#fail(error.message ?? "The answer failed.");
    if (usage) {
      this.#promptTokens = usage.prompt_tokens;
      this.count = usage.completion_tokens;
    }
    const choice = choices?.[0];
    if (!choice) return;
    const { delta, text, finish_reason: reason } = choice;
    if (delta?.reasoning_content) {
      this.#thoughtFrom ??= time;
      this.#thought = time - this.#thoughtFrom;
      this.reasoning += delta.reasoning_content;
      this.#token(time);
    }
    const said = delta?.content ?? text;
    if (said) {
      if (this.#thoughtFrom !== null && this.content === "") this.#thought = time - this.#thoughtFrom;
      this.content += said;
      this.#token(time);
    }
    if (delta?.grounding) this.phrases = [...this.phrases, ...delta.grounding];
    for (const part of delta?.tool_calls ?? []) this.#call(part, time);
    if (reason === "length") this.ended = "length";
  }

  #call(part: CallPart, time: number): void {
    const calls = [...this.calls];
    const known = calls[part.index] ?? { id: part.id ?? `call_${part.index}`, name: "", arguments: "" };
    calls[part.index] = {
      ...known,
      name: known.name + (part.function?.name ?? ""),
      arguments: known.arguments + (part.function?.arguments ?? ""),
    };
    this.calls = calls.filter(Boolean);
    this.#token(time);
  }

  get figures(): Figures {
    const writing = this.#before + (this.#firstAt === null ? 0 : this.#lastAt - this.#firstAt);
    return {
      promptTokens: this.#promptTokens,
      tokens: this.count,
      firstToken: this.#firstToken,
      writing,
      thought: this.#thought,
    };
  }

  /** The turn with what is known now. */
  turn(turn: Turn): Turn {
    const { content, reasoning, phrases, calls, figures, ended, error } = this;
    const job = turn.job === null ? null : { ...turn.job, after: this.after };
    return { ...turn, content, reasoning, phrases, calls, figures, ended, error, job };
  }
}

/** Tokens a second of what was written; null for fewer than two. */
export function speedOf({ tokens, writing }: Figures): number | null {
  return tokens < 2 || writing <= 0 ? null : (1000 * (tokens - 1)) / writing;
}
