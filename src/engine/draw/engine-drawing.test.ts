/** Drawings in an engine: in the same passes as requests of text, with the same results as alone, and room for both. */
import { readFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { memoryFolder } from "../../checkpoint/byte-source.ts";
import { worldTokenizer } from "../../data/world/vocabulary.ts";
import { type LoadDtype, type LoadedModel, loadFolder } from "../../pretrained/load.ts";
import { ConfigError, DisposedError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { Engine } from "../engine.ts";
import { EngineFailedError, QueueFullError } from "../engine-options.ts";
import type { Generation } from "../generation.ts";
import { yieldToEventLoop } from "../yield-to-event-loop.ts";
import { draw } from "./draw.ts";
import type { DrawRequest } from "./events.ts";
import { pixelsOf } from "./testing.ts";

const folder = new URL("../../../test/fixtures/janus/generate", import.meta.url).pathname;

let device: Device;
const models: Partial<Record<LoadDtype, LoadedModel>> = {};
let buffers = 0;
beforeAll(async () => {
  device = await cpuDevice(1, true);
  const files = new Map<string, Uint8Array>();
  const put = (name: string, json: unknown) =>
    files.set(name, new TextEncoder().encode(JSON.stringify(json)));
  for (const name of ["config.json", "model.safetensors"])
    files.set(name, await readFile(`${folder}/${name}`));
  const { tokenizer, config } = worldTokenizer();
  const vocab = Object.fromEntries(Object.entries(tokenizer.model.vocab).slice(0, 64));
  put("tokenizer.json", { ...tokenizer, model: { ...tokenizer.model, vocab } });
  put("tokenizer_config.json", config);
  for (const dtype of ["f32", "q8", "q4"] as const) {
    models[dtype] = await loadFolder(memoryFolder(files, "janus"), { device, dtype, drawing: true });
    await pixelsOf(draw(models[dtype], { prompt: "" }));
  }
  buffers = device.backend.memory().buffers;
});
afterEach(() => expect(device.backend.memory().buffers).toBe(buffers));
afterAll(async () => {
  for (const each of Object.values(models)) await each.dispose();
});

async function tokens(generation: Generation): Promise<number[]> {
  const found: number[] = [];
  for await (const { id } of generation) found.push(id);
  return found;
}

const request: DrawRequest = { prompt: "A B", seed: 4, count: 2 };
const text = (seed: number, maxTokens = 24) => ({
  ...{ prompt: [1, 9, 20, 30 + seed], maxTokens, temperature: 1, seed, stopIds: [] },
});

describe.each(["f32", "q8", "q4"] as const)("with a language model in %s", (dtype) => {
  it("draws and answers in the same passes what each gets alone", async () => {
    const loaded = models[dtype]!;
    const { model } = loaded;
    const alone = await pixelsOf(draw(loaded, request));
    const other = await pixelsOf(draw(loaded, { ...request, prompt: "C", guidance: 1 }));
    await using single = new Engine(model);
    const answers: number[][] = [];
    for (const seed of [1, 2]) answers.push(await tokens(single.submit(text(seed))));
    const before = single.metrics().steps;

    await using engine = new Engine(model);
    const [drawn, second, ...spoken] = await Promise.all([
      pixelsOf(draw(loaded, request, { engine })),
      pixelsOf(draw(loaded, { ...request, prompt: "C", guidance: 1 }, { engine })),
      ...[1, 2].map((seed) => tokens(engine.submit(text(seed)))),
    ]);
    expect(drawn).toEqual(alone);
    expect(second).toEqual(other);
    expect(spoken).toEqual(answers);
    // One pass for the prompts, and one for each of 16 codes or 24 tokens: alone they are 2 x 16 and 2 x 24.
    const { steps, batchRows, guests } = engine.metrics();
    expect(before).toBe(48);
    expect(steps).toBeGreaterThanOrEqual(24);
    expect(steps).toBeLessThan(34);
    expect(batchRows).toBeGreaterThan(2 * 24 + 15 * 4);
    expect(guests).toBe(0);
  });
});

describe("an engine with drawings", () => {
  const q8 = () => models.q8!;

  it("lets an answer begin and end while an image is drawn", async () => {
    await using engine = new Engine(q8().model);
    const order: string[] = [];
    const drawing = (async () => {
      for await (const event of draw(q8(), { ...request, count: 1 }, { engine })) {
        order.push(event.type === "progress" ? `row ${event.done}` : "image");
        if (event.type !== "progress" || event.done !== 1) continue;
        void tokens(engine.submit(text(1, 3))).then(() => order.push("answer"));
      }
    })();
    await drawing;
    expect(order.filter((each) => each !== "answer")).toEqual(["row 1", "row 2", "row 3", "row 4", "image"]);
    expect(order.indexOf("answer")).toBeGreaterThan(0);
    expect(order.indexOf("answer")).toBeLessThan(4);
  });

  it("draws few images at a time, so that others have rows and tokens too", async () => {
    await using engine = new Engine(q8().model, { maxBatch: 8 });
    const five = { ...request, count: 5 };
    const most: number[] = [];
    const events = draw(q8(), five, { engine });
    const found: Uint8Array[] = [];
    for await (const event of events) {
      most.push(engine.metrics().guests);
      if (event.type === "image") found.push(event.picture.rgb);
    }
    expect(found).toEqual(await pixelsOf(draw(q8(), five)));
    expect(Math.max(...most)).toBe(1);
    // Two images of two rows each share a pass: 3 times a pass of the prompt and 15 of codes.
    expect(engine.metrics().steps).toBe(3 * 16);
  });

  it("starts the oldest first, whether it speaks or draws", async () => {
    await using engine = new Engine(q8().model, { maxBatch: 2 });
    const order: string[] = [];
    const note = async (name: string, work: Promise<unknown>) => {
      await work;
      order.push(name);
    };
    const small = { ...request, count: 1 };
    await Promise.all([
      note("a", tokens(engine.submit(text(1, 30)))),
      note("first", pixelsOf(draw(q8(), small, { engine }))),
      note("b", tokens(engine.submit(text(2, 2)))),
      note("second", pixelsOf(draw(q8(), small, { engine }))),
    ]);
    expect(order).toEqual(["a", "first", "b", "second"]);
  });

  it("keeps a drawing's tokens for it, and lets an answer wait that would need them", async () => {
    // A drawing of one image takes 2 x (10 + 15) tokens.
    await using engine = new Engine(q8().model, { cacheTokens: 100 });
    const alone = await pixelsOf(draw(q8(), { ...request, count: 1 }));
    const long = text(1, 90);
    await using single = new Engine(q8().model);
    const answer = await tokens(single.submit(long));
    const drawn = pixelsOf(draw(q8(), { ...request, count: 1 }, { engine }));
    expect(await tokens(engine.submit(long))).toEqual(answer);
    expect(await drawn).toEqual(alone);
    await using tiny = new Engine(q8().model, { cacheTokens: 40 });
    const refused = () => draw(q8(), { ...request, count: 1 }, { engine: tiny });
    expect(refused).toThrow(/a guest exceeds the engine's cache.*found: 50 in 2 rows/);
  });

  it("gives a drawing's room back where it is stopped or left, and goes on", async () => {
    await using engine = new Engine(q8().model);
    const reason = new Error("enough");
    for (const stop of ["abort", "leave"] as const) {
      const controller = new AbortController();
      const events = draw(q8(), { ...request, signal: controller.signal }, { engine });
      await events.next();
      expect(engine.metrics().guests).toBe(1);
      const spoken = tokens(engine.submit(text(1)));
      if (stop === "leave") await events.return();
      else {
        const next = events.next();
        controller.abort(reason);
        // What was told before is read first.
        await next.catch(() => {});
        await expect(
          (async () => {
            for await (const _ of events);
            throw reason;
          })(),
        ).rejects.toBe(reason);
      }
      expect(engine.metrics().guests).toBe(0);
      expect(await spoken).toHaveLength(24);
    }
  });

  it("stops a drawing that waits for room", async () => {
    await using engine = new Engine(q8().model, { maxBatch: 1, maxQueue: 2 });
    // More text than is written while the test looks on, on any machine; it is stopped when all is seen.
    const speaking = new AbortController();
    const spoken = tokens(engine.submit({ ...text(1, 1900), signal: speaking.signal }));
    const controller = new AbortController();
    const waiting = draw(q8(), { ...request, signal: controller.signal }, { engine }).next();
    const waits = async (count: number) => {
      while (engine.metrics().waiting < count) await yieldToEventLoop();
    };
    await waits(1);
    const other = draw(q8(), request, { engine });
    const first = other.next();
    await waits(2);
    expect(() => draw(q8(), request, { engine })).toThrow(QueueFullError);
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    speaking.abort();
    expect((await spoken).length).toBeLessThan(1900);
    await first;
    await other.return();
  });

  it("begins a drawing anew when weights change", async () => {
    await using engine = new Engine(q8().model);
    const events = draw(q8(), { ...request, count: 1 }, { engine });
    const rows: number[] = [];
    let drawn: Uint8Array | null = null;
    for await (const event of events) {
      if (event.type === "image") drawn = event.picture.rgb;
      else {
        rows.push(event.done);
        if (rows.length === 2) await engine.changeWeights(() => {});
      }
    }
    expect(rows).toEqual([1, 2, 1, 2, 3, 4]);
    expect([drawn]).toEqual(await pixelsOf(draw(q8(), { ...request, count: 1 })));
  });

  it("ends drawings with itself, also where a step fails", async () => {
    const engine = new Engine(q8().model);
    const events = draw(q8(), request, { engine });
    await events.next();
    const next = (async () => {
      for await (const _ of events);
    })();
    await engine[Symbol.asyncDispose]();
    await expect(next).rejects.toThrow(DisposedError);
    expect(() => draw(q8(), request, { engine })).toThrow(DisposedError);

    const failing = new Engine(q8().model);
    const place = failing.place();
    using _room = await place.enter({ rows: 1, tokens: 1 });
    const guest = {
      rows: () => {
        throw new Error("no memory");
      },
      take: () => {},
      decide: async () => {},
      restart: () => {},
    };
    await expect(place.pass(guest)).rejects.toThrow(EngineFailedError);
    expect(() => draw(q8(), request, { engine: failing })).toThrow(EngineFailedError);
    await failing[Symbol.asyncDispose]();
  });

  it("refuses to draw with another model than it runs", async () => {
    await using engine = new Engine(models.q4!.model);
    expect(() => draw(q8(), request, { engine })).toThrow(ConfigError);
    expect(() => draw(q8(), request, { engine })).toThrow("runs another model");
  });
});
