import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MlaForm } from "../nn/context.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError, FormatError, ShapeError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { differentiate, Tape } from "../tensor/tape.ts";
import { type Device, disposeAll, Scope, type Tensor } from "../tensor/tensor.ts";
import { doubles } from "../tensor/testing.ts";
import { nextTokenBatch, nextTokenLoss } from "../train/objectives/next-token.ts";
import { type CausalLM, createModel } from "./causal-lm.ts";

import { tinyConfigs } from "./testing.ts";

type Name = keyof typeof tinyConfigs;
const names = Object.keys(tinyConfigs) as Name[];

function tokensOf(rows: number, length: number, seed = 5): number[][] {
  const random = new Random(seed);
  return Array.from({ length: rows }, () => Array.from({ length }, () => random.int(61)));
}

/** Weights large enough that attention and routers have something to say; router biases of both signs. */
function tiny(name: Name, device: Device): CausalLM {
  const model = createModel(tinyConfigs[name], device, { seed: 3, std: 0.3 });
  const random = new Random(11);
  for (const group of model.parameters.groups()) {
    if (!group.trained)
      group.tensor.set(Array.from({ length: group.tensor.size }, () => random.normal() / 4));
  }
  return model;
}

/** Runs `body` in a scope and returns the doubles of its result. */
function evaluate(model: CausalLM, body: () => Tensor): Float64Array {
  using _scope = new Scope(model.device);
  return doubles(body()).slice();
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(largest, difference);
  }
  return largest;
}

