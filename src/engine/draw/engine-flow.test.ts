/** Drawings with JanusFlow in an engine: in shared passes with the pictures that each gets alone, beside texts, with room for both. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { memoryFolder } from "../../checkpoint/byte-source.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { type LoadDtype, type LoadedModel, loadFolder } from "../../pretrained/load.ts";
import { DisposedError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { Engine } from "../engine.ts";
import type { Generation } from "../generation.ts";
import { LONG_PASS_ROWS } from "../long-passes.ts";
import { draw } from "./draw.ts";
import type { DrawRequest } from "./events.ts";
import { flowTokens } from "./flow-sampler.ts";
import { pixelsOf } from "./testing.ts";

let device: Device;
const models: Partial<Record<LoadDtype, LoadedModel>> = {};
let buffers = 0;
beforeAll(async () => {
  device = await cpuDevice(1, true);
  const files = await worldCheckpoint("janusflow", device);
  for (const dtype of ["f32", "q8"] as const) {
    models[dtype] = await loadFolder(memoryFolder(files, "janusflow"), { device, dtype, drawing: true });
    await pixelsOf(draw(models[dtype], { prompt: "a red ring", steps: 1 }));
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

/** Counts passes of the language model over many rows, with the rows of each. */
function watched(model: VisionLanguageModel): { readonly rows: number[]; [Symbol.dispose](): void } {
  const { language } = model;
  const whole = language.hiddenByLayer;
  const rows: number[] = [];
  language.hiddenByLayer = function (input, ...rest) {
    // Prompts are read apart, as ids.
    if (input.shape.length === 3) rows.push(input.shape[1]);
    return whole.call(this, input, ...rest);
  };
  return { rows, [Symbol.dispose]: () => void (language.hiddenByLayer = whole) };
}

const requests: readonly DrawRequest[] = [
  { prompt: "a red ring left of a blue cross", seed: 4, count: 2, steps: 4 },
  { prompt: "a green square", seed: 5, steps: 6, guidance: 1 },
  { prompt: "a blue cross", seed: 6, steps: 3, solver: "midpoint", guidance: 3 },
];
const text = (seed: number, maxTokens = 24) => ({
  ...{ prompt: [1, 9, 20, 30 + seed], maxTokens, temperature: 1, seed, stopIds: [] },
});

describe.each(["f32", "q8"] as const)("with a language model in %s", (dtype) => {
  it("gives requests in shared passes, and answers beside them, what each gets alone", async () => {
    const loaded = models[dtype]!;
    const alone: Uint8Array[][] = [];
    for (const request of requests) alone.push(await pixelsOf(draw(loaded, request)));
    await using single = new Engine(loaded.model);
    const answer = await tokens(single.submit(text(1)));
    const whole = loaded.drawing!.model;
    using passes = watched(whole);
    await using engine = new Engine(loaded.model);
    const [spoken, ...drawn] = await Promise.all([
      tokens(engine.submit(text(1))),
      ...requests.map((request) => pixelsOf(draw(loaded, request, { engine }))),
    ]);
    expect(drawn).toEqual(alone);
    expect(spoken).toEqual(answer);
    // One image has 1 + N rows, two under guidance: of 4, 6 and 6 evaluations four are shared by all.
    const own = 1 + flowTokens(whole);
    const all = [4 * own, own, 2 * own];
    expect(passes.rows.reduce((sum, rows) => sum + rows, 0)).toBe(4 * all[0] + 6 * all[1] + 6 * all[2]);
    expect(passes.rows.length).toBeLessThan(4 + 6 + 6);
    expect(passes.rows.filter((rows) => rows === 7 * own).length).toBeGreaterThanOrEqual(3);
  });
});

