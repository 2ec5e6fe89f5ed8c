import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CacheDtype } from "../nn/cache.ts";
import type { RouterOutput } from "../nn/moe.ts";
import { Random } from "../tensor/random.ts";
import { type Device, disposeAll, Scope, type Tensor } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { routerTensors } from "./block.ts";
import { type CausalLM, createModel } from "./causal-lm.ts";
import { tinyConfigs } from "./testing.ts";

type Name = keyof typeof tinyConfigs;

/** Tokens that each sequence reads in each pass; 0: it is not part of it. */
type Plan = readonly (readonly number[])[];

const sequences = [0, 1, 2, 3].map((i) => {
  const random = new Random(40 + i);
  return Array.from({ length: 200 }, () => random.int(61));
});

/** The bits of all logits of every sequence, in the order of its tokens; of `only` one alone if that is given. */
async function read(
  model: CausalLM,
  plan: Plan,
  only?: number,
  dtype: CacheDtype = "f32",
): Promise<number[][]> {
  const caches = sequences.map(() => model.createCache(2, dtype));
  const bits: number[][] = sequences.map(() => []);
  for (const counts of plan) {
    using _scope = new Scope(model.device);
    const taking = counts.flatMap((tokens, i) =>
      tokens > 0 && (only === undefined || only === i) ? [{ i, tokens }] : [],
    );
    if (taking.length === 0) continue;
    const segments = taking.map(({ i, tokens }) => ({ cache: caches[i], tokens }));
    const ids = taking.flatMap(({ i, tokens }) =>
      sequences[i].slice(caches[i].length, caches[i].length + tokens),
    );
    const logits = model.logits(model.hidden(model.ids([ids]), { segments }));
    const values = new Int32Array(((await logits.data()) as Float32Array).slice().buffer);
    let row = 0;
    for (const { i, tokens } of taking) {
      bits[i].push(...values.subarray(row * 61, (row + tokens) * 61));
      row += tokens;
    }
  }
  for (const cache of caches) cache[Symbol.dispose]();
  return bits;
}

function largestDifference(a: number[], b: number[]): number {
  const floats = (bits: number[]) => new Float32Array(Int32Array.from(bits).buffer);
  const other = floats(b);
  expect(a.length).toBe(b.length);
  return floats(a).reduce((largest, x, i) => Math.max(largest, Math.abs(x - other[i])), 0);
}

