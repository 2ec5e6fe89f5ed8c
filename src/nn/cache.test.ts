import { describe, expect, it } from "vitest";
import { ShapeError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { Cache } from "./cache.ts";

/** Position p of row b holds `100 b + p` in every channel. */
function block(batch: number, start: number, tokens: number, width: number): Float32Array {
  return Float32Array.from({ length: batch * tokens * width }, (_, i) => {
    const place = Math.floor(i / width);
    return 100 * Math.floor(place / tokens) + start + (place % tokens);
  });
}

describe("Cache", () => {
  it("keeps rows apart while it grows, one token or several at a time", async () => {
    const device = createReferenceDevice();
    const cache = new Cache(device, 3, [[5], [2, 4]], 2);
    for (const tokens of [3, 1, 1, 4, 1]) {
      using _scope = device.scope();
      const start = cache.length;
      cache.reserve(start + tokens);
      for (const layer of cache.layers) {
        layer.widths.forEach((width, i) => {
          layer.write(i, device.tensor(block(3, start, tokens, width), [3, tokens, width]), start);
        });
      }
      cache.advance(tokens);
    }
    expect(cache.length).toBe(10);
    expect(cache.capacity).toBeGreaterThanOrEqual(10);
    expect(cache.bytes).toBe(3 * cache.capacity * 11 * 4);
    using values = cache.layers[1].read(1, 10, 1, 2);
    expect(await values.data()).toEqual(block(3, 0, 10, 2));
    cache[Symbol.dispose]();
    values.dispose();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("writes parts of the channels side by side", async () => {
    const device = createReferenceDevice();
    using cache = new Cache(device, 1, [[3]], 4);
    const [layer] = cache.layers;
    layer.write(0, device.tensor([1, 2, 3, 4], [1, 2, 2]), 0);
    layer.write(0, device.tensor([8, 9], [1, 2, 1]), 0, 2);
    cache.advance(2);
    expect([...(await layer.read(0, 2, 0, 3).data())]).toEqual([1, 2, 8, 3, 4, 9]);
  });

  it("overwrites what was rolled back", async () => {
    const device = createReferenceDevice();
    using cache = new Cache(device, 2, [[1]], 8);
    const [layer] = cache.layers;
    layer.write(0, device.tensor([1, 2, 3, 4], [2, 2, 1]), 0);
    cache.advance(2);
    cache.truncate(1);
    layer.write(0, device.tensor([7, 8], [2, 1, 1]), 1);
    cache.advance(1);
    expect([...(await layer.read(0, 2, 0, 1).data())]).toEqual([1, 7, 3, 8]);
  });

  it("refuses what does not fit", () => {
    const device = createReferenceDevice();
    using cache = new Cache(device, 1, [[2]], 2);
    const three = device.tensor([0, 0, 0, 0, 0, 0], [1, 3, 2]);
    expect(() => cache.layers[0].write(0, three, 0)).toThrow(ShapeError);
    expect(() => cache.layers[0].write(0, three.slice(0, 1).view([1, 2, 3]), 0)).toThrow(ShapeError);
    expect(() => cache.advance(3)).toThrow(ShapeError);
    expect(() => cache.truncate(1)).toThrow(ShapeError);
    expect(() => cache.truncate(-1)).toThrow(ShapeError);
  });
});