describe.each(names)("%s in double precision", (name) => {
  const device = createReferenceDevice();
  const model = tiny(name, device);
  const rows = tokensOf(2, 21);
  const full = evaluate(model, () => model.logits(model.hidden(model.ids(rows))));
  const mtpWeight = model.config.mtpLayers > 0 ? 0.3 : 0;
  const forms: MlaForm[] =
    model.config.attention.kind === "mla" ? ["expanded", "absorbed", "auto"] : ["auto"];

  it.each(forms)("gives the same with a cache, in pieces, after a rollback (%s)", (mlaForm) => {
    using first = model.createCache(3);
    using second = model.createCache(5);
    const caches = [first, second];
    const V = model.config.vocabSize;
    const join = (part: readonly number[][]) => {
      const segments = caches.map((cache, i) => ({ cache, tokens: part[i].length }));
      return model.hidden(model.ids([part.flat()]), { segments, mlaForm });
    };
    const feed = (begin: number, end: number) =>
      evaluate(model, () => model.logits(join(rows.map((row) => row.slice(begin, end)))));
    const check = (found: Float64Array, begin: number, end: number) => {
      const wanted = rows.flatMap((_, b) => [...full.subarray((b * 21 + begin) * V, (b * 21 + end) * V)]);
      expect(distance(found, wanted)).toBeLessThan(1e-11);
    };
    check(feed(0, 7), 0, 7);
    check(feed(7, 8), 7, 8);
    const wrong = rows.map((row) => [row[0], row[1], row[2]]);
    evaluate(model, () => join(wrong));
    for (const cache of caches) cache.truncate(8);
    check(feed(8, 11), 8, 11);
    for (let t = 11; t < 20; t++) check(feed(t, t + 1), t, t + 1);
    check(feed(20, 21), 20, 21);
    expect(caches.map((cache) => cache.length)).toEqual([21, 21]);
  });

  it.each(forms)("gives each of several ragged sequences what it gives it alone (%s)", (mlaForm) => {
    const random = new Random(8);
    const sequences = tokensOf(4, 21, 77).map((row, i) => ({
      row,
      full: evaluate(model, () => model.logits(model.hidden(model.ids([row])))),
      cache: model.createCache(1 + i),
    }));
    const V = model.config.vocabSize;
    const pending = () => sequences.filter(({ cache }) => cache.length < 21);
    while (pending().length > 0) {
      // Some wait, some read one token, some more.
      const taking = random.shuffle(pending()).slice(0, 1 + random.int(4));
      const segments = taking.map(({ cache }) => {
        const wanted = random.int(2) === 0 ? 1 : 1 + random.int(9);
        return { cache, tokens: Math.min(wanted, 21 - cache.length) };
      });
      const starts = segments.map(({ cache }) => cache.length);
      const ids = segments.flatMap(({ tokens }, i) => taking[i].row.slice(starts[i], starts[i] + tokens));
      const found = evaluate(model, () =>
        model.logits(model.hidden(model.ids([ids]), { segments, mlaForm })),
      );
      const expected = segments.flatMap(({ tokens }, i) => [
        ...taking[i].full.subarray(starts[i] * V, (starts[i] + tokens) * V),
      ]);
      expect(distance(found, expected)).toBeLessThan(1e-11);
    }
    for (const { cache } of sequences) cache[Symbol.dispose]();
  });

  it("is causal", () => {
    const changed = rows.map((row) => [...row.slice(0, 12), (row[12] + 1) % 61, ...row.slice(13)]);
    const found = evaluate(model, () => model.logits(model.hidden(model.ids(changed))));
    const V = model.config.vocabSize;
    expect(distance(found.subarray(0, 12 * V), full.subarray(0, 12 * V))).toBe(0);
    expect(distance(found.subarray(12 * V, 13 * V), full.subarray(12 * V, 13 * V))).toBeGreaterThan(1e-3);
  });

  it.runIf(forms.length > 1)("gives the same in both forms of latent attention without a cache", () => {
    const absorbed = evaluate(model, () =>
      model.logits(model.hidden(model.ids(rows), { mlaForm: "absorbed" })),
    );
    expect(distance(absorbed, full)).toBeLessThan(1e-11);
  });

  it("takes embeddings for ids", () => {
    const found = evaluate(model, () => model.logits(model.hidden(model.embed(model.ids(rows)))));
    expect(distance(found, full)).toBe(0);
  });

  it("knows what a token takes in its caches", () => {
    for (const dtype of ["f32", "bf16"] as const) {
      using cache = model.createCache(7, dtype);
      using drafts = model.createMtpCache(7, dtype);
      // A page has room for 96.
      expect(96 * model.cacheTokenBytes(dtype)).toBe(cache.bytes);
      expect(96 * model.cacheTokenBytes(dtype, true)).toBe(cache.bytes + drafts.bytes);
    }
  });

  it("picks the last row of each sequence", () => {
    const last = evaluate(model, () => model.logits(model.last(model.hidden(model.ids(rows)))));
    const V = model.config.vocabSize;
    expect(distance(last, [...full.subarray(20 * V, 21 * V), ...full.subarray(41 * V, 42 * V)])).toBeLessThan(
      1e-12,
    );
  });

  it("returns all memory, forward and backward, scoped or not", () => {
    const { backend } = device;
    const before = backend.memory().buffers;
    evaluate(model, () => model.hidden(model.ids(rows)));
    expect(backend.memory().buffers).toBe(before);

    const ids = model.ids(rows);
    const hidden = model.hidden(ids);
    expect(backend.memory().buffers).toBe(before + 2);
    hidden.dispose();
    ids.dispose();

    {
      using tape = new Tape(device);
      const { loss } = nextTokenLoss(model, nextTokenBatch(Int32Array.from(rows.flat()), 2), {
        mtpWeight: mtpWeight,
        balanceAlpha: 0.1,
      });
      tape.backward(loss);
      expect(Number.isFinite(doubles(loss)[0])).toBe(true);
    }
    model.parameters.clearGradients();
    expect(backend.memory().buffers).toBe(before);

    const batch = nextTokenBatch(Int32Array.from(rows.flat()), 2);
    const result = nextTokenLoss(model, batch, { mtpWeight: mtpWeight, balanceAlpha: 0.1 });
    const results = [
      result.loss,
      result.crossEntropy,
      result.mtp,
      ...result.balance.map((b) => b.loss),
      ...result.expertCounts.map((c) => c.counts),
    ];
    const distinct = new Set(results.filter((tensor) => tensor !== null));
    expect(backend.memory().buffers).toBe(before + distinct.size);
    for (const tensor of distinct) tensor.dispose();
    expect(backend.memory().buffers).toBe(before);
  });
});

