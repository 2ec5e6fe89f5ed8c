import { describe, expect, it } from "vitest";
import { ConfigError, ShapeError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { Scope, type Tensor } from "../tensor/tensor.ts";
import { Cache, writeCaches } from "./cache.ts";

/** Position p holds `seed + p` in every channel. */
function block(start: number, tokens: number, width: number, seed = 0): Float32Array {
  return Float32Array.from({ length: tokens * width }, (_, i) => seed + start + Math.floor(i / width));
}

/** All rows of `x: [1, T, ..]` into a stream of layer 0, or of another. */
function write(cache: Cache, stream: number, x: Tensor, start: number, channel = 0, layer = 0): void {
  writeCaches(x, layer, stream, [{ cache, row: 0, tokens: x.shape[1], start }], channel);
}

function feed(cache: Cache, tokens: number, seed = 0): void {
  const { device } = cache.layers[0].streams[0];
  using _scope = new Scope(device);
  const start = cache.length;
  cache.reserve(start + tokens);
  cache.layers.forEach(({ widths }, layer) => {
    widths.forEach((width, i) => {
      write(cache, i, device.tensor(block(start, tokens, width, seed), [1, tokens, width]), start, 0, layer);
    });
  });
  cache.advance(tokens);
}

describe("Cache", () => {
  it("keeps its tokens while it grows, one token or several at a time", async () => {
    const device = createReferenceDevice();
    const cache = new Cache(device, [[5], [2, 4]], { capacity: 2 });
    for (const tokens of [3, 1, 1, 4, 1]) feed(cache, tokens);
    expect(cache.length).toBe(10);
    expect(cache.capacity).toBeGreaterThanOrEqual(10);
    expect(cache.bytes).toBe(cache.capacity * 11 * 4);
    using values = cache.layers[1].read(1, 10, 1, 2);
    expect(await values.data()).toEqual(block(0, 10, 2));
    cache[Symbol.dispose]();
    values.dispose();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("writes parts of the channels side by side", async () => {
    const device = createReferenceDevice();
    using cache = new Cache(device, [[3]], { capacity: 4 });
    const [layer] = cache.layers;
    write(cache, 0, device.tensor([1, 2, 3, 4], [1, 2, 2]), 0);
    write(cache, 0, device.tensor([8, 9], [1, 2, 1]), 0, 2);
    cache.advance(2);
    expect([...(await layer.read(0, 2, 0, 3).data())]).toEqual([1, 2, 8, 3, 4, 9]);
  });

  it("overwrites what was rolled back", async () => {
    const device = createReferenceDevice();
    using cache = new Cache(device, [[1]], { capacity: 8 });
    const [layer] = cache.layers;
    write(cache, 0, device.tensor([1, 2], [1, 2, 1]), 0);
    cache.advance(2);
    cache.truncate(1);
    write(cache, 0, device.tensor([7], [1, 1, 1]), 1);
    cache.advance(1);
    expect([...(await layer.read(0, 2, 0, 1).data())]).toEqual([1, 7]);
  });

  it("starts from a prefix of another and goes its own way", async () => {
    const device = createReferenceDevice();
    const source = new Cache(device, [[3], [1, 2]], { capacity: 4 });
    feed(source, 7);
    for (const capacity of [2, 16]) {
      const cache = new Cache(device, [[3], [1, 2]], { capacity });
      feed(cache, 2, 500);
      cache.copyFrom(source, 5);
      feed(cache, 4, 100);
      expect(cache.length).toBe(9);
      using values = cache.layers[1].read(1, 9, 0, 2);
      expect([...(await values.data())]).toEqual([...block(0, 5, 2), ...block(5, 4, 2, 100)]);
      using kept = source.layers[1].read(1, 7, 0, 2);
      expect(await kept.data()).toEqual(block(0, 7, 2));
      cache.copyFrom(source, 0);
      expect(cache.length).toBe(0);
      cache[Symbol.dispose]();
    }
    expect(() => source.copyFrom(source, 1)).toThrow(ConfigError);
    using narrow = new Cache(device, [[3], [1, 1]]);
    expect(() => narrow.copyFrom(source, 1)).toThrow(/7 tokens of f32 3 1\+2/);
    using short = new Cache(device, [[3], [1, 2]]);
    expect(() => short.copyFrom(source, 8)).toThrow(ConfigError);
    source[Symbol.dispose]();
  });

  it("refuses what does not fit", () => {
    const device = createReferenceDevice();
    using cache = new Cache(device, [[2]], { capacity: 2 });
    const three = device.tensor([0, 0, 0, 0, 0, 0], [1, 3, 2]);
    expect(() => write(cache, 0, three, 0)).toThrow(ShapeError);
    expect(() => write(cache, 0, three.view([1, 2, 3]), 0)).toThrow(ShapeError);
    expect(() => write(cache, 0, three.view([3, 1, 2]), 0)).toThrow(ShapeError);
    expect(() => cache.advance(3)).toThrow(ShapeError);
    expect(() => cache.truncate(1)).toThrow(ShapeError);
    expect(() => cache.truncate(-1)).toThrow(ShapeError);
  });
});