describe.each(Object.keys(tinyConfigs) as Name[])("%s on the CPU", (name) => {
  let device: Device;
  let model: CausalLM;
  beforeAll(async () => {
    device = await cpuDevice(2, true);
    model = createModel(tinyConfigs[name], device, { seed: 3, std: 0.2 });
  });
  afterAll(() => model[Symbol.dispose]());

  // Up to eight rows the products of float weights take one kernel, which treats every row alike.
  it("gives a row the same bits whatever else is in the pass", async () => {
    const plan: Plan = [
      [3, 0, 5, 0],
      [1, 1, 4, 2],
      [2, 1, 0, 5],
      ...Array.from({ length: 40 }, (_, i) => [1, i % 3, 1, 2 - (i % 2)]),
      [2, 2, 2, 2],
    ];
    const together = await read(model, plan);
    for (const i of sequences.keys())
      expect(await read(model, plan, i)).toEqual(together.map((bits, j) => (i === j ? bits : [])));
  });

  it("stays close where other sequences change which kernel runs", async () => {
    const plan: Plan = [
      [150, 1, 40, 0],
      [1, 9, 30, 80],
      [20, 1, 1, 1],
      [1, 1, 17, 40],
    ];
    const together = await read(model, plan);
    for (const i of sequences.keys()) {
      expect(largestDifference((await read(model, plan, i))[i], together[i])).toBeLessThan(2e-4);
    }
  });

  it("gives embeddings, layer by layer too, the bits of the ids they came from, and the same experts", async () => {
    const { buffers } = device.backend.memory();
    using model = createModel(tinyConfigs[name], device, { seed: 3, std: 0.2 });
    const [row] = sequences;
    const routers: RouterOutput[][] = [[], [], []];
    const results: Tensor[] = [];
    const caches = routers.map(() => model.createCache());
    const segments = caches.map((cache) => [{ cache, tokens: 5 }]);
    const ids = device.inference(() => model.ids([row.slice(0, 5)]));
    const embeddings = device.inference(() => model.embed(ids));
    const plain = { segments: segments[0], routers: routers[0] };
    results.push(device.inference(() => [model.hidden(ids, plain), ...routers[0].map((r) => r.ids)])[0]);
    for (const [i, input] of [ids, embeddings].entries()) {
      const options = { segments: segments[i + 1], routers: routers[i + 1] };
      results.push(await model.hiddenByLayer(input, options, () => Promise.resolve()));
    }
    const experts = model.config.moe === null ? 0 : model.config.layers - model.config.moe.firstDenseLayers;
    const chosen = await Promise.all(
      routers.map((each) => Promise.all(each.map(async (r) => [r.layer, await r.ids.data()]))),
    );
    expect(chosen[0].length).toBe(experts);
    expect(new Set(chosen[0].map(String)).size).toBe(experts);
    expect(chosen.slice(1)).toEqual([chosen[0], chosen[0]]);
    const [first, ...others] = await Promise.all(results.map((result) => result.raw()));
    expect(others).toEqual([first, first]);
    // Positions far beyond what the caches hold, and beyond the rotary tables made so far.
    const positions = [0, 1, 2, 3000, 3001];
    const apart = [0, 1].map(() => ({ cache: model.createCache(), tokens: 5 }));
    const layered = await model.hiddenByLayer(ids, { segments: [apart[1]], positions }, () => null);
    const far = device.inference(() => model.hidden(ids, { segments: [apart[0]], positions }));
    expect(await layered.raw()).toEqual(await far.raw());
    expect(await far.raw()).not.toEqual(first);
    for (const one of [far, layered, ...apart.map(({ cache }) => cache)]) one[Symbol.dispose]();
    // A pass that was given up leaves nothing behind.
    let turns = 0;
    const stopped = model.hiddenByLayer(embeddings, { segments: segments[0], routers: routers[0] }, () => {
      if (++turns === model.config.layers) throw new Error("enough");
      return null;
    });
    await expect(stopped).rejects.toThrow("enough");
    expect(routers[0].length).toBe(experts);
    expect(caches[0].length).toBe(5);
    for (const router of routers.flat()) disposeAll(routerTensors(router));
    for (const one of [...caches, ...results, ids, embeddings, model]) one[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("takes caches of half the size for a little precision", async () => {
    const plan: Plan = [
      [90, 3, 0, 0],
      [1, 1, 40, 0],
      ...Array.from({ length: 12 }, (_, i) => [1, 1, 1 + (i % 3), 1]),
      [40, 2, 30, 1],
    ];
    const full = await read(model, plan);
    const errors = { f16: 0, bf16: 0 };
    for (const dtype of ["f16", "bf16"] as const) {
      const narrow = await read(model, plan, undefined, dtype);
      for (const i of sequences.keys()) {
        errors[dtype] = Math.max(errors[dtype], largestDifference(narrow[i], full[i]));
      }
      using cache = model.createCache(100, dtype);
      using other = model.createCache(100);
      expect(2 * cache.bytes).toBe(other.bytes);
    }
    expect(errors.f16).toBeGreaterThan(0);
    expect(errors.f16).toBeLessThan(errors.bf16);
    expect(errors.bf16).toBeLessThan(1);
  });

  it.each(["q8", "q4"] as const)(
    "gives a row the same bits in passes of any size (%s weights)",
    async (dtype) => {
      using quantized = createModel(tinyConfigs[name], device, { seed: 3, std: 0.2, dtype });
      const plan: Plan = [
        [70, 1, 40, 0],
        [1, 9, 30, 30],
        [20, 1, 1, 1],
        ...Array.from({ length: 12 }, (_, i) => [1, 1 + (i % 4), 3, 1]),
        [1, 1, 17, 40],
      ];
      const together = await read(quantized, plan);
      for (const i of sequences.keys()) {
        expect((await read(quantized, plan, i))[i].join() === together[i].join()).toBe(true);
      }
    },
  );
});