describe("an engine with drawings of JanusFlow", () => {
  const q8 = () => models.q8!;
  const [request] = requests;

  it("writes tokens of an answer between the layers of a pass", async () => {
    await using engine = new Engine(q8().model);
    const order: string[] = [];
    const drawing = (async () => {
      for await (const event of draw(q8(), { ...request, count: 1, steps: 8 }, { engine })) {
        order.push(event.type === "progress" ? `step ${event.done}` : "image");
        if (event.type !== "progress" || event.done !== 1) continue;
        void tokens(engine.submit(text(1, 3))).then(() => order.push("answer"));
      }
    })();
    await drawing;
    // A pass has more layers than the answer has tokens, if few.
    expect(order.indexOf("answer")).toBeGreaterThan(0);
    expect(order.indexOf("answer")).toBeLessThan(5);
  });

  it("lets requests wait whose rows do not fit beside those that are drawn", async () => {
    const own = 2 * (1 + flowTokens(q8().drawing!.model));
    const most = Math.floor(LONG_PASS_ROWS / own / 2);
    await using engine = new Engine(q8().model);
    using passes = watched(q8().drawing!.model);
    const many = { ...request, count: 64, steps: 1 };
    const drawn = await Promise.all(
      [1, 2, 3].map((seed) => pixelsOf(draw(q8(), { ...many, seed }, { engine }))),
    );
    expect(drawn.map(({ length }) => length)).toEqual([64, 64, 64]);
    expect(Math.max(...passes.rows)).toBeLessThanOrEqual(LONG_PASS_ROWS);
    // One has half of a pass at most.
    expect(Math.max(...passes.rows)).toBe(2 * most * own);
    const [, second] = await pixelsOf(draw(q8(), { ...many, count: 2, seed: 2 }));
    expect(drawn[1][1]).toEqual(second);
  });

  it("keeps tokens of its caches for a drawing, and lets an answer wait that would need them", async () => {
    const { drawing } = q8();
    const alone = await pixelsOf(draw(q8(), { ...request, count: 1 }));
    await using engine = new Engine(q8().model, { cacheTokens: 100 });
    const events = draw(q8(), { ...request, count: 1 }, { engine });
    await events.next();
    const { cacheTokens, guests } = engine.metrics();
    expect(guests).toBe(1);
    expect(cacheTokens).toBeGreaterThan(2 * (1 + flowTokens(drawing!.model)));
    const spoken = tokens(engine.submit(text(1, 90)));
    expect(await pixelsOf(events)).toEqual(alone);
    expect(await spoken).toHaveLength(90);
    await using tiny = new Engine(q8().model, { cacheTokens: 20 });
    expect(() => draw(q8(), request, { engine: tiny })).toThrow(/a guest exceeds the engine's cache/);
  });

  it("ends one of those that share passes at once, and the others go on", async () => {
    await using engine = new Engine(q8().model);
    const [alone] = await pixelsOf(draw(q8(), { ...request, count: 1, steps: 12 }));
    const reason = new Error("enough");
    for (const stop of ["abort", "leave"] as const) {
      const controller = new AbortController();
      const left = draw(q8(), { ...request, steps: 1000, signal: controller.signal }, { engine });
      await left.next();
      const other = pixelsOf(draw(q8(), { ...request, count: 1, steps: 12 }, { engine }));
      for (let i = 0; i < 4; i++) await left.next();
      if (stop === "leave") await left.return();
      else {
        const ended = (async () => {
          for await (const _ of left);
        })();
        controller.abort(reason);
        await expect(ended).rejects.toBe(reason);
      }
      expect(await other).toEqual([alone]);
      expect(engine.metrics().guests).toBe(0);
    }
    // Those that wait for a seat, too.
    const rows = 2 * (1 + flowTokens(q8().drawing!.model));
    const most = Math.floor(LONG_PASS_ROWS / rows / 2);
    const held = [1, 2].map((seed) => draw(q8(), { ...request, count: most, steps: 1000, seed }, { engine }));
    for (const each of held) await each.next();
    const controller = new AbortController();
    const waiting = draw(q8(), { ...request, signal: controller.signal }, { engine }).next();
    while (engine.metrics().waiting < 1) await new Promise((resolve) => setTimeout(resolve, 1));
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(engine.metrics().waiting).toBe(0);
    for (const each of held) await each.return();
  });

  it("begins drawings anew when weights change", async () => {
    await using engine = new Engine(q8().model);
    const events = draw(q8(), { ...request, count: 1 }, { engine });
    const steps: number[] = [];
    let drawn: Uint8Array | null = null;
    for await (const event of events) {
      if (event.type === "image") drawn = event.picture.rgb;
      else {
        steps.push(event.done);
        if (steps.length === 2) await engine.changeWeights(() => {});
      }
    }
    expect(steps).toEqual([1, 2, 1, 2, 3, 4]);
    expect([drawn]).toEqual(await pixelsOf(draw(q8(), { ...request, count: 1 })));
    // In the middle of a pass as well.
    const again = pixelsOf(draw(q8(), { ...request, count: 1 }, { engine }));
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      await engine.changeWeights(() => {});
    }
    expect(await again).toEqual([drawn]);
  });

  it("ends drawings with itself", async () => {
    const engine = new Engine(q8().model);
    const events = draw(q8(), { ...request, steps: 1000 }, { engine });
    await events.next();
    const ended = expect(pixelsOf(events)).rejects.toThrow(DisposedError);
    await engine[Symbol.asyncDispose]();
    await ended;
    expect(() => draw(q8(), request, { engine })).toThrow(DisposedError);
  });
});
