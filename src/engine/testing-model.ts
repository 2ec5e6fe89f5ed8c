/**
 * A model without weights, for tests of scheduling and caching on the reference device. Its state after a token is a
 * hash of all tokens up to it, continued from what the cache holds: a wrong cache gives other tokens.
 */
import type { ForwardOptions, LayeredOptions, TokenModel } from "../models/token-model.ts";
import { Cache } from "../nn/cache.ts";
import { PagePool } from "../nn/page-pool.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { doubles } from "../tensor/testing.ts";

function placeOf(cache: Cache, position: number) {
  const [{ span, row }] = cache.rowsAt(position, 1);
  return { held: doubles(span.slab.streams[0][0]), row };
}

function heldAt(cache: Cache, position: number): number {
  const { held, row } = placeOf(cache, position);
  return held[row];
}

function holdAt(cache: Cache, position: number, value: number): void {
  const { held, row } = placeOf(cache, position);
  held[row] = value;
}

export class FakeModel implements TokenModel {
  readonly device: Device;
  readonly config = {
    vocabSize: 61,
    hiddenSize: 1,
    maxPositions: 4096,
    eosTokenIds: [1],
    mtpLayers: 1,
    moe: null,
  };
  /** Stands for the weights: another one gives other states. */
  weight = 7;
  readonly #pool: PagePool;

  constructor(device: Device) {
    this.device = device;
    this.#pool = new PagePool(device, [[1]]);
  }

  ids([row]: readonly ArrayLike<number>[]): Tensor {
    return this.device.tensor(row, [1, row.length], "i32");
  }

  /** An id is its own embedding, `[.., 1]`. */
  embed(ids: Tensor): Tensor {
    return this.device.tensor(doubles(ids), [...ids.shape, 1]);
  }

  createCache(capacity?: number): Cache {
    return new Cache(this.#pool, capacity);
  }

  createMtpCache(capacity?: number): Cache {
    return this.createCache(capacity);
  }

  #after(state: number, embedding: number): number {
    return (state * 31 + embedding * 17 + this.weight) % 65_521;
  }

  hidden(input: Tensor, { segments }: ForwardOptions = {}): Tensor {
    const embeddings = doubles(input);
    const states: number[] = [];
    for (const { cache, tokens } of segments!) {
      const { length } = cache;
      cache.reserve(length + tokens);
      let state = length === 0 ? 0 : heldAt(cache, length - 1);
      for (let i = length; i < length + tokens; i++) {
        state = this.#after(state, embeddings[states.length]);
        holdAt(cache, i, state);
        states.push(state);
      }
      cache.advance(tokens);
    }
    return this.device.tensor(states, [1, states.length, 1]);
  }

  async hiddenByLayer(input: Tensor, options: LayeredOptions, between: () => Promise<void> | null) {
    await between();
    return this.device.inference(() => this.hidden(input, options));
  }

  logits(hidden: Tensor): Tensor {
    const { vocabSize } = this.config;
    const score = (state: number, id: number) => ((state + 101 * id) ** 2 % 997) / 200;
    const rows = Array.from(doubles(hidden), (state) =>
      Array.from({ length: vocabSize }, (_, id) => score(state, id)),
    );
    return this.device.tensor(rows.flat(), [...hidden.shape.slice(0, -1), vocabSize]);
  }

  rows(hidden: Tensor, places: readonly number[]): Tensor {
    const states = doubles(hidden);
    return this.device.tensor(
      places.map((place) => states[place]),
      [places.length, 1],
    );
  }

  /**
   * Predicts the main model's next state, every third time wrongly; always wrongly after a row of the cache that did not
   * predict the state that came.
   */
  mtp(hidden: Tensor, next: Tensor, { segments }: ForwardOptions = {}): { normed: Tensor } {
    const [states, embeddings] = [doubles(hidden), doubles(next)];
    const guesses: number[] = [];
    for (const { cache, tokens } of segments!) {
      const { length } = cache;
      cache.reserve(length + tokens);
      for (let i = length; i < length + tokens; i++) {
        const row = guesses.length;
        const right = this.#after(states[row], embeddings[row]);
        const known = i === 0 || heldAt(cache, i - 1) === states[row];
        holdAt(cache, i, known ? right : -1);
        guesses.push(!known || right % 3 === 0 ? right + 1 : right);
      }
      cache.advance(tokens);
    }
    return { normed: this.device.tensor(guesses, hidden.shape) };
  }
}
