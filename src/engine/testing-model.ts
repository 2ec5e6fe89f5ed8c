/**
 * A model without weights, for tests of scheduling and caching on the reference device. Its state after a token is a
 * hash of all tokens up to it, continued from what the cache holds: a wrong cache gives other tokens.
 */
import type { ForwardOptions, LayeredOptions, TokenModel } from "../models/token-model.ts";
import { Cache } from "../nn/cache.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { doubles } from "../tensor/testing.ts";

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

  constructor(device: Device) {
    this.device = device;
  }

  ids([row]: readonly ArrayLike<number>[]): Tensor {
    return this.device.tensor(row, [1, row.length], "i32");
  }

  /** An id is its own embedding, `[.., 1]`. */
  embed(ids: Tensor): Tensor {
    return this.device.tensor(doubles(ids), [...ids.shape, 1]);
  }

  createCache(capacity?: number): Cache {
    return new Cache(this.device, [[1]], { capacity });
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
      const held = doubles(cache.layers[0].streams[0]);
      for (let i = length; i < length + tokens; i++) {
        held[i] = this.#after(i === 0 ? 0 : held[i - 1], embeddings[states.length]);
        states.push(held[i]);
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
      const held = doubles(cache.layers[0].streams[0]);
      for (let i = length; i < length + tokens; i++) {
        const row = guesses.length;
        const right = this.#after(states[row], embeddings[row]);
        held[i] = i === 0 || held[i - 1] === states[row] ? right : -1;
        guesses.push(held[i] < 0 || right % 3 === 0 ? right + 1 : right);
      }
      cache.advance(tokens);
    }
    return { normed: this.device.tensor(guesses, hidden.shape) };
  }
}
