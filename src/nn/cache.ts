/**
 * Memory of past tokens for incremental decoding: per layer one or two streams `[batch, capacity, width]`, the
 * latent with its rotated key for MLA (one stream), keys and values otherwise. All rows of a batch have one length.
 */
import { bytesPerElement } from "../tensor/dtype.ts";
import { ShapeError } from "../tensor/errors.ts";
import { copyRows, fill } from "../tensor/ops/memory.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";

/** The streams of one layer. */
export class LayerCache implements Disposable {
  readonly widths: readonly number[];
  /** `[batch, capacity, widths[i]]` f32. */
  readonly streams: Tensor[];
  readonly #batch: number;
  readonly #device: Device;

  constructor(device: Device, batch: number, capacity: number, widths: readonly number[]) {
    this.#device = device;
    this.#batch = batch;
    this.widths = widths;
    this.streams = widths.map((width) => this.#allocate(capacity, width));
  }

  #allocate(capacity: number, width: number): Tensor {
    const device = this.#device;
    // Zeros: what lies beyond the length must not turn a masked product into NaN.
    return device.unscoped(() => fill(device.empty([this.#batch, capacity, width]), 0));
  }

  /**
   * Writes `x: [batch, T, width]` into channels from `channel` of stream `stream`, at position `start`. The caller
   * has made room and advances the length once all layers have written.
   */
  write(stream: number, x: Tensor, start: number, channel = 0): void {
    const target = this.streams[stream];
    const [batch, capacity, width] = target.shape;
    const tokens = x.shape[1];
    const n = x.size / (batch * tokens);
    if (x.shape[0] !== batch || start + tokens > capacity || channel + n > width) {
      throw new ShapeError("tokens that fit the cache", {
        where: "LayerCache.write",
        expected: [batch, capacity - start, width - channel],
        found: [x.shape[0], tokens, n],
      });
    }
    const at = (b: number) => (b * capacity + start) * width + channel;
    if (tokens === 1) {
      copyRows(x, target, batch, n, n, capacity * width, 0, at(0));
      return;
    }
    for (let b = 0; b < batch; b++) copyRows(x, target, tokens, n, n, width, b * tokens * n, at(b));
  }

  /** Copies the first `length` positions of a stream's channels `channel` to `channel + n`: `[batch, length, n]`. */
  read(stream: number, length: number, channel: number, n: number): Tensor {
    const source = this.streams[stream];
    const [batch, capacity, width] = source.shape;
    const y = source.device.empty([batch, length, n]);
    for (let b = 0; b < batch; b++) {
      copyRows(source, y, length, n, width, n, b * capacity * width + channel, b * length * n);
    }
    return y;
  }

  /** Moves the first `length` positions into streams of another capacity. */
  resize(capacity: number, length: number): void {
    this.streams.forEach((old, i) => {
      const width = this.widths[i];
      const next = this.#allocate(capacity, width);
      const rows = length === 0 ? 0 : this.#batch;
      copyRows(old, next, rows, length * width, old.shape[1] * width, capacity * width);
      old.dispose();
      this.streams[i] = next;
    });
  }

  [Symbol.dispose](): void {
    for (const stream of this.streams) stream.dispose();
  }
}

/** The caches of all layers of a model, with the number of tokens they hold. */
export class Cache implements Disposable {
  readonly batch: number;
  readonly layers: readonly LayerCache[];
  #length = 0;
  #capacity: number;

  /** @param widths stream widths of each layer */
  constructor(device: Device, batch: number, widths: readonly (readonly number[])[], capacity = 64) {
    this.batch = batch;
    this.#capacity = capacity;
    this.layers = widths.map((w) => new LayerCache(device, batch, capacity, w));
  }

  /** Tokens held, of every row. */
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

  /** Makes room for `length` tokens in all, at least doubling the capacity where it grows. */
  reserve(length: number): void {
    if (length <= this.#capacity) return;
    const capacity = Math.max(length, 2 * this.#capacity);
    for (const layer of this.layers) layer.resize(capacity, this.#length);
    this.#capacity = capacity;
  }

  /** Counts `tokens` as held, once every layer has written them. @throws ShapeError */
  advance(tokens: number): void {
    const length = this.#length + tokens;
    if (length > this.#capacity) {
      throw new ShapeError("tokens beyond the capacity", {
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
      throw new ShapeError("a length that the cache has reached", {
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
