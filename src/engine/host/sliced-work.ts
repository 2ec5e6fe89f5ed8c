/**
 * Planning of requests between the steps of the engine, which computes on the same thread: a few milliseconds in every
 * turn of the event loop, shared by all requests that are being planned, so that a long one does not delay others: neither
 * streams nor shorter requests.
 */
import type { Slices } from "../../tokenizer/slices.ts";
import { yieldToEventLoop } from "../yield-to-event-loop.ts";

/** Milliseconds of a turn. */
const TURN_MS = 4;

interface Task {
  readonly id: number;
  readonly work: Slices<void>;
  readonly failed: (error: unknown) => void;
}

export class SlicedWork {
  #tasks: Task[] = [];
  #driven = false;

  /** Tasks that have begun and not ended. */
  get size(): number {
    return this.#tasks.length;
  }

  /** Begins `work` at once and goes on with it in later turns; what it throws goes to `failed`. */
  add(id: number, work: Slices<void>, failed: (error: unknown) => void): void {
    const task = { id, work, failed };
    if (this.#advance(task)) return;
    this.#tasks.push(task);
    if (!this.#driven) void this.#drive();
  }

  /** Gives a task up; whether there was one. */
  cancel(id: number): boolean {
    const task = this.#tasks.find((other) => other.id === id);
    if (task === undefined) return false;
    this.#tasks = this.#tasks.filter((other) => other !== task);
    task.work.return();
    return true;
  }

  /** Gives all up. */
  clear(): void {
    for (const { work } of this.#tasks.splice(0)) work.return();
  }

  /** Does a piece of a task; true if it has ended. */
  #advance({ work, failed }: Task): boolean {
    try {
      return work.next().done === true;
    } catch (error) {
      failed(error);
      return true;
    }
  }

  async #drive(): Promise<void> {
    this.#driven = true;
    while (this.#tasks.length > 0) {
      await yieldToEventLoop();
      const until = performance.now() + TURN_MS;
      do {
        const task = this.#tasks.shift();
        if (task === undefined) break;
        if (!this.#advance(task)) this.#tasks.push(task);
      } while (performance.now() < until);
    }
    this.#driven = false;
  }
}
