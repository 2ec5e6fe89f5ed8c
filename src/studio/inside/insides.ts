/**
 * The insides of this page's answers, by their jobs. Each is read from the events of its job, apart from the chat's own reading and at any
 * time: while the answer comes, or later, as long as the server keeps them. All together take at most 96 MiB: those that were looked at longest ago go.
 */
import { BackendError, messageOf } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import type { Studio } from "../state/studio.ts";
import { InsideRecord } from "./record.ts";

const MOST_KEPT = 96 * 2 ** 20;
/** Milliseconds until a job that is being asked for is looked for again. */
const AGAIN = 250;

export class Insides {
  readonly #backend: Studio["backend"];
  /** Those looked at last come last. */
  readonly #records = new Map<string, InsideRecord>();

  constructor(backend: Studio["backend"]) {
    this.#backend = backend;
  }

  record(job: string): InsideRecord {
    const record = this.#records.get(job) ?? new InsideRecord();
    this.#records.delete(job);
    this.#records.set(job, record);
    return record;
  }

  /**
   * Reads on where reading had stopped, until the job has ended or `signal` says so.
   * @param asked whether the job is still being asked for, so that the server may not know it yet
   */
  async read(job: string, signal: AbortSignal, asked: () => boolean): Promise<void> {
    const record = this.record(job);
    if (record.state === "whole" || record.state === "gone") return;
    record.state = "reading";
    record.fault = null;
    let frame = 0;
    const show = () => {
      frame = 0;
      record.version.value++;
    };
    try {
      for (;;) {
        try {
          for await (const event of followJob(this.#backend, job, record.after, { signal })) {
            record.read(event);
            frame ||= requestAnimationFrame(show);
            this.#shed(record);
          }
          return;
        } catch (error) {
          const unknown = error instanceof BackendError && error.status === 404;
          if (!unknown) throw error;
          if (!asked() || signal.aborted) {
            record.state = "gone";
            return;
          }
          await new Promise((resolve) => setTimeout(resolve, AGAIN));
        }
      }
    } catch (error) {
      record.fault = messageOf(error);
    } finally {
      cancelAnimationFrame(frame);
      if (record.state === "reading") record.state = "paused";
      show();
    }
  }

  #shed(kept: InsideRecord): void {
    let bytes = 0;
    for (const record of this.#records.values()) bytes += record.bytes;
    for (const [job, record] of this.#records) {
      if (bytes <= MOST_KEPT) return;
      if (record === kept) continue;
      bytes -= record.bytes;
      this.#records.delete(job);
    }
  }
}

const all = new WeakMap<Studio, Insides>();

export function insidesOf(studio: Studio): Insides {
  let insides = all.get(studio);
  if (!insides) all.set(studio, (insides = new Insides(studio.backend)));
  return insides;
}
