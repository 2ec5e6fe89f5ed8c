/** Drawing with the fixtures' model and autoencoder: what is told when, the same image alone, and ends at any point. */
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { allocateModule } from "../../nn/scope.ts";
import { ShapeError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { type Device, disposeAll } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { pixelBytes } from "../../vision/pixels.ts";
import { VaeModel } from "../../vision/vae.ts";
import type { DrawRequest } from "./events.ts";
import { drawFlow, flowImageSide, flowNoise, reconstructVae } from "./flow-drawing.ts";
import { FlowSampler } from "./flow-sampler.ts";
import { allEvents, imagesIn, previewsIn } from "./testing.ts";
import { inTurns } from "./turns.ts";

const fixture = (name: string) =>
  nodeFolder(new URL(`../../../test/fixtures/janusflow/${name}`, import.meta.url).pathname);
const ids = [0, 17, 33, 8, 41, 12, 61];

let device: Device;
let model: VisionLanguageModel;
let vae: VaeModel;
let buffers = 0;
beforeAll(async () => {
  device = await cpuDevice(1, true);
  model = await loadVisionModel(fixture("sample"), device);
  const config = { latentChannels: 4, widths: [4, 8], blocks: 1, groups: 4, scalingFactor: 0.13 };
  vae = allocateModule(device, "f32", (scope) => new VaeModel(scope, config));
  vae.parameters.initialize(new Random(1), 0.3);
  // Rotary tables are the model's: they are made at its first pass.
  (await FlowSampler.prepare(model, { ids }))[Symbol.dispose]();
  buffers = device.backend.memory().buffers;
});
afterEach(() => expect(device.backend.memory().buffers).toBe(buffers));

const draw = (request: Omit<DrawRequest, "prompt">) => drawFlow(model, vae, ids, request);

const events = (request: Omit<DrawRequest, "prompt">) => allEvents(draw(request));

/** The picture of a seed and an index, by hand: its latents after so many steps, and the last velocity. */
async function byHand(seed: number, image: number, steps: number, at = steps) {
  using sampler = await FlowSampler.prepare(model, { ids, steps });
  let z = flowNoise(device, seed, image, [1, 8, 8, 4]);
  let goal = z;
  for (let k = 0; k < at; k++) {
    const next = await sampler.step(z, k);
    const [values, velocity] = [await next.latents.data(), await next.velocity.data()];
    disposeAll([z, goal, next.velocity]);
    z = next.latents;
    const far = values.map((value, i) => Math.fround(value + Math.fround(1 - next.time) * velocity[i]));
    goal = device.tensor(far, z.shape);
  }
  using pixels = device.inference(() => vae.decode(goal));
  disposeAll([z, goal]);
  return pixelBytes(await pixels.data());
}

describe("drawFlow", () => {
  it("tells every step of every image, then the images, as they come by hand", async () => {
    const found = await events({ count: 2, seed: 5, steps: 3 });
    expect(found.filter(({ type }) => type === "progress")).toEqual(
      [1, 2, 3].flatMap((done) =>
        [0, 1].map((image) => ({ type: "progress", image, done, of: 3, unit: "step" })),
      ),
    );
    const drawn = imagesIn(found);
    expect(drawn.map(({ image, seed }) => [image, seed])).toEqual([
      [0, 5],
      [1, 5],
    ]);
    expect(flowImageSide(model, vae)).toBe(16);
    for (const { image, picture, usage } of drawn) {
      expect(usage).toEqual({ promptTokens: 7, imageTokens: 16 });
      expect([picture.width, picture.height]).toEqual([16, 16]);
      expect(picture.rgb).toEqual(await byHand(5, image, 3));
    }
    expect(drawn[0].picture.rgb).not.toEqual(drawn[1].picture.rgb);
  });

  it("draws an image alone as among others, however many share a pass", async () => {
    // 34 positions each: 33 of them in one pass, then the rest.
    const all = imagesIn(await events({ count: 35, steps: 1, seed: 2 ** 40 + 3 }));
    expect(all.map(({ image }) => image)).toEqual(Array.from({ length: 35 }, (_, i) => i));
    for (const first of [0, 32, 33, 34]) {
      const [alone] = imagesIn(await events({ first, steps: 1, seed: 2 ** 40 + 3 }));
      expect(alone.image).toBe(first);
      expect(alone.picture).toEqual(all[first].picture);
    }
  });

  it("previews where the velocity leads, but not what is done", async () => {
    const found = await events({ steps: 4, previews: 2, seed: 1 });
    const shown = previewsIn(found);
    expect(shown.map(({ done }) => done)).toEqual([2]);
    const expected = await byHand(1, 0, 4, 2);
    const preview = shown[0].preview;
    expect([preview.width, preview.height]).toEqual([16, 16]);
    // The two extrapolations round differently.
    const off = preview.rgb.filter((value, i) => Math.abs(value - expected[i]) > 1);
    expect(off.length).toBe(0);
  });

  it("obeys guidance, steps and solver", async () => {
    const base = { steps: 2, seed: 3 };
    const others = [{ guidance: 5 }, { steps: 4 }, { solver: "midpoint" as const }, { seed: 4 }];
    const pictures = [];
    for (const change of [{}, ...others]) {
      pictures.push(imagesIn(await events({ ...base, ...change }))[0].picture.rgb.join());
    }
    expect(new Set(pictures).size).toBe(pictures.length);
  });

  it("ends at once where the signal says so, and where nobody listens any more", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const drawing = draw({ count: 2, steps: 50, signal: controller.signal });
    await drawing.next();
    controller.abort(reason);
    await expect(drawing.next()).rejects.toBe(reason);
    await expect(events({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    for (const stop of [1, 2, 3]) {
      let seen = 0;
      for await (const _ of draw({ steps: 2, previews: 1 })) if (++seen === stop) break;
    }
  });

  it("refuses an autoencoder of other latents", async () => {
    const config = { ...vae.config, latentChannels: 16 };
    using other = allocateModule(device, "f32", (scope) => new VaeModel(scope, config));
    expect(() => drawFlow(model, other, ids, {})).toThrow(ShapeError);
    expect(() => drawFlow(model, other, ids, {})).toThrow(/latent_channels; expected: 4; found: 16/);
  });
});

describe("reconstructVae", () => {
  it("decodes the mean of an image's latents", async () => {
    const values = Float32Array.from({ length: 16 * 24 * 3 }, (_, i) => Math.sin(i));
    using pixels = device.tensor(values, [1, 16, 24, 3]);
    const found = await reconstructVae(vae, pixels, () => null);
    expect([found.width, found.height]).toEqual([24, 16]);
    using moments = await inTurns(vae.momentsByConv(pixels), () => null);
    const all = await moments.data();
    const mean = Float32Array.from({ length: all.length / 2 }, (_, i) => {
      return Math.fround(all[Math.floor(i / 4) * 8 + (i % 4)] * 0.13);
    });
    using latents = device.tensor(mean, [1, 8, 12, 4]);
    using decoded = device.inference(() => vae.decode(latents));
    expect(found.rgb).toEqual(pixelBytes(await decoded.data()));
  });
});
