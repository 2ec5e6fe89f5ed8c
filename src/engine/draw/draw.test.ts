/** Drawing with a loaded model: events, previews, streams, refusals, ends at any point; reconstruction. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drawingPrompt } from "../../chat/vl-prompt.ts";
import { memoryFolder } from "../../checkpoint/byte-source.ts";
import { worldTokenizer } from "../../data/world/vocabulary.ts";
import { type LoadedModel, loadFolder } from "../../pretrained/load.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { filledImage, type RgbImage } from "../../vision/image/image.ts";
import { pixelBytes } from "../../vision/pixels.ts";
import { step } from "../step.ts";
import { codesTogether } from "./code-drawing.ts";
import { CodeSampler, codesOf } from "./code-sampler.ts";
import { draw, reconstruct } from "./draw.ts";
import type { DrawRequest } from "./events.ts";
import { allEvents, imagesIn, previewsIn } from "./testing.ts";

const fixtures = new URL("../../../test/fixtures/", import.meta.url).pathname;

/** The fixture's model with words for its ids: its vocabulary has 64 rows, of which the first are control tokens. */
async function files(config = {}): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const name of ["config.json", "model.safetensors"])
    found.set(name, await readFile(`${fixtures}janus/generate/${name}`));
  const world = worldTokenizer();
  const vocab = Object.fromEntries(Object.entries(world.tokenizer.model.vocab).slice(0, 64));
  const tokenizer = { ...world.tokenizer, model: { ...world.tokenizer.model, vocab } };
  const json = { "tokenizer.json": tokenizer, "tokenizer_config.json": world.config, ...config };
  for (const [name, value] of Object.entries(json))
    found.set(name, new TextEncoder().encode(JSON.stringify(value)));
  return found;
}

let device: Device;
let model: LoadedModel;
let buffers = 0;
beforeAll(async () => {
  device = await cpuDevice(1, true);
  model = await loadFolder(memoryFolder(await files(), "janus"), { device, drawing: true });
  await events({ prompt: "" });
  buffers = device.backend.memory().buffers;
});
afterAll(() => model.dispose());

const events = (request: DrawRequest) => allEvents(draw(model, request));
const prompt = "A B";