describe("gradients", () => {
  it("of the whole V3 objective agree with finite differences", () => {
    const device = createReferenceDevice();
    using model = tiny("v3", device);
    const batch = nextTokenBatch(Int32Array.from(tokensOf(2, 8, 9).flat()), 2);
    const options = { mtpWeight: 0.3, balanceAlpha: 0.05 };
    {
      using tape = new Tape(device);
      tape.backward(nextTokenLoss(model, batch, options).loss);
    }
    const random = new Random(1);
    const loss = () => {
      using _scope = new Scope(device);
      return doubles(nextTokenLoss(model, batch, options).loss)[0];
    };
    let compared = 0;
    for (const { key, tensor, trained } of model.parameters.groups()) {
      if (!trained) {
        expect(tensor.grad).toBe(null);
        continue;
      }
      const values = doubles(tensor);
      const gradient = doubles(tensor.grad!);
      for (let n = 0; n < 2; n++) {
        const i = random.int(tensor.size);
        const kept = values[i];
        const step = 1e-5;
        values[i] = kept + step;
        const up = loss();
        values[i] = kept - step;
        const down = loss();
        values[i] = kept;
        const numeric = (up - down) / (2 * step);
        expect(Math.abs(gradient[i] - numeric), `${key}[${i}]`).toBeLessThan(1e-6 + 1e-5 * Math.abs(numeric));
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(50);
  });

  it("of a tied embedding come from both of its uses", () => {
    const device = createReferenceDevice();
    using model = createModel({ ...tinyConfigs.llama, tie_word_embeddings: true }, device, {
      seed: 3,
      std: 0.3,
    });
    expect(model.parameters.has("lm_head.weight")).toBe(false);
    const batch = nextTokenBatch(Int32Array.from([4, 5, 6, 7]), 1);
    using tape = new Tape(device);
    tape.backward(nextTokenLoss(model, batch).loss);
    const gradient = doubles(model.parameters.group("model.embed_tokens.weight").tensor.grad!);
    // Row 40 is never read as an input: its gradient is the head's; row 4 has both.
    expect(Math.abs(gradient[40 * 24])).toBeGreaterThan(0);
    expect(Math.abs(gradient[4 * 24])).toBeGreaterThan(0);
  });
});

describe("multi-token prediction", () => {
  const device = createReferenceDevice();
  const model = tiny("v3", device);
  const rows = tokensOf(1, 12);
  const next = [[...rows[0].slice(1), 3]];
  const predict = (m: CausalLM) =>
    evaluate(m, () => m.logits(m.mtp(m.hidden(m.ids(rows)), m.ids(next)).normed));

  it("gives the same step by step with its own cache", () => {
    using cache = model.createCache();
    using mtpCache = model.createMtpCache();
    const found: number[] = [];
    for (let t = 0; t < 12; t++) {
      found.push(
        ...evaluate(model, () => {
          const hidden = model.hidden(model.ids([[rows[0][t]]]), { cache });
          return model.logits(model.mtp(hidden, model.ids([[next[0][t]]]), { cache: mtpCache }).normed);
        }),
      );
    }
    expect(distance(found, predict(model))).toBeLessThan(1e-11);
  });

  it("takes embeddings of the next tokens for their ids", () => {
    const found = evaluate(model, () =>
      model.logits(model.mtp(model.hidden(model.ids(rows)), model.embed(model.ids(next))).normed),
    );
    expect(distance(found, predict(model))).toBe(0);
  });

  it("depends on the order of the two halves", () => {
    using other = tiny("v3", device);
    const before = predict(other);
    const weight = doubles(other.parameters.get("model.layers.2.eh_proj.weight"));
    for (let r = 0; r < 24; r++) {
      const row = weight.subarray(r * 48, (r + 1) * 48);
      row.set([...row.subarray(24), ...row.subarray(0, 24)]);
    }
    expect(distance(before, predict(model))).toBeLessThan(1e-12);
    expect(distance(before, predict(other))).toBeGreaterThan(1e-2);
  });

  it("is optional: the main logits do not change without it", () => {
    using bare = createModel(tinyConfigs.v3, device, { mtpLayers: 0 });
    for (const { name } of bare.parameters.named()) {
      doubles(bare.parameters.get(name)).set(doubles(model.parameters.get(name)));
    }
    const logits = (m: CausalLM) => evaluate(m, () => m.logits(m.hidden(m.ids(rows))));
    expect(distance(logits(bare), logits(model))).toBe(0);
    expect(() => bare.mtp(bare.embed(bare.ids(rows)), bare.ids(next))).toThrow(ConfigError);
    expect(() => createModel(tinyConfigs.v3, device, { mtpLayers: 2 })).toThrow(ConfigError);
  });
});

describe("loss", () => {
  const device = createReferenceDevice();
  const model = tiny("v3", device);

  it("counts targets, experts and terms", async () => {
    using _scope = new Scope(device);
    const tokens = tokensOf(2, 9);
    const batch = nextTokenBatch(Int32Array.from(tokens.flat()), 2);
    expect([...batch.ids.subarray(0, 8)]).toEqual(tokens[0].slice(0, 8));
    expect([...batch.targets.subarray(8)]).toEqual(tokens[1].slice(1));
    batch.targets.fill(-1, 8, 12);
    const result = nextTokenLoss(model, batch, { mtpWeight: 0.3, balanceAlpha: 0.5 });
    expect(result.tokens).toBe(12);
    expect(result.expertCounts.map((c) => c.layer)).toEqual([1, 2]);
    for (const { counts, bias } of result.expertCounts) {
      expect(Array.from(await counts.data()).reduce((a, b) => a + b, 0)).toBe(16 * 3);
      expect(bias?.size).toBe(8);
    }
    const value = (tensor: Tensor) => doubles(tensor)[0];
    const balance = result.balance.reduce((sum, b) => sum + value(b.loss), 0);
    expect(result.balance.length).toBe(2);
    expect(value(result.loss)).toBeCloseTo(
      value(result.crossEntropy) + 0.3 * value(result.mtp!) + 0.5 * balance,
      12,
    );
  });

  it("keeps its parts readable after the backward pass", async () => {
    const batch = nextTokenBatch(Int32Array.from(tokensOf(1, 9).flat()), 1);
    const result = differentiate(device, () => nextTokenLoss(model, batch, { mtpWeight: 1 }));
    expect(await result.crossEntropy.item()).toBeGreaterThan(0);
    expect(await result.mtp!.item()).toBeGreaterThan(0);
    expect((await result.expertCounts[0].counts.data()).length).toBe(8);
    const { bias, ...first } = result.expertCounts[0];
    disposeAll([result.loss, result.crossEntropy, result.mtp, first]);
    expect(bias?.disposed).toBe(false);
    model.parameters.clearGradients();
  });

  it("refuses ids outside the vocabulary and ragged rows", () => {
    expect(() =>
      nextTokenLoss(model, { sequences: 1, ids: Int32Array.of(61), targets: Int32Array.of(0) }),
    ).toThrow(ShapeError);
    expect(() =>
      nextTokenLoss(model, { sequences: 2, ids: new Int32Array(3), targets: new Int32Array(3) }),
    ).toThrow(ShapeError);
    expect(() => nextTokenBatch(new Int32Array(3), 2)).toThrow(ShapeError);
    expect(() => model.ids([[1, 2], [3]])).toThrow(ShapeError);
  });

  it("refuses to train weights of less than f32", () => {
    using half = createModel(tinyConfigs.llama, device, { seed: 1, dtype: "bf16" });
    using _tape = new Tape(device);
    expect(() => nextTokenLoss(half, nextTokenBatch(Int32Array.from([1, 2, 3]), 1))).toThrow(ConfigError);
  });

  it("refuses segments that do not fit the input", () => {
    using cache = model.createCache();
    using other = model.createCache();
    const hidden = (rows: number[][], segments: { cache: typeof cache; tokens: number }[]) =>
      evaluate(model, () => model.hidden(model.ids(rows), { segments }));
    expect(() => hidden([[1, 2, 3]], [{ cache, tokens: 2 }])).toThrow(ShapeError);
    expect(() =>
      hidden(
        [[1], [2]],
        [
          { cache, tokens: 1 },
          { cache: other, tokens: 1 },
        ],
      ),
    ).toThrow(/\[1, 2\].*\[2, 1\]/);
    const twice = [
      { cache, tokens: 1 },
      { cache, tokens: 1 },
    ];
    expect(() => hidden([[1, 2]], twice)).toThrow(/segments and caches differ in number/);
    expect(() => evaluate(model, () => model.hidden(model.ids([[1], [2]]), { cache }))).toThrow(ShapeError);
    expect(cache.length).toBe(0);
  });

  it("refuses caches while a tape records", () => {
    using cache = model.createCache();
    using _tape = new Tape(device);
    expect(() => model.hidden(model.ids([[1]]), { cache })).toThrow(ConfigError);
    expect(() => model.hidden(model.ids([[1]]), { mlaForm: "absorbed" })).toThrow(ConfigError);
  });
});

describe("load", () => {
  const device = createReferenceDevice();

  function sourceOf(
    model: CausalLM,
    change: (tensors: Map<string, [number[], Float32Array]>) => void,
  ): WeightSource {
    const tensors = new Map<string, [number[], Float32Array]>();
    for (const { name, shape } of model.parameters.named()) {
      tensors.set(name, [[...shape], Float32Array.from(doubles(model.parameters.get(name)))]);
    }
    change(tensors);
    return {
      names: () => tensors.keys(),
      has: (name) => tensors.has(name),
      shape: (name) => tensors.get(name)![0],
      async *readF32(name) {
        yield { offset: 0, values: tensors.get(name)![1] };
      },
    };
  }
  const model = tiny("v3", device);
  const rows = tokensOf(1, 6);
  const logits = (m: CausalLM) => evaluate(m, () => m.logits(m.hidden(m.ids(rows))));

  it("skips rotary buffers and the MTP layer's copies", async () => {
    using copy = createModel(tinyConfigs.v3, device);
    const source = sourceOf(model, (tensors) => {
      tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", [[4], new Float32Array(4)]);
      tensors.set("model.layers.2.embed_tokens.weight", [[61, 24], new Float32Array(61 * 24)]);
      tensors.set("model.layers.2.shared_head.head.weight", [[61, 24], new Float32Array(61 * 24)]);
    });
    await copy.load(source);
    expect(distance(logits(copy), logits(model))).toBeLessThan(1e-5);
  });

  it("reads stacked experts, and skips MTP layers that it was built without", async () => {
    using copy = createModel(tinyConfigs.v3, device, { mtpLayers: 0 });
    const source = sourceOf(model, (tensors) => {
      const layer = "model.layers.1.mlp.experts.";
      for (const name of [...tensors.keys()]) if (name.startsWith(layer)) tensors.delete(name);
      for (const [key, shape] of [
        ["gate_up_proj", [8, 16, 24]],
        ["down_proj", [8, 24, 8]],
      ] as const) {
        const values = Float32Array.from(doubles(model.parameters.group(layer + key).tensor));
        tensors.set(layer + key, [[...shape], values]);
      }
    });
    await copy.load(source);
    expect(distance(logits(copy), logits(model))).toBeLessThan(1e-5);
  });

  it("refuses unexpected, missing and misshapen tensors by name", async () => {
    using copy = createModel(tinyConfigs.v3, device);
    const attempt = (change: (tensors: Map<string, [number[], Float32Array]>) => void) =>
      copy.load(sourceOf(model, change));
    const extra = "model.layers.0.self_attn.q_proj.bias";
    await expect(attempt((t) => t.set(extra, [[1], new Float32Array(1)]))).rejects.toThrow(extra);
    await expect(attempt((t) => t.set("model.layers.7.x", [[1], new Float32Array(1)]))).rejects.toThrow(
      FormatError,
    );
    await expect(attempt((t) => t.delete("model.layers.2.eh_proj.weight"))).rejects.toThrow(/mtpLayers/);
    await expect(attempt((t) => t.delete("model.norm.weight"))).rejects.toThrow("model.norm.weight");
    await expect(attempt((t) => t.set("model.norm.weight", [[23], new Float32Array(23)]))).rejects.toThrow(
      ShapeError,
    );
  });
});

describe("on the CPU", () => {
  let device: Device;
  beforeAll(async () => {
    device = await createCpuDevice({ threads: 2 });
  });
  afterAll(async () => {
    await device[Symbol.asyncDispose]();
  });

  it("decodes past the original context of YaRN what it computes in one go", async () => {
    using model = createModel(tinyConfigs.v2Lite, device, { seed: 3, std: 0.1 });
    const [row] = tokensOf(1, 4100);
    const run = async (pieces: readonly number[]) => {
      using _scope = new Scope(device);
      using cache = model.createCache();
      let at = 0;
      let hidden: Tensor | null = null;
      for (const size of pieces) {
        hidden = model.hidden(model.ids([row.slice(at, at + size)]), { cache });
        at += size;
      }
      return model.logits(model.last(hidden!)).data();
    };
    expect(distance(await run([4000, 80, 15, 4, 1]), await run([4100]))).toBeLessThan(1e-4);
  });

  it.each(["bf16", "f16"] as const)("computes with %s weights what the reference does", async (dtype) => {
    const reference = createReferenceDevice();
    const rows = tokensOf(1, 40);
    const run = async (on: Device) => {
      using model = createModel(tinyConfigs.v3, on, { seed: 3, std: 0.1, dtype });
      using scope = new Scope(on);
      using cache = model.createCache();
      model.hidden(model.ids([rows[0].slice(0, 39)]), { cache });
      const logits = model.logits(model.hidden(model.ids([rows[0].slice(39)]), { cache }));
      expect(scope.tensors.length).toBeGreaterThan(0);
      return logits.data();
    };
    expect(distance(await run(device), await run(reference))).toBeLessThan(1e-4);
    expect(device.backend.memory().buffers).toBe(0);
  });
});
