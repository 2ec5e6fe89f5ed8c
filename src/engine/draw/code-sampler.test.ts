/** The sampler against whole sequences without caches, and against itself; fixtures hold it to the reference (`test/parity`). */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import { drawId, unconditionalIds } from "../../models/janus/generation.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { concat, reshape } from "../../tensor/ops/reshape.ts";
import { Random } from "../../tensor/random.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { type Device, disposeAll, type Tensor } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { LogitsError } from "../sampling.ts";
import { step } from "../step.ts";
import { CodeSampler, type CodeSettings, codeCacheBytes, codesOf } from "./code-sampler.ts";

const fixture = (name: string) =>
  nodeFolder(new URL(`../../../test/fixtures/${name}`, import.meta.url).pathname);
const ids = [0, 17, 33, 8, 41, 12, 61];
const padId = 2;
const LENGTH = 16;

type Settings = Partial<CodeSettings>;

const open = (model: VisionLanguageModel, settings: Settings = {}) =>
  new CodeSampler(model, { ids, padId, ...settings });

async function finish(model: VisionLanguageModel, samplers: readonly CodeSampler[]): Promise<number[][]> {
  while (samplers.some((each) => !each.finished)) await step(model.language, [], { guests: samplers });
  for (const { failure } of samplers) if (failure !== null) throw failure;
  return samplers.flatMap(({ codes }) => codes.map((each) => [...each]));
}

async function drawn(model: VisionLanguageModel, settings: Settings = {}): Promise<number[][]> {
  using sampler = open(model, settings);
  return await finish(model, [sampler]);
}

/** Codes, and the logits that each was chosen from, of one image or of several. */
async function watched(model: VisionLanguageModel, settings: Settings) {
  const shown: Tensor[] = [];
  const capture = (name: string, tensor: Tensor) => {
    if (name === "guided") shown.push(tensor);
    else tensor.dispose();
  };
  const codes = await drawn(model, { ...settings, capture });
  const logits: number[] = [];
  for (const each of shown) logits.push(...(await each.data()));
  disposeAll(shown);
  return { codes, logits };
}

/** One image by hand: whole sequences without caches, each of its rows alone. */
async function byHand(model: VisionLanguageModel, guidance: number, seed: number, index: number) {
  const { language, device } = model;
  const generation = codesOf(model);
  const width = language.config.hiddenSize;
  const stream = new Random(seed, index);
  const codes: number[] = [];
  const logits: number[] = [];
  const row = async (prompt: readonly number[]) => {
    const tokens = prompt.length + codes.length;
    using last = device.inference(() => {
      const parts = [reshape(language.embed(language.ids([prompt])), [1, prompt.length * width])];
      if (codes.length > 0) {
        const drawn = generation.embed(device.tensor(Int32Array.from(codes), [codes.length], "i32"));
        parts.push(reshape(drawn, [1, codes.length * width]));
      }
      const hidden = language.hidden(reshape(concat(parts), [1, tokens, width]));
      return generation.logits(language.rows(hidden, [tokens - 1]));
    });
    return await last.data();
  };
  while (codes.length < LENGTH) {
    const [given, free] = [await row(ids), await row(unconditionalIds(ids, padId))];
    const mixed = Float32Array.from(given, (value, i) => free[i] + guidance * (value - free[i]));
    logits.push(...mixed);
    codes.push(drawId(mixed, 1, stream.uniform()));
  }
  return { codes, logits };
}

const largest = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
};

const devices: [string, () => Promise<Device>, number][] = [
  ["reference", async () => createReferenceDevice(), 1e-5],
  ["cpu", () => cpuDevice(2, true), 2e-4],
];

