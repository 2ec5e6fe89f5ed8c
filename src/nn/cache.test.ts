import { describe, expect, it, vi } from "vitest";
import { ConfigError, ShapeError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { type Device, Scope, type Tensor } from "../tensor/tensor.ts";
import { Cache, writeCaches } from "./cache.ts";
import { PagePool } from "./page-pool.ts";

/** Position p holds `seed + p` in every channel. */
function block(start: number, tokens: number, width: number, seed = 0): Float32Array {
  return Float32Array.from({ length: tokens * width }, (_, i) => seed + start + Math.floor(i / width));
}

/** All rows of `x: [1, T, ..]` into a stream of layer 0, or of another. */
function write(cache: Cache, stream: number, x: Tensor, start: number, channel = 0, layer = 0): void {
  writeCaches(x, layer, stream, [{ cache, row: 0, tokens: x.shape[1], start }], channel);
}

/** A cache of its own pool with the streams of some layers. */
function made(device: Device, widths: number[][], capacity = 0): Cache {
  return new Cache(new PagePool(device, widths), capacity);
}

function feed(cache: Cache, tokens: number, seed = 0): void {
  const { device, widths } = cache.pool;
  using _scope = new Scope(device);
  const start = cache.length;
  cache.reserve(start + tokens);
  widths.forEach((layer, l) => {
    layer.forEach((width, i) => {
      write(cache, i, device.tensor(block(start, tokens, width, seed), [1, tokens, width]), start, 0, l);
    });
  });
  cache.advance(tokens);
}

/** What the second stream of the second layer holds. */
async function held(cache: Cache): Promise<number[]> {
  using values = cache.read(1, 1, 0, cache.length, 0, 2);
  return [...(await values.data())];
}

describe("Cache", () => {
  it("keeps its tokens while it grows, one token or several at a time", async () => {
    const device = createReferenceDevice();
    const cache = made(device, [[5], [2, 4]], 2);
    for (const tokens of [3, 1, 1, 200, 1, 90, 4]) feed(cache, tokens);
    expect(cache.length).toBe(300);
    expect(cache.capacity).toBe(384);
    expect(cache.bytes).toBe(384 * 11 * 4);
    for (const [from, length] of [
      [0, 300],
      [95, 2],
      [100, 150],
    ]) {
      using values = cache.read(1, 1, from, length, 1, 2);
      expect(await values.data()).toEqual(block(from, length, 2));
    }
    cache[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("copies nothing when it grows", () => {
    const device = createReferenceDevice();
    using cache = made(device, [[3], [1, 2]], 96);
    const slabs = () => new Set(cache.runs(1, cache.length).map(({ keys }) => keys));
    feed(cache, 96);
    const [first] = slabs();
    const run = vi.spyOn(device.backend, "run");
    feed(cache, 700);
    expect(run.mock.calls.map(([{ name }]) => name)).not.toContain("copy_rows");
    expect(slabs()).toContain(first);
  });

  it("lies in no more tensors than attention takes", async () => {
    const device = createReferenceDevice();
    const pool = new PagePool(device, [[3], [1, 2]]);
    const caches = [new Cache(pool), new Cache(pool)];
    // Each page of one is followed by one of the other.
    for (let i = 0; i < 40; i++) for (const [seed, cache] of caches.entries()) feed(cache, 96, 10_000 * seed);
    for (const [seed, cache] of caches.entries()) {
      expect(new Set(cache.runs(0, cache.length).map(({ keys }) => keys)).size).toBeLessThanOrEqual(8);
      expect(await held(cache)).toEqual([...block(0, 40 * 96, 2, 10_000 * seed)]);
    }
    for (const cache of caches) cache[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("writes parts of the channels side by side", async () => {
    const device = createReferenceDevice();
    using cache = made(device, [[3]], 4);
    write(cache, 0, device.tensor([1, 2, 3, 4], [1, 2, 2]), 0);
    write(cache, 0, device.tensor([8, 9], [1, 2, 1]), 0, 2);
    cache.advance(2);
    expect([...(await cache.read(0, 0, 0, 2, 0, 3).data())]).toEqual([1, 2, 8, 3, 4, 9]);
  });

  it("overwrites what was rolled back", async () => {
    const device = createReferenceDevice();
    using cache = made(device, [[1]], 8);
    write(cache, 0, device.tensor([1, 2], [1, 2, 1]), 0);
    cache.advance(2);
    cache.truncate(1);
    write(cache, 0, device.tensor([7], [1, 1, 1]), 1);
    cache.advance(1);
    expect([...(await cache.read(0, 0, 0, 2, 0, 1).data())]).toEqual([1, 7]);
  });

  it("starts from a prefix of another and goes its own way", async () => {
    const device = createReferenceDevice();
    const source = made(device, [[3], [1, 2]], 4);
    feed(source, 250);
    for (const length of [0, 5, 95, 96, 97, 192, 200, 250]) {
      const cache = new Cache(source.pool);
      feed(cache, 2, 500);
      cache.share(source, length);
      feed(cache, 100, 1000);
      expect(cache.length).toBe(length + 100);
      expect(await held(cache)).toEqual([...block(0, length, 2), ...block(length, 100, 2, 1000)]);
      expect(await held(source)).toEqual([...block(0, 250, 2)]);
      cache[Symbol.dispose]();
    }
    expect(() => source.share(source, 1)).toThrow(ConfigError);
    using narrow = made(device, [[3], [1, 1]]);
    expect(() => narrow.share(source, 1)).toThrow(/250 tokens of f32 3 1\+2/);
    using short = made(device, [[3], [1, 2]]);
    expect(() => short.share(source, 251)).toThrow(ConfigError);
    source[Symbol.dispose]();
  });

  it("divides pages among their holders, and frees them with the last", () => {
    const device = createReferenceDevice();
    const pool = new PagePool(device, [[3], [1, 2]]);
    const caches = [0, 1, 2].map(() => new Cache(pool));
    feed(caches[0], 200);
    expect([caches[0].bytes, caches[0].sharedTokens]).toEqual([3 * pool.pageBytes, 0]);
    caches[1].share(caches[0], 199);
    caches[2].share(caches[1], 100);
    // The first page has three holders, the second two.
    expect(caches.map(({ sharedTokens }) => sharedTokens)).toEqual([64 + 48, 64 + 48, 64]);
    const bytes = caches.reduce((sum, cache) => sum + cache.bytes, 0);
    expect(bytes / pool.pageBytes).toBeCloseTo(2 + 3, 2);
    caches[0][Symbol.dispose]();
    expect(caches.slice(1).map(({ sharedTokens }) => sharedTokens)).toEqual([48, 48]);
    caches[2][Symbol.dispose]();
    expect(caches[1].sharedTokens).toBe(0);
    caches[1][Symbol.dispose]();
    expect([pool.bytes, device.backend.memory().buffers]).toEqual([0, 0]);
  });

  it("copies before it writes into what others hold", async () => {
    const device = createReferenceDevice();
    const source = made(device, [[3], [1, 2]]);
    feed(source, 300);
    const fork = new Cache(source.pool);
    fork.share(source, 288);
    // Both go back into a page that the other holds.
    for (const [seed, cache] of [fork, source].entries()) {
      cache.truncate(110);
      feed(cache, 150, 1000 * (seed + 1));
    }
    expect(await held(fork)).toEqual([...block(0, 110, 2), ...block(110, 150, 2, 1000)]);
    expect(await held(source)).toEqual([...block(0, 110, 2), ...block(110, 150, 2, 2000)]);
    fork[Symbol.dispose]();
    source[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("holds what it should whatever is fed, shared, rolled back and dropped", async () => {
    const device = createReferenceDevice();
    const pool = new PagePool(device, [[3], [1, 2]]);
    const random = new Random(4);
    const caches = Array.from({ length: 5 }, () => ({ cache: new Cache(pool), values: [] as number[] }));
    for (let turn = 0; turn < 300; turn++) {
      const one = caches[random.int(5)];
      const other = caches[random.int(5)];
      const action = random.int(5);
      if (action < 2) {
        const tokens = 1 + random.int(120);
        one.values.push(...block(one.cache.length, tokens, 2, 1000 * turn));
        feed(one.cache, tokens, 1000 * turn);
      } else if (action === 2) {
        const length = random.int(one.cache.length + 1);
        one.cache.truncate(length);
        one.values.length = 2 * length;
      } else if (action === 3 && one !== other) {
        const length = random.int(other.cache.length + 1);
        one.cache.share(other.cache, length, random.int(2) * 500);
        one.values = other.values.slice(0, 2 * length);
      } else if (action === 4 && random.int(3) === 0) {
        one.cache[Symbol.dispose]();
        Object.assign(one, { cache: new Cache(pool, random.int(300)), values: [] });
      }
      for (const { cache, values } of caches) expect(await held(cache)).toEqual(values);
    }
    for (const { cache } of caches) cache[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("refuses what does not fit", () => {
    const device = createReferenceDevice();
    using cache = made(device, [[2]], 2);
    const three = device.tensor([0, 0, 0, 0, 0, 0], [1, 3, 2]);
    expect(() => write(cache, 0, three, 94)).toThrow(/0 to 96; found: 94 to 97/);
    expect(() => write(cache, 0, three.view([1, 2, 3]), 0)).toThrow(ShapeError);
    expect(() => write(cache, 0, three.view([3, 1, 2]), 0)).toThrow(ShapeError);
    expect(() => cache.advance(97)).toThrow(ShapeError);
    expect(() => cache.truncate(1)).toThrow(ShapeError);
    expect(() => cache.truncate(-1)).toThrow(ShapeError);
  });
});
