/** The sampler against velocities over whole sequences, which fixtures hold to the reference. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import { flowVelocity } from "../../models/janusflow/velocity.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import { concat, reshape } from "../../tensor/ops/reshape.ts";
import { Random } from "../../tensor/random.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { type Device, disposeAll, type Tensor } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import type { Guest } from "../guests.ts";
import { FlowSampler, type FlowSettings, flowLatentSide, flowRoom, ownPasses } from "./flow-sampler.ts";

const fixture = new URL("../../../test/fixtures/janusflow/sample", import.meta.url).pathname;
const ids = [0, 17, 33, 8, 41, 12, 61];

const devices: [string, () => Promise<Device>, number][] = [
  ["reference", async () => createReferenceDevice(), 2e-6],
  ["cpu", () => cpuDevice(2, true), 5e-5],
];

describe.each(devices)("FlowSampler on %s", (name, create, bound) => {
  let device: Device;
  let model: VisionLanguageModel;
  let buffers = 0;
  beforeAll(async () => {
    device = await create();
    model = await loadVisionModel(nodeFolder(fixture), device);
    buffers = device.backend.memory().buffers;
  });
  afterEach(() => {
    // Rotary tables are the model's.
    expect(device.backend.memory().buffers - buffers).toBeLessThanOrEqual(2);
  });
  afterAll(() => model[Symbol.dispose]());

  function noise(images: number, seed = 1): Tensor {
    const random = new Random(seed);
    const values = Float32Array.from({ length: images * 8 * 8 * 4 }, () => random.normal());
    return device.tensor(values, [images, 8, 8, 4]);
  }

  const open = (settings: Partial<FlowSettings> = {}) => FlowSampler.prepare(model, { ids, ...settings });

  /** The guided velocity without caches, from halves with and without the condition that each have an encoder pass. */
  async function uncached(latents: Tensor, time: number, guidance: number): Promise<Float64Array> {
    const [B] = latents.shape;
    const both = device.inference(() =>
      reshape(concat([latents, latents].map((each) => reshape(each, [1, each.size]))), [2 * B, 8, 8, 4]),
    );
    const prompts = Array.from({ length: 2 * B }, (_, i) => ({ ids, dropped: i >= B }));
    const times = prompts.map(() => time);
    const velocity = device.inference(() => flowVelocity(model, both, times, prompts).velocity);
    const values = await velocity.data();
    disposeAll([both, velocity]);
    const half = values.length / 2;
    return Float64Array.from(
      { length: half },
      (_, i) => guidance * values[i] + (1 - guidance) * values[half + i],
    );
  }

  const largest = (a: ArrayLike<number>, b: ArrayLike<number>) => {
    expect(a.length).toBe(b.length);
    return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  };
  it("draws latents of the grid that the tower sees", () => expect(flowLatentSide(model)).toBe(8));

  it.each([2, 3.5, 1, 0])("gives at guidance %d the velocities of whole sequences", async (guidance) => {
    using sampler = await open({ guidance, steps: 5 });
    let z = noise(2);
    for (let k = 0; k < 5; k++) {
      const expected = await uncached(z, k / 5, guidance);
      const next = await sampler.step(z, k);
      expect(largest(await next.velocity.data(), expected)).toBeLessThan(bound);
      const [before, after] = [await z.data(), await next.latents.data()];
      expect(
        largest(
          after,
          before.map((value, i) => value + expected[i] / 5),
        ),
      ).toBeLessThan(bound);
      expect(next.time).toBeCloseTo((k + 1) / 5, 12);
      disposeAll([z, next.velocity]);
      z = next.latents;
    }
    z.dispose();
  });

  it("leaves out the row that guidance 1 gives no weight", async () => {
    using single = await open({ guidance: 1 });
    using pair = await open({ guidance: 2 });
    const room = (guidance: number) => flowRoom(model, { ids, guidance });
    expect(room(1)).toEqual({ rows: 17, tokens: ids.length - 1 + 17 });
    expect(room(0)).toEqual({ rows: 17, tokens: 1 + 17 });
    expect(room(2)).toEqual({ rows: 34, tokens: ids.length + 34 });
    using z = noise(1);
    const rows: number[] = [];
    for (const sampler of [single, pair]) {
      const passes = {
        ...ownPasses(model),
        pass: (guest: Guest) => {
          rows.push(guest.rows()!.ids.length);
          return ownPasses(model).pass(guest);
        },
      };
      (await sampler.velocity(z, 0, passes)).dispose();
    }
    expect(rows).toEqual([17, 34]);
  });

  it("takes one step of the whole way", async () => {
    using sampler = await open({ steps: 1 });
    using z = noise(1);
    const { latents, velocity, time } = await sampler.step(z, 0);
    const expected = await uncached(z, 0, 2);
    const start = await z.data();
    expect(time).toBe(1);
    expect(
      largest(
        await latents.data(),
        start.map((value, i) => value + expected[i]),
      ),
    ).toBeLessThan(bound);
    disposeAll([latents, velocity]);
  });

  it("takes the velocity in the middle of each step with the midpoint solver", async () => {
    using sampler = await open({ solver: "midpoint", steps: 2, guidance: 1.5 });
    using z = noise(1);
    const start = await z.data();
    const first = await uncached(z, 0.5, 1.5);
    using middle = device.tensor(
      start.map((value, i) => value + first[i] / 4),
      z.shape,
    );
    const second = await uncached(middle, 0.75, 1.5);
    const { latents, velocity, time } = await sampler.step(z, 1);
    expect(time).toBe(1);
    expect(largest(await velocity.data(), second)).toBeLessThan(bound);
    expect(
      largest(
        await latents.data(),
        start.map((value, i) => value + second[i] / 2),
      ),
    ).toBeLessThan(bound);
    disposeAll([latents, velocity]);
  });

  it("draws an image in a batch as it does alone", async () => {
    using sampler = await open({ steps: 3 });
    using batch = noise(3);
    using together = await sampler.velocity(batch, 1);
    for (let i = 0; i < 3; i++) {
      using alone = device.tensor((await batch.data()).slice(i * 256, (i + 1) * 256), [1, 8, 8, 4]);
      using velocity = await sampler.velocity(alone, 1);
      const own = (await together.data()).slice(i * 256, (i + 1) * 256);
      expect(await velocity.data()).toEqual(own);
    }
  });

  it("stops between layers, and goes on as if nothing had been", async () => {
    using sampler = await open({ steps: 2 });
    using z = noise(2);
    using expected = await sampler.velocity(z, 1);
    const { buffers } = device.backend.memory();
    let turns = 0;
    await sampler
      .velocity(
        z,
        1,
        ownPasses(model, () => {
          turns++;
          return null;
        }),
      )
      .then((velocity) => velocity.dispose());
    // Before the encoder, each layer, and the decoder of each row.
    expect(turns).toBe(1 + model.config.language.layers + 2);
    for (let at = 1; at <= turns; at++) {
      let count = 0;
      const passes = ownPasses(model, () => {
        if (++count === at) throw new Error(`enough at ${at}`);
        return null;
      });
      const stopped = sampler.velocity(z, 0, passes);
      await expect(stopped).rejects.toThrow(`enough at ${at}`);
    }
    expect(device.backend.memory().buffers).toBe(buffers);
    using again = await sampler.velocity(z, 1);
    expect(await again.raw()).toEqual(await expected.raw());
  });

  it("frees what a preparation that was given up had made", async () => {
    const { buffers } = device.backend.memory();
    for (let at = 1; at <= 2 * model.config.language.layers; at++) {
      let count = 0;
      const passes = ownPasses(model, () => {
        if (++count === at) throw new Error("enough");
        return null;
      });
      const stopped = FlowSampler.prepare(model, { ids }, passes);
      await expect(stopped).rejects.toThrow("enough");
    }
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("refuses what it cannot draw", async () => {
    const wrong: [Partial<FlowSettings>, RegExp][] = [
      [{ steps: 0 }, /name: steps; expected: a whole number, 1 to 1000; found: 0/],
      [{ steps: 2.5 }, /name: steps/],
      [{ steps: 1001 }, /name: steps/],
      [{ guidance: Number.NaN }, /name: guidance/],
      [{ solver: "heun" as never }, /name: solver; expected: euler or midpoint; found: heun/],
      [{ solver: "toString" as never }, /name: solver; expected: euler or midpoint; found: toString/],
      [{ ids: [0] }, /name: ids/],
      [
        { ids: new Array(2048 - 17 + 2).fill(3) },
        /exceed the model's context; name: prompt; expected: at most 2032 tokens; found: 2033/,
      ],
    ];
    for (const [settings, message] of wrong) {
      const refused = open(settings);
      await expect(refused).rejects.toThrow(ConfigError);
      await expect(refused).rejects.toThrow(message);
    }
    using sampler = await open({ steps: 1 });
    using small = device.zeros([1, 6, 8, 4]);
    await expect(sampler.velocity(small, 0)).rejects.toThrow(ShapeError);
  });

  it.runIf(name === "cpu")("comes near with a quantized language model", async () => {
    using quantized = await loadVisionModel(nodeFolder(fixture), device, { dtype: "q8" });
    using z = noise(1);
    const settings = { ids, steps: 2 };
    using sampler = await FlowSampler.prepare(quantized, settings);
    using exact = await FlowSampler.prepare(model, settings);
    using found = await sampler.velocity(z, 1);
    using expected = await exact.velocity(z, 1);
    const [a, b] = [await found.data(), await expected.data()];
    const power = Math.hypot(...b);
    const error = Math.hypot(...Array.from(a, (value, i) => value - b[i]));
    expect(error / power).toBeLessThan(0.05);
    expect(error).toBeGreaterThan(0);
  });
});