describe.each(devices)("CodeSampler on %s", (name, create, bound) => {
  const onCpu = it.runIf(name === "cpu");
  let device: Device;
  let model: VisionLanguageModel;
  let buffers = 0;
  beforeAll(async () => {
    device = await create();
    model = await loadVisionModel(fixture("janus/generate"), device);
    // Rotary tables are the model's: they grow with the longest prompt.
    device.inference(() => model.language.hidden(model.language.ids([new Array(700).fill(3)]))).dispose();
    buffers = device.backend.memory().buffers;
  });
  afterEach(() => expect(device.backend.memory().buffers).toBe(buffers));
  afterAll(() => model[Symbol.dispose]());

  it.each([5, 2.5, 1, 0, -1])(
    "gives at guidance %d the logits and codes of whole sequences",
    async (guidance) => {
      const expected = await byHand(model, guidance, 7, 2);
      const found = await watched(model, { guidance, seed: 7, first: 2 });
      expect(found.codes).toEqual([expected.codes]);
      expect(largest(found.logits, expected.logits)).toBeLessThan(bound);
    },
  );

  it("draws an image alone as among others, whatever the others are", async () => {
    const all = await drawn(model, { count: 5, seed: 11 });
    expect(new Set(all.map((each) => each.join())).size).toBe(5);
    for (const first of [0, 2, 4]) expect(await drawn(model, { first, seed: 11 })).toEqual([all[first]]);
    expect(await drawn(model, { first: 1, count: 3, seed: 11 })).toEqual(all.slice(1, 4));
    expect(await drawn(model, { count: 5, seed: 12 })).not.toEqual(all);
  });

  it("draws different prompts in one pass as each alone", async () => {
    const others: Settings[] = [
      { ids: [0, 9, 61], seed: 3 },
      { ids: [0, ...Array.from({ length: 30 }, (_, i) => 5 + i), 61], count: 2, guidance: 3 },
      { ids: [0, 9, 61], guidance: 1, temperature: 0.5 },
    ];
    const alone: number[][] = [];
    for (const each of others) alone.push(...(await drawn(model, each)));
    const samplers = others.map((each) => open(model, each));
    expect(await finish(model, samplers)).toEqual(alone);
    for (const each of samplers) each[Symbol.dispose]();
  });

  onCpu("reads a long prompt in pieces", async () => {
    const long = [0, ...Array.from({ length: 600 }, (_, i) => 3 + (i % 50)), 61];
    using sampler = open(model, { ids: long });
    const rows: number[] = [];
    while (sampler.done === 0) {
      rows.push(sampler.rows()!.ids.length);
      await step(model.language, [], { guests: [sampler] });
    }
    expect(rows).toEqual([512, 512, 180]);
    const first = async (prompt: readonly number[]) => {
      using last = device.inference(() => {
        const hidden = model.language.hidden(model.language.ids([prompt]));
        return codesOf(model).logits(model.language.rows(hidden, [prompt.length - 1]));
      });
      return await last.data();
    };
    const [given, free] = [await first(long), await first(unconditionalIds(long, padId))];
    const mixed = Float32Array.from(given, (value, i) => free[i] + 5 * (value - free[i]));
    expect(sampler.codes).toEqual([[drawId(mixed, 1, new Random(0, 0).uniform())]]);
  });

  onCpu(
    "needs half the rows, half the memory and no padding token where guidance leaves one kind of row",
    async () => {
      const rows = (settings: Settings) => {
        using sampler = open(model, settings);
        return sampler.rows()!.ids;
      };
      expect(rows({})).toEqual([...ids, ...unconditionalIds(ids, padId)]);
      expect(rows({ guidance: 1, padId: null })).toEqual(ids);
      expect(rows({ guidance: 0 })).toEqual(unconditionalIds(ids, padId));
      expect(codeCacheBytes(model, { ids })).toBe(2 * codeCacheBytes(model, { ids, guidance: 1 }));
      expect(await drawn(model, { guidance: 1, padId: null, seed: 4 })).toEqual(
        await drawn(model, { guidance: 1, seed: 4 }),
      );
      // A page, two layers of 32 keys and as many values.
      expect(codeCacheBytes(model, { ids, guidance: 1, cacheDtype: "bf16" })).toBe(96 * 2 * 64 * 2);
    },
  );

  onCpu("takes as much memory as it says", async () => {
    using sampler = open(model, { count: 3 });
    const { bytes } = device.backend.memory();
    while (sampler.done === 0) await step(model.language, [], { guests: [sampler] });
    // Two of the three images' come with the first code; pages are allocated ahead while they are few.
    const needed = 2 * codeCacheBytes(model, { ids });
    const taken = device.backend.memory().bytes - bytes;
    expect(taken).toBeGreaterThanOrEqual(needed);
    expect(taken).toBeLessThan(2 * needed);
  });

  onCpu("takes the likeliest code at temperature 0, and of few codes one of them", async () => {
    const { codes, logits } = await watched(model, { temperature: 0 });
    const rows = codes[0].map((_, i) => logits.slice(i * 64, (i + 1) * 64));
    expect(codes[0]).toEqual(rows.map((row) => row.indexOf(Math.max(...row))));
    expect(await drawn(model, { topK: 1, seed: 9 })).toEqual(codes);
    expect(await drawn(model, { topP: 1e-9, seed: 9 })).toEqual(codes);
    for (let seed = 0; seed < 4; seed++) {
      const found = await watched(model, { topK: 3, seed, temperature: 4 });
      found.codes[0].forEach((code, i) => {
        const row = found.logits.slice(i * 64, (i + 1) * 64);
        expect(row.filter((each) => each > row[code]).length).toBeLessThan(3);
      });
    }
  });

  onCpu("goes on after a pass that was given up as if nothing had been", async () => {
    const expected = await drawn(model, { count: 2, seed: 5 });
    using sampler = open(model, { count: 2, seed: 5 });
    for (let pass = 0; !sampler.finished; pass++) {
      let layers = 0;
      const between = () => {
        if (++layers > pass % 3) throw new Error("enough");
        return null;
      };
      // Two layers: every third pass goes through.
      const ended = step(model.language, [], { guests: [sampler], between });
      if (pass % 3 === 2) await ended;
      else await expect(ended).rejects.toThrow("enough");
    }
    expect(sampler.codes).toEqual(expected);
  });

  onCpu("frees what it holds at any point, and decides nothing once it is gone", async () => {
    for (let passes = 0; passes < 4; passes++) {
      const sampler = open(model, { count: 3 });
      for (let i = 0; i < passes; i++) await step(model.language, [], { guests: [sampler] });
      const last = step(model.language, [], { guests: [sampler] });
      sampler[Symbol.dispose]();
      await last;
      expect(sampler.done).toBe(passes);
      expect(sampler.rows()).toBeNull();
      expect(device.backend.memory().buffers).toBe(buffers);
    }
  });

  onCpu("fails alone where logits are no numbers", async () => {
    using broken = open(model, { guidance: 1e39, seed: 2 });
    using whole = open(model, { seed: 2 });
    while (!whole.finished) await step(model.language, [], { guests: [broken, whole] });
    expect(broken.failure).toBeInstanceOf(LogitsError);
    expect(whole.codes).toEqual(await drawn(model, { seed: 2 }));
  });

  onCpu("refuses what cannot be drawn, before memory is taken", async () => {
    const { bytes } = device.backend.memory();
    const wrong: [Settings, RegExp][] = [
      [{ padId: null }, /padding token.*name: guidance; expected: 1/],
      [{ padId: 64 }, /padding token/],
      [{ ids: [0] }, /2 or more/],
      [
        { ids: new Array(2048 - 14).fill(3) },
        /exceed the model's context; .*at most 2033 tokens; found: 2034/,
      ],
      [{ ids: [0, 64, 61] }, /64/],
    ];
    for (const [settings, message] of wrong.slice(0, 4)) {
      expect(() => open(model, settings)).toThrow(message);
      expect(device.backend.memory().bytes).toBe(bytes);
    }
    using fits = open(model, { ids: new Array(2033).fill(3) });
    expect(fits.finished).toBe(false);
    using flow = await loadVisionModel(fixture("janusflow/sample"), device);
    expect(() => open(flow)).toThrow(ConfigError);
  });

  onCpu("draws with a quantized language model, bit for bit in any company", async () => {
    for (const dtype of ["q8", "q4"] as const) {
      using quantized = await loadVisionModel(fixture("janus/generate"), device, { dtype });
      const all = await watched(quantized, { count: 3, seed: 1 });
      for (const first of [0, 1, 2]) {
        const alone = await watched(quantized, { first, seed: 1 });
        expect(alone.codes).toEqual([all.codes[first]]);
        const own = Array.from({ length: LENGTH - 1 }, (_, at) => {
          const from = 64 + (at * 3 + first) * 64;
          return all.logits.slice(from, from + 64);
        });
        expect(alone.logits.slice(64)).toEqual(own.flat());
      }
      const exact = await watched(model, { seed: 1, temperature: 0 });
      const rounded = await watched(quantized, { seed: 1, temperature: 0 });
      const [a, b] = [exact.logits.slice(0, 64), rounded.logits.slice(0, 64)];
      const error = Math.hypot(...a.map((value, i) => value - b[i])) / Math.hypot(...a);
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(dtype === "q8" ? 0.1 : 0.6);
    }
  });
});
