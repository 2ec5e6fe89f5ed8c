/**
 * Guests of an engine, and what they ask of it: room in its batch and in its caches, the next pass, a turn between pieces of other
 * work. All of it is waited for, and ends at once where a signal says so or the engine ends.
 */
import type { CacheDtype } from "../nn/cache.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Guest, GuestPlace, LongPlace, Room } from "./guests.ts";
import { LONG_PASS_ROWS, type LongPasses } from "./long-passes.ts";

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

interface RoomRequest extends Waiting<Disposable> {
  readonly room: Room;
  readonly submitted: number;
}

interface PassRequest extends Waiting<void> {
  readonly guest: Guest;
}

export class GuestDesk {
  /** Oldest first. */
  readonly #queue: RoomRequest[] = [];
  readonly #taken = new Set<Room>();
  readonly #passes: PassRequest[] = [];
  /** In the pass that runs. */
  #aboard: PassRequest[] = [];
  readonly #turns: Waiting<void>[] = [];
  readonly #wake: () => void;
  /** How often the weights changed, and how often they had when a guest began. */
  #changes = 0;
  readonly #began = new WeakMap<Guest, number>();

  /** @param wake called when there is something to do */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** Rows and tokens of those who have room. */
  get rows(): number {
    return [...this.#taken].reduce((sum, { rows }) => sum + rows, 0);
  }

  get tokens(): number {
    return [...this.#taken].reduce((sum, { tokens }) => sum + tokens, 0);
  }

  /** Those who have room. */
  get present(): number {
    return this.#taken.size;
  }

  /** Those who wait for it. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Whether someone is ready for a pass or a turn. */
  get ready(): boolean {
    return this.#passes.length > 0 || this.#turns.length > 0;
  }

  /** What the oldest who waits needs, and since when; null: nobody waits. */
  get next(): (Room & { readonly submitted: number }) | null {
    const [first] = this.#queue;
    return first ? { ...first.room, submitted: first.submitted } : null;
  }

  /** Waits in `list` for what `make` describes; once the signal fires it is out of the list. */
  #wait<T, W extends Waiting<T>>(
    list: () => W[],
    make: (waiting: Waiting<T>) => W,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      const stop = () => {
        const at = list().indexOf(entry);
        if (at >= 0) list().splice(at, 1);
        reject(signal!.reason);
      };
      const end = () => signal?.removeEventListener("abort", stop);
      const entry = make({
        resolve: (value) => {
          end();
          resolve(value);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      });
      list().push(entry);
      signal?.addEventListener("abort", stop, { once: true });
      this.#wake();
    });
  }

  /** Waits for room; disposing of the result gives it back. @throws the signal's reason */
  enter(room: Room, signal?: AbortSignal): Promise<Disposable> {
    const submitted = performance.now();
    return this.#wait(
      () => this.#queue,
      (waiting) => ({ ...waiting, room, submitted }),
      signal,
    );
  }

  /** Waits until a pass has moved the guest on. @throws the signal's reason */
  pass(guest: Guest, signal?: AbortSignal): Promise<void> {
    return this.#wait<void, PassRequest>(
      () => this.#passes,
      (waiting) => ({ ...waiting, guest }),
      signal,
    );
  }

  /** Waits until others had their turn. @throws the signal's reason */
  turn(signal?: AbortSignal): Promise<void> {
    return this.#wait<void, Waiting<void>>(
      () => this.#turns,
      (waiting) => waiting,
      signal,
    );
  }

  /** Gives room to the oldest who waits. */
  admit(): void {
    const { room, resolve } = this.#queue.shift()!;
    this.#taken.add(room);
    resolve({
      [Symbol.dispose]: () => {
        this.#taken.delete(room);
        this.#wake();
      },
    });
  }

  /** Takes those who are ready for a pass; `release` tells them that it is over. */
  board(): readonly Guest[] {
    this.#aboard = this.#passes.splice(0);
    return this.#aboard.map(({ guest }) => {
      const began = this.#began.get(guest);
      if (began !== undefined && began !== this.#changes) guest.restart();
      this.#began.set(guest, this.#changes);
      return guest;
    });
  }

  /** Lets every guest begin anew with its next pass. */
  restartAll(): void {
    this.#changes++;
  }

  release(): void {
    for (const { resolve } of this.#aboard.splice(0)) resolve();
  }

  /** Gives their turn to those who wait for one. */
  giveTurns(): void {
    for (const { resolve } of this.#turns.splice(0)) resolve();
  }

  /** Ends everything that is waited for. */
  fail(error: unknown): void {
    const all = [
      ...this.#queue.splice(0),
      ...this.#passes.splice(0),
      ...this.#aboard.splice(0),
      ...this.#turns.splice(0),
    ];
    for (const { reject } of all) reject(error);
  }
}

/** What of an engine there is for guests. */
export interface DeskLimits extends Room {
  readonly cacheDtype: CacheDtype;
}

/** How many parts one guest may bring where half of everything stays for others. @throws ConfigError if none fits */
function mostOf({ rows, tokens }: Room, limits: Room): number {
  if (tokens > limits.tokens) {
    throw new ConfigError("a guest exceeds the engine's cache", {
      where: "Engine.place",
      expected: `at most cacheTokens = ${limits.tokens} tokens`,
      found: `${tokens} in ${rows} row${rows === 1 ? "" : "s"}`,
      hint: "Shorten the prompt, or raise the engine's cacheTokens.",
    });
  }
  return Math.max(1, Math.floor(Math.min(limits.rows / rows, limits.tokens / tokens) / 2));
}

/** A place in long passes beside the desk, with tokens of the engine's caches. */
function longPlace(
  passes: LongPasses,
  desk: GuestDesk,
  limits: DeskLimits,
  check: () => void,
  signal?: AbortSignal,
): LongPlace {
  return {
    most: (part) => mostOf(part, { rows: LONG_PASS_ROWS, tokens: limits.tokens }),
    async enter({ rows, tokens }) {
      check();
      const seat = await passes.enter(rows, signal);
      try {
        check();
        // Rows of the engine's own passes it takes none.
        const room = await desk.enter({ rows: 0, tokens }, signal);
        return {
          ...seat,
          [Symbol.dispose]() {
            room[Symbol.dispose]();
            seat[Symbol.dispose]();
          },
        };
      } catch (error) {
        seat[Symbol.dispose]();
        throw error;
      }
    },
  };
}

/** A place at the desk. @param check throws where the engine is beyond use */
export function deskPlace(
  desk: GuestDesk,
  long: LongPasses,
  limits: DeskLimits,
  check: () => void,
  signal?: AbortSignal,
): GuestPlace {
  return {
    cacheDtype: limits.cacheDtype,
    most: (part) => mostOf(part, limits),
    long: longPlace(long, desk, limits, check, signal),
    async enter(room) {
      check();
      return await desk.enter(room, signal);
    },
    async pass(guest) {
      check();
      await desk.pass(guest, signal);
    },
    async turn() {
      check();
      await desk.turn(signal);
    },
  };
}
