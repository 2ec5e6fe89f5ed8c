/**
 * What Lean says of the text while it is written: a check after each pause in typing, the one before it stopped. Every answer carries
 * the number of the text that it is about; one that comes after a newer answer is dropped.
 */
import { signal } from "@preact/signals";
import { type Backend, isFault, messageOf } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import { newId } from "../state/studio.ts";
import type { Step } from "./goal-diff.ts";

export interface LeanPlace {
  readonly line: number;
  readonly column: number;
  readonly index: number;
}

export interface LeanMessage {
  readonly severity: "error" | "warning" | "information";
  readonly start: LeanPlace;
  readonly end: LeanPlace;
  readonly text: string;
}

/** The result of `check`. */
export interface CheckAnswer {
  readonly complete: boolean;
  readonly messages: readonly LeanMessage[];
  readonly sorries: readonly { readonly start: LeanPlace; readonly end: LeanPlace }[];
  readonly refused: { readonly reason: string; readonly at: LeanPlace } | null;
  readonly failure: "timeout" | "memory" | "crash" | null;
  readonly steps: readonly Step[];
}

export interface Verdict {
  readonly revision: number;
  readonly text: string;
  readonly answer: CheckAnswer;
}

const FAILURES = {
  timeout: "Lean did not come to an end in its time.",
  memory: "Lean ran out of memory.",
  crash: "Lean ended while it read the text.",
} as const;

/** All that a check complains about, in the order of the text. */
export function messagesOf({ messages, refused, failure }: CheckAnswer): readonly LeanMessage[] {
  const start = { line: 1, column: 0, index: 0 };
  const error = (text: string, at: LeanPlace): LeanMessage => ({
    severity: "error",
    start: at,
    end: at,
    text,
  });
  return [
    ...(refused === null ? [] : [error(refused.reason, refused.at)]),
    ...(failure === null ? [] : [error(FAILURES[failure], start)]),
    ...messages,
  ].sort((a, b) => a.start.index - b.start.index);
}

export interface ChecksOptions {
  /** Milliseconds without a change after which a text is checked. */
  readonly pause?: number;
}

export class Checks {
  readonly #backend: Pick<Backend, "start" | "events" | "stop">;
  readonly #pause: number;
  /** Number of the text as it stands. */
  readonly revision = signal(0);
  readonly verdict = signal<Verdict | null>(null);
  /** What is being done, in words; null for nothing. */
  readonly busy = signal<string | null>(null);
  readonly fault = signal<string | null>(null);
  #text = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: { readonly id: string; readonly stop: AbortController } | null = null;

  constructor(backend: Pick<Backend, "start" | "events" | "stop">, { pause = 400 }: ChecksOptions = {}) {
    this.#backend = backend;
    this.#pause = pause;
  }

  /** Takes the text as it stands now; `at once` for one that nobody is typing. */
  change(text: string, atOnce = false): void {
    if (text === this.#text && this.revision.peek() > 0) return;
    this.#text = text;
    this.revision.value++;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.again(), atOnce ? 0 : this.#pause);
  }

  /** Checks the text as it stands, also if that was asked before. */
  async again(): Promise<void> {
    clearTimeout(this.#timer);
    const before = this.#running;
    const [revision, text, id] = [this.revision.peek(), this.#text, newId()];
    const own = { id, stop: new AbortController() };
    this.#running = own;
    if (before !== null) {
      before.stop.abort();
      this.#backend.stop(before.id).catch(() => {});
    }
    this.fault.value = null;
    if (text.trim() === "") {
      this.verdict.value = null;
      this.#end(own);
      return;
    }
    this.busy.value = "Lean reads the text";
    try {
      await this.#backend.start({ kind: "check", body: { source: text }, id });
      for await (const { event } of followJob(this.#backend, id, 0, { signal: own.stop.signal })) {
        if (this.#running === own && event.type === "progress" && event.progress.text !== "checks")
          this.busy.value = event.progress.text;
        if (event.type !== "end") continue;
        const { state, result, error } = event.job;
        if (state === "done" && result !== null)
          this.#take({ revision, text, answer: result as unknown as CheckAnswer });
        else if (this.#running === own && error !== null) this.fault.value = error.message;
      }
    } catch (error) {
      // A job that the server has forgotten: it was started again, and the text is asked about again when it is back.
      if (this.#running === own && !isFault(error, "lost")) this.fault.value = messageOf(error);
    }
    this.#end(own);
  }

  #take(verdict: Verdict): void {
    if (verdict.revision > (this.verdict.peek()?.revision ?? -1)) this.verdict.value = verdict;
  }

  #end(own: { readonly id: string }): void {
    if (this.#running !== own) return;
    this.#running = null;
    this.busy.value = null;
  }

  /** Whether an answer is on its way, or is there for the text as it stands. */
  get settled(): boolean {
    return this.#running !== null || this.verdict.peek()?.revision === this.revision.peek();
  }
}
