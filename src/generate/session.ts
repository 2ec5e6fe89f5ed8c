/**
 * One growing sequence on a model: the caches of the main model and, for drafting, of its first multi-token
 * prediction module. Every call runs outside the caller's scopes and tape, so that other work on the device may go
 * on between the calls; what a call returns is the caller's to dispose.
 */
import type { CausalLM } from "../models/causal-lm.ts";
import type { Cache } from "../nn/cache.ts";
import { type MlaForm, scoped } from "../nn/context.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface SessionOptions {
  /** A cache that holds the start of the sequence, which stays the caller's; default: a new one. */
  readonly cache?: Cache;
  /** Whether the multi-token-prediction module is used. */
  readonly drafts?: boolean;
  readonly mlaForm?: MlaForm;
  /** Tokens to make room for at the start. */
  readonly capacity?: number;
}

export class Session implements Disposable {
  readonly model: CausalLM;
  readonly #cache: Cache;
  readonly #owned: boolean;
  readonly #draftCache: Cache | null;
  readonly #mlaForm: MlaForm;

  constructor(model: CausalLM, options: SessionOptions = {}) {
    const { cache, drafts = false, mlaForm = "auto", capacity = 64 } = options;
    this.model = model;
    this.#mlaForm = mlaForm;
    this.#owned = cache === undefined;
    this.#cache = cache ?? model.createCache(1, capacity);
    this.#draftCache = drafts ? model.createMtpCache(1, capacity) : null;
  }

  /** Tokens that the main model has seen. */
  get length(): number {
    return this.#cache.length;
  }

  #run(body: () => Tensor): Tensor {
    const { device } = this.model;
    return device.unscoped(() => device.untracked(() => scoped(device, body)));
  }

  /** Continues the sequence by `ids`: their states after the final norm, `[1, T, d]`. @throws ShapeError */
  forward(ids: ArrayLike<number>): Tensor {
    const { model } = this;
    const options = { cache: this.#cache, mlaForm: this.#mlaForm };
    return this.#run(() => model.hidden(model.ids([ids]), options));
  }

  /** Forgets the main model's tokens from position `length` on. */
  truncate(length: number): void {
    this.#cache.truncate(length);
  }

  /**
   * Continues the drafting module by `states: [1, T, d]` (from `forward`) with the token after each of them: its own
   * states, whose logits say which token comes after those, `[1, T, d]`.
   */
  draft(states: Tensor, nextIds: ArrayLike<number>): Tensor {
    const { model } = this;
    const options = { cache: this.#draftCache, mlaForm: this.#mlaForm };
    return this.#run(() => model.mtp(states, model.ids([nextIds]), options).normed);
  }

  /** Logits of the last `rows` states, one array per row; frees `states` where `release` is set. */
  async logits(states: Tensor, rows: number, release = false): Promise<Float32Array[]> {
    const [, tokens, d] = states.shape;
    let output: Tensor;
    try {
      output = this.#run(() => this.model.logits(states.view([tokens, d]).slice(tokens - rows, tokens)));
    } finally {
      if (release) states.dispose();
    }
    try {
      const flat = (await output.data()) as Float32Array;
      const width = flat.length / rows;
      return Array.from({ length: rows }, (_, i) => flat.subarray(i * width, (i + 1) * width));
    } finally {
      output.dispose();
    }
  }

  [Symbol.dispose](): void {
    if (this.#owned) this.#cache[Symbol.dispose]();
    this.#draftCache?.[Symbol.dispose]();
  }
}

/**
 * Lets timers, input and network have their turn. The CPU backend computes on the caller's thread and its reads
 * resolve at once, so that nothing else would run, not even an abort, until the end.
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") {
      setImmediate(resolve);
      return;
    }
    // Unlike nested timeouts, messages are not slowed down by browsers.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
