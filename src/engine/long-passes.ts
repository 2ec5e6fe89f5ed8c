/**
 * Passes of many rows, as JanusFlow's are: hundreds of positions of each image, which would hold up every sequence of text that
 * waits for the same pass. They run beside the steps of an engine, which gets its turn before each layer, and those who need
 * one share it: a pass begins once everyone who is about to ask for it has asked.
 */
import type { TokenModel } from "../models/token-model.ts";
import { DeepseekError } from "../tensor/errors.ts";
import type { Guest, LongSeat } from "./guests.ts";
import { step } from "./step.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

/**
 * Rows that guests share in a long pass: those of one image of JanusFlow-1.3B under guidance. So many keep the processor busy, and
 * more would only make the first guest wait for the last.
 */
export const LONG_PASS_ROWS = 1154;

/** What was computed with other weights than there are now; it has to begin anew. */
export class WeightsChangedError extends DeepseekError {
  override name = "WeightsChangedError";

  constructor() {
    super("the weights changed between passes", { where: "LongPasses", hint: "Begin anew." });
  }
}

interface SeatRequest {
  readonly rows: number;
  readonly give: () => void;
}

interface PassRequest {
  readonly guest: Guest;
  readonly signal: AbortSignal | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class LongPasses {
  readonly #model: TokenModel;
  readonly #turn: () => Promise<void> | null;
  /** Oldest first. */
  readonly #entering: SeatRequest[] = [];
  readonly #asking: PassRequest[] = [];
  /** Rows of those who have seats. */
  #seated = 0;
  #coming = 0;
  #running = false;
  /** How often the weights changed. */
  #changes = 0;

  /** @param turn asked before each layer: a promise to wait for, or null; what it throws gives up the pass */
  constructor(model: TokenModel, turn: () => Promise<void> | null) {
    this.#model = model;
    this.#turn = turn;
  }

  /** Those who wait for a seat. */
  get waiting(): number {
    return this.#entering.length;
  }

  /** Waits for a seat with so many rows of each pass; if nobody else has one, with more than are shared. @throws the signal's reason */
  enter(rows: number, signal?: AbortSignal): Promise<LongSeat> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const stop = () => {
        this.#entering.splice(this.#entering.indexOf(request), 1);
        reject(signal!.reason);
        this.#admit();
      };
      const give = () => {
        signal?.removeEventListener("abort", stop);
        resolve(this.#seat(rows, signal));
      };
      const request = { rows, give };
      this.#entering.push(request);
      signal?.addEventListener("abort", stop, { once: true });
      this.#admit();
    });
  }

  /** Lets everyone who has begun begin anew. */
  restartAll(): void {
    this.#changes++;
  }

  #admit(): void {
    for (;;) {
      const [next] = this.#entering;
      if (next === undefined || (this.#seated > 0 && this.#seated + next.rows > LONG_PASS_ROWS)) return;
      this.#entering.shift();
      this.#seated += next.rows;
      next.give();
    }
  }

  #seat(rows: number, signal: AbortSignal | undefined): LongSeat {
    let began = this.#changes;
    return {
      begin: () => {
        began = this.#changes;
      },
      coming: () => {
        this.#coming++;
        return {
          [Symbol.dispose]: () => {
            this.#coming--;
            this.#start();
          },
        };
      },
      pass: (guest) => {
        if (began !== this.#changes) throw new WeightsChangedError();
        return this.#pass(guest, signal);
      },
      [Symbol.dispose]: () => {
        this.#seated -= rows;
        this.#admit();
      },
    };
  }

  #pass(guest: Guest, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const end = () => signal?.removeEventListener("abort", stop);
      const request: PassRequest = {
        ...{ guest, signal },
        resolve() {
          end();
          resolve();
        },
        reject(error) {
          end();
          reject(error);
        },
      };
      // In a pass that runs its caches are in use: there it waits until that is over.
      const stop = () => {
        const at = this.#asking.indexOf(request);
        if (at < 0) return;
        this.#asking.splice(at, 1);
        reject(signal!.reason);
        this.#start();
      };
      signal?.addEventListener("abort", stop, { once: true });
      this.#asking.push(request);
      this.#start();
    });
  }

  /** Whether all who are about to ask have asked. */
  get #complete(): boolean {
    return this.#asking.length > 0 && this.#asking.length >= this.#coming;
  }

  #start(): void {
    if (this.#running || !this.#complete) return;
    this.#running = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    // Those of the last pass decide at the same time what they do next.
    await yieldToEventLoop();
    if (this.#complete) await this.#share(this.#asking.splice(0));
    this.#running = false;
    this.#start();
  }

  async #share(aboard: readonly PassRequest[]): Promise<void> {
    const began = this.#changes;
    const check = () => {
      if (began !== this.#changes) throw new WeightsChangedError();
      // While one of them goes on, so do the others' rows.
      if (aboard.every(({ signal }) => signal?.aborted)) throw aboard[0].signal!.reason;
    };
    const between = () => {
      const wait = this.#turn();
      if (wait !== null) return wait.then(check);
      check();
      return null;
    };
    try {
      await step(this.#model, [], { guests: aboard.map(({ guest }) => guest), between });
      for (const { signal, resolve, reject } of aboard) {
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      }
    } catch (error) {
      for (const { signal, reject } of aboard) reject(signal?.aborted ? signal.reason : error);
    }
  }
}
