/**
 * A generation as a job (`src/jobs`): it runs whether or not it is read, and its events can be read again from any
 * number, by several readers, and it ends early only if it is canceled. One event tells what a step of the engine
 * gave all choices of the request, so that the queue's work per token is small.
 */
import type { Job } from "../../jobs/job.ts";
import { type RequestError, requestFailed } from "./errors.ts";
import type { InsideFigures } from "./inside.ts";
import type { ChoiceUsage, Delta, FinishReason } from "./protocol.ts";

/** How a choice ended. */
export interface ChoiceEnd {
  readonly choice: number;
  readonly reason: FinishReason;
  readonly usage: ChoiceUsage;
  /** What it took, where the inside was asked for. */
  readonly figures?: InsideFigures;
}

/** An event of the job. */
export type GenerationEvent =
  /** The engine has the request in its queue; always the first event. */
  | { readonly type: "accepted" }
  | { readonly type: "deltas"; readonly deltas: readonly Delta[] }
  | ({ readonly type: "finished" } & ChoiceEnd);

/** What a reader is told. */
export type GenerationNews =
  | { readonly type: "delta"; readonly delta: Delta }
  | ({ readonly type: "finished" } & ChoiceEnd);

/** The news of a generation from their beginning, each time that they are iterated. */
export interface GenerationReader extends AsyncIterable<GenerationNews> {
  /** Choices of all prompts together. */
  readonly choices: number;
}

export class GenerationJob implements GenerationReader {
  /** The job itself: its state, its numbered events. */
  readonly job: Job<GenerationEvent, readonly ChoiceEnd[]>;
  readonly choices: number;

  constructor(job: Job<GenerationEvent, readonly ChoiceEnd[]>, choices: number) {
    this.job = job;
    this.choices = choices;
  }

  get id(): string {
    return this.job.id;
  }

  /** Resolves once the engine has the request in its queue. @throws RequestError if it is refused, JobCanceledError */
  async accepted(): Promise<void> {
    for await (const _ of this.job.events()) return;
    await this.job.result();
  }

  /**
   * The news behind event number `after`, then new ones as they come, up to the end of the last choice. Leaving the
   * iteration, or aborting `signal`, ends the reading and not the generation.
   * @throws RequestError if the generation fails, or this reader is so slow that events were dropped;
   * JobCanceledError if it is canceled
   */
  async *news(after = 0, signal?: AbortSignal): AsyncGenerator<GenerationNews, void> {
    let last = after;
    for await (const { number, event } of this.job.events(after, signal)) {
      if (number !== last + 1) throw tooSlow(last + 1, number - 1);
      last = number;
      if (event.type === "deltas") for (const delta of event.deltas) yield { type: "delta", delta };
      else if (event.type === "finished") yield event;
    }
    if (!signal?.aborted) await this.job.result();
  }

  [Symbol.asyncIterator](): AsyncGenerator<GenerationNews, void> {
    return this.news();
  }

  /** Takes the request out of the engine and frees its place; resolves once that is done. */
  cancel(reason?: string): Promise<void> {
    return this.job.cancel(reason);
  }
}

function tooSlow(first: number, last: number): RequestError {
  return requestFailed(
    `The answer was read too slowly: events ${first} to ${last} were dropped.`,
    "events_dropped",
  );
}