describe("draw", () => {
  it("tells every row of every image, then the images, made of the sampler's codes", async () => {
    const found = await events({ prompt, count: 2, seed: 5, guidance: 3, temperature: 0.8 });
    expect(found.filter(({ type }) => type === "progress")).toEqual(
      [1, 2, 3, 4].flatMap((done) =>
        [0, 1].map((image) => ({ type: "progress", image, done, of: 4, unit: "row" })),
      ),
    );
    expect(found.slice(-2).map(({ type }) => type)).toEqual(["image", "image"]);
    const { drawing, tokenizer, vision } = model;
    expect(vision!.family).toBe("janus-pro");
    const ids = drawingPrompt(prompt, tokenizer!, "janus-pro");
    using sampler = new CodeSampler(drawing!.model, {
      ...{ ids, padId: 0, count: 2, seed: 5, guidance: 3, temperature: 0.8 },
    });
    while (!sampler.finished) await step(model.model, [], { guests: [sampler] });
    for (const { image, seed, picture, usage } of imagesIn(found)) {
      expect([seed, picture.width, picture.height]).toEqual([5, 16, 16]);
      expect(usage).toEqual({ promptTokens: ids.length, imageTokens: 16 });
      using codes = device.tensor(Int32Array.from(sampler.codes[image]), [1, 4, 4], "i32");
      using pixels = device.inference(() => codesOf(drawing!.model).tokenizer.decode(codes));
      expect(picture.rgb).toEqual(pixelBytes(await pixels.data()));
    }
    expect(new Set(imagesIn(found).map(({ picture }) => picture.rgb.join())).size).toBe(2);
  });

  it("draws the third of five alone as among them", async () => {
    const all = imagesIn(await events({ prompt, count: 5, seed: 9 }));
    const [third] = imagesIn(await events({ prompt, first: 2, seed: 9 }));
    expect(third).toEqual(all[2]);
    expect(all.map(({ image }) => image)).toEqual([0, 1, 2, 3, 4]);
  });

  it("previews what is drawn above gray, but not what is done", async () => {
    const found = await events({ prompt, previews: 2, seed: 1 });
    const shown = previewsIn(found);
    expect(shown.map(({ done }) => done)).toEqual([2]);
    const { rgb, width, height } = shown[0].preview;
    expect([width, height]).toEqual([16, 16]);
    const half = rgb.length / 2;
    expect(rgb.subarray(half).every((byte) => byte === 127)).toBe(true);
    expect(new Set(rgb.subarray(0, half)).size).toBeGreaterThan(10);
  });

  it("draws few at a time where memory allows no more, and the same", () => {
    const whole = model.drawing!.model;
    const bytes = whole.language.cacheTokenBytes();
    // Two rows of 7 + 15 positions, a page of 96 each.
    expect(codesTogether(whole, { ids: new Array(7).fill(3) })).toBe(Math.floor(2 ** 31 / (2 * 96 * bytes)));
  });

  it("obeys every setting", async () => {
    const base = { prompt, seed: 3 };
    const others = [
      { guidance: 1 },
      { temperature: 3 },
      { topK: 1 },
      { topP: 0.6, temperature: 5, guidance: 1 },
      { seed: 4 },
      { first: 1 },
      { prompt: "A B C" },
    ];
    const pictures = [];
    for (const change of [{}, ...others]) {
      pictures.push(imagesIn(await events({ ...base, ...change }))[0].picture.rgb.join());
    }
    expect(new Set(pictures).size).toBe(pictures.length);
  });

  it("takes the guidance that the model's makers advise, where none is asked for", async () => {
    const advice = { "generation_config.json": { guidance_scale: 1.5 } };
    await using advised = await loadFolder(memoryFolder(await files(advice), "janus"), {
      ...{ device, drawing: true },
    });
    expect(advised.generationConfig.guidanceScale).toBe(1.5);
    const drawn = async (from: LoadedModel, guidance?: number) =>
      imagesIn(await allEvents(draw(from, { prompt, seed: 4, ...(guidance !== undefined && { guidance }) })));
    expect(await drawn(advised)).toEqual(await drawn(model, 1.5));
    expect(await drawn(advised, 4)).toEqual(await drawn(model, 4));
    expect(await drawn(advised)).not.toEqual(await drawn(model));
  });

  it("ends at once where the signal says so, and where nobody listens any more", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const drawing = draw(model, { prompt, count: 2, signal: controller.signal });
    await drawing.next();
    controller.abort(reason);
    await expect(drawing.next()).rejects.toBe(reason);
    await expect(events({ prompt, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    for (const stop of [1, 3, 4, 5]) {
      let seen = 0;
      for await (const _ of draw(model, { prompt, previews: 1, seed: 2 })) if (++seen === stop) break;
    }
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("refuses at once, by name, what it cannot do", () => {
    const wrong: [Partial<DrawRequest> | Record<string, unknown>, RegExp][] = [
      [{ count: 0 }, /name: count; expected: an integer from 1 to 64; found: 0/],
      [{ count: 65 }, /name: count/],
      [{ count: 1.5 }, /name: count/],
      [{ seed: -1 }, /name: seed/],
      [{ first: 2 ** 31 }, /name: first/],
      [{ previews: -1 }, /name: previews/],
      [{ guidance: Number.NaN }, /name: guidance/],
      [{ temperature: -1 }, /name: temperature/],
      [{ topK: 0.5 }, /name: topK/],
      [{ topP: 0 }, /name: topP/],
      [{ steps: 30 }, /Janus draws without this: it is JanusFlow's; name: steps/],
      [{ solver: "euler" }, /Janus draws without this: it is JanusFlow's; name: solver/],
      [{ size: "384x384" }, /unknown field; name: size/],
      [{ prompt: 7 }, /no prompt to draw; name: prompt/],
      [{ prompt: "A".repeat(2 ** 20 + 1) }, /name: prompt/],
      [
        { prompt: "A ".repeat(3000) },
        /exceed the model's context; name: prompt; expected: at most 2033 tokens/,
      ],
    ];
    for (const [change, message] of wrong) {
      const refused = () => draw(model, { prompt, ...change } as DrawRequest);
      expect(refused).toThrow(ConfigError);
      expect(refused).toThrow(message);
    }
  });

  it("says what is missing of a model that does not draw", async () => {
    const seeing = { ...model, drawing: null };
    expect(() => draw(seeing, { prompt })).toThrow(/without what it draws with.*drawing: true/);
    const text = { ...model, drawing: null, vision: null };
    expect(() => draw(text, { prompt })).toThrow(/does not draw; expected: a model of Janus/);
    expect(() => draw({ ...model, tokenizer: null }, { prompt })).toThrow(/no tokenizer/);
    await expect(reconstruct(text, filledImage(16, 16, [1, 2, 3]))).rejects.toThrow(/does not draw/);
  });
});

describe("reconstruct", () => {
  const noise = (width: number, height: number): RgbImage => ({
    ...{ width, height },
    rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 97 + (i >> 3) * 31) % 256),
  });

  it("gives what the tokenizer makes of an image's middle", async () => {
    const image = noise(16, 16);
    const found = await reconstruct(model, image);
    const { tokenizer } = codesOf(model.drawing!.model);
    using pixels = device.tensor(
      Float32Array.from(image.rgb, (byte) => (byte / 255 - 0.5) / 0.5),
      [1, 16, 16, 3],
    );
    using decoded = device.inference(() => tokenizer.decode(tokenizer.encode(pixels)));
    expect(found).toEqual({ width: 16, height: 16, rgb: pixelBytes(await decoded.data()) });
    // The middle of a wider one.
    const wide = { width: 30, height: 16, rgb: new Uint8Array(30 * 16 * 3) };
    for (let y = 0; y < 16; y++) wide.rgb.set(image.rgb.subarray(y * 48, (y + 1) * 48), (y * 30 + 7) * 3);
    expect(await reconstruct(model, wide)).toEqual(found);
  });

  it("takes images of any size, strips of one pixel too, and stops where it is told to", async () => {
    for (const [width, height] of [
      [1, 1],
      [1, 3000],
      [7, 50],
      [40, 40],
    ]) {
      const found = await reconstruct(model, noise(width, height));
      expect([found.width, found.height]).toEqual([16, 16]);
    }
    const reason = new Error("enough");
    const stopped = reconstruct(model, noise(16, 16), { signal: AbortSignal.abort(reason) });
    await expect(stopped).rejects.toBe(reason);
    expect(device.backend.memory().buffers).toBe(buffers);
  });
});
