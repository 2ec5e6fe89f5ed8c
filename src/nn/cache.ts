/**
 * Memory of the past tokens of one sequence for incremental decoding: per layer one or two streams
 * `[capacity, width]`, the latent with its rotated key for MLA (one stream), keys and values otherwise. A pass over
 * several sequences takes one cache of each.
 */
import { bytesPerElement } from "../tensor/dtype.ts";
import { ConfigError, ShapeError } from "../tensor/errors.ts";
import { copyRows, fill } from "../tensor/ops/memory.ts";
import { storeRows } from "../tensor/ops/store-rows.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";

/** How the streams are stored; attention computes in f32 whatever it is. */
export type CacheDtype = "f32" | "bf16" | "f16";

/** The streams of one layer. */
export class LayerCache implements Disposable {
  readonly widths: readonly number[];
  /** `[capacity, widths[i]]` each. */
  readonly streams: Tensor[];
  readonly #dtype: CacheDtype;
  readonly #device: Device;

  constructor(device: Device, capacity: number, widths: readonly number[], dtype: CacheDtype) {
    this.#device = device;
    this.#dtype = dtype;
    this.widths = widths;
    this.streams = widths.map((width) => this.#allocate(capacity, width));
  }

  #allocate(capacity: number, width: number): Tensor {
    const device = this.#device;
    // Zeros: what lies beyond the length must not turn a masked product into NaN.
    return device.unscoped(() => fill(device.empty([capacity, width], this.#dtype), 0));
  }

  /**
   * Copies `length` positions of a stream from position `from` on, of its channels `channel` to `channel + n`:
   * `[1, length, n]` f32.
   */
  read(stream: number, length: number, channel: number, n: number, from = 0): Tensor {
    const source = this.streams[stream];
    const width = source.shape[1];
    const y = source.device.empty([1, length, n]);
    copyRows(source, y, length, n, width, n, from * width + channel);
    return y;
  }

  /** Takes the first `length` positions of `other` into streams of `capacity`, in place of what was held. */
  take(other: LayerCache, capacity: number, length: number): void {
    this.streams.forEach((old, i) => {
      const n = length * this.widths[i];
      const next = capacity === old.shape[0] ? old : this.#allocate(capacity, this.widths[i]);
      copyRows(other.streams[i], next, n === 0 ? 0 : 1, n, n, n);
      if (next !== old) old.dispose();
      this.streams[i] = next;
    });
  }

  [Symbol.dispose](): void {
    for (const stream of this.streams) stream.dispose();
  }
}

/** New tokens of one sequence among the rows of a pass, and where they go. */
export interface CacheRows {
  readonly cache: Cache;
  /** First row and number of its tokens. */
  readonly row: number;
  readonly tokens: number;
  /** Position of the first. */
  readonly start: number;
}

/**
 * Writes the rows of `x: [1, N, ..]` into the channels from `channel` on of stream `stream` of a layer, each sequence's
 * into its cache. The caller has made room and advances the lengths once all layers have written. @throws ShapeError
 */
export function writeCaches(
  x: Tensor,
  layer: number,
  stream: number,
  sequences: readonly CacheRows[],
  channel = 0,
): void {
  const targets = sequences.map(({ cache, row, tokens, start }) => ({
    tensor: cache.layers[layer].streams[stream],
    ...{ from: row, rows: tokens, to: start },
  }));
  x.device.unscoped(() => {
    using rows = x.view(x.shape.slice(1));
    storeRows(rows, targets, channel);
  });
}

export interface CacheOptions {
  /** Tokens to make room for at the start; default 64. It grows by itself. */
  readonly capacity?: number;
  /** Default f32. */
  readonly dtype?: CacheDtype;
}

/** The caches of all layers of a model for one sequence, with the number of tokens they hold. */
export class Cache implements Disposable {
  readonly layers: readonly LayerCache[];
  readonly dtype: CacheDtype;
  #length = 0;
  #capacity: number;

  /** @param widths stream widths of each layer */
  constructor(device: Device, widths: readonly (readonly number[])[], options: CacheOptions = {}) {
    const { capacity = 64, dtype = "f32" } = options;
    this.#capacity = capacity;
    this.dtype = dtype;
    this.layers = widths.map((w) => new LayerCache(device, capacity, w, dtype));
  }

  /** Tokens held. */
  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#capacity;
  }

  get bytes(): number {
    let total = 0;
    for (const { streams } of this.layers)
      for (const s of streams) total += s.size * bytesPerElement[s.dtype];
    return total;
  }

  /** Makes room for `length` tokens in total, at least doubling the capacity if it grows. */
  reserve(length: number): void {
    if (length <= this.#capacity) return;
    const capacity = Math.max(length, 2 * this.#capacity);
    for (const layer of this.layers) layer.take(layer, capacity, this.#length);
    this.#capacity = capacity;
  }

  /** Holds the first `length` tokens of `other`, a cache of the same model, and nothing else. @throws ConfigError */
  copyFrom(other: Cache, length: number): void {
    const shape = (cache: Cache) => `${cache.dtype} ${cache.layers.map((l) => l.widths.join("+")).join(" ")}`;
    if (other === this || shape(other) !== shape(this) || !(length >= 0 && length <= other.length)) {
      throw new ConfigError("the source cache has another layout or too few tokens", {
        where: "Cache.copyFrom",
        expected: `${length} tokens of ${shape(this)}`,
        found: `${other.length} tokens of ${shape(other)}`,
      });
    }
    const capacity = Math.max(length, this.#capacity);
    this.layers.forEach((layer, i) => {
      layer.take(other.layers[i], capacity, length);
    });
    this.#capacity = capacity;
    this.#length = length;
  }

  /** Counts `tokens` as held, once every layer has written them. @throws ShapeError */
  advance(tokens: number): void {
    const length = this.#length + tokens;
    if (length > this.#capacity) {
      throw new ShapeError("tokens exceed the capacity of the cache", {
        where: "Cache.advance",
        expected: `at most ${this.#capacity}`,
        found: length,
      });
    }
    this.#length = length;
  }

  /** Forgets all tokens from position `length` on (rejected drafts). @throws ShapeError */
  truncate(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.#length) {
      throw new ShapeError("length out of range", {
        where: "Cache.truncate",
        expected: `0 to ${this.#length}`,
        found: length,
      });
    }
    this.#length = length;
  }

  [Symbol.dispose](): void {
    for (const layer of this.layers) layer[Symbol.dispose]();
  }
}
