/** Losses of tokenizers and autoencoders against plain loops over what the reference classes recorded, and finite differences. */
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { modelWeights } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { ConfigReader } from "../../models/config-reader.ts";
import { readTokenizer } from "../../models/janus/config.ts";
import { allocateModule } from "../../nn/scope.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { Random } from "../../tensor/random.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { differentiate } from "../../tensor/tape.ts";
import { type Device, disposeAll } from "../../tensor/tensor.ts";
import { checkGradients, doubles } from "../../tensor/testing.ts";
import { SiglipTower } from "../../vision/siglip.ts";
import type { SiglipConfig } from "../../vision/tower-config.ts";
import { VaeModel } from "../../vision/vae.ts";
import { VqTokenizer } from "../../vision/vq.ts";
import { Trainer } from "../trainer.ts";
import {
  autoencoderObjective,
  featureLoss,
  normalDivergence,
  tokenizerObjective,
  variedPatches,
} from "./autoencoder.ts";
import { channelsLast, recordedTensors } from "./testing.ts";

const device = createReferenceDevice();
const cpu = await createCpuDevice({ threads: 1 });
afterAll(() => Promise.all([device, cpu].map((each) => each[Symbol.asyncDispose]())));

const TOWER: SiglipConfig = {
  ...{ kind: "siglip", imageSize: 8, patchSize: 4, width: 6, layers: 3, heads: 2, mlpWidth: 10 },
  ...{ activation: "gelu", pool: false },
};

function towerOn(device: Device): SiglipTower {
  const tower = allocateModule(device, "f32", (scope) => new SiglipTower(scope, TOWER));
  tower.parameters.initialize(new Random(3), 0.4);
  tower.parameters.freeze(() => true);
  return tower;
}

const waves = (count: number, phase: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(1.3 * i + phase));

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const pairs = (a: ArrayLike<number>, b: ArrayLike<number>, each: (x: number, y: number) => number) =>
  mean(Array.from(a, (x, i) => each(x, b[i])));
const squares = (a: ArrayLike<number>, b: ArrayLike<number>) => pairs(a, b, (x, y) => (x - y) ** 2);

async function recordedTokenizer() {
  const folder = "test/fixtures/janus/vq";
  const tree = nodeFolder(folder);
  const json = JSON.parse(await tree.readText("config.json"));
  const config = readTokenizer(new ConfigReader(json).section("gen_vision_config")!);
  const tokenizer = allocateModule(
    cpu,
    "f32",
    (scope) => new VqTokenizer(scope.child("gen_vision_model"), config),
  );
  const checkpoint = await openCheckpoint(tree);
  await tokenizer.parameters.load(modelWeights(checkpoint));
  await checkpoint.close();
  const [image] = await recordedTensors("janus/vq", "inputs.safetensors", ["image"]);
  const recorded = await recordedTensors("janus/vq", "expected.safetensors", [
    "decoded",
    "latent_normalised",
    "quanti\u0073ed",
  ]);
  return { tokenizer, image, recorded };
}

describe("tokenizerObjective", () => {
  it("is the losses of the recorded picture, codes and latents, weighted", async () => {
    const { tokenizer, image, recorded } = await recordedTokenizer();
    using _ = tokenizer;
    const [decoded, latents, quantized] = recorded;
    const [batch, , height, width] = image.shape;
    const pixels = channelsLast(image);
    const codes = channelsLast(quantized);
    const losses = differentiate(cpu, () =>
      tokenizerObjective({ commitment: 0.5 })(tokenizer, { batch, length: 1, height, width, pixels }, {}),
    );
    const reconstruction = squares(decoded.values, image.values);
    const distance = squares(latents.values, codes);
    const { terms } = losses;
    expect(await terms!.reconstruction.item()).toBeCloseTo(reconstruction, 4);
    expect(await terms!.codebook.item()).toBeCloseTo(distance, 5);
    expect(await terms!.commitment.item()).toBeCloseTo(distance, 5);
    expect(await losses.loss.item()).toBeCloseTo(reconstruction + 1.5 * distance, 4);
    // The picture's error reaches the encoder through the rounding, the codes by their own loss alone.
    for (const name of ["encoder.conv_in.bias", "decoder.conv_in.bias", "quantize.embedding.weight"]) {
      using gradient = tokenizer.parameters.gradient(`gen_vision_model.${name}`)!;
      expect(Math.max(...(await gradient.data()).map(Math.abs)), name).toBeGreaterThan(1e-6);
    }
    tokenizer.parameters.clearGradients();
    disposeAll(losses);
  });

  it("keeps codes in use by what is drawn on a ground, if asked", async () => {
    const { tokenizer, image } = await recordedTokenizer();
    using _ = tokenizer;
    const [batch, , height, width] = image.shape;
    const pixels = channelsLast(image);
    // A ground over the upper half.
    for (let i = 0; i < (3 * height * width) / 2; i++) pixels[i] = 0.5;
    const pictures = { batch, length: 1, height, width, pixels };
    using latents = cpu.inference(() => tokenizer.latents(cpu.tensor(pixels, [batch, height, width, 3])));
    const [, rows, columns, n] = latents.shape;
    const varied = variedPatches(pictures, height / rows);
    expect(varied.length).toBe(batch * rows * columns - (rows * columns) / 2);
    const values = await latents.data();
    const kept = Array.from(varied, (row) => [...values.subarray(row * n, (row + 1) * n)]).flat();
    using alone = cpu.tensor(Float32Array.from(kept), [1, 1, varied.length, n]);
    const [few, all] = [alone, latents].map((x) => cpu.inference(() => tokenizer.quantize(x, 1)));
    const entropyOf = async (of: "all" | "varied") => {
      const losses = cpu.inference(() =>
        tokenizerObjective({ entropy: 1, entropyOf: of })(tokenizer, pictures, {}),
      );
      const value = await losses.terms!.entropy.item();
      disposeAll(losses);
      return value;
    };
    expect(await entropyOf("varied")).toBeCloseTo(await few.entropy!.item(), 5);
    expect(await entropyOf("all")).toBeCloseTo(await all.entropy!.item(), 5);
    expect(Math.abs((await few.entropy!.item()) - (await all.entropy!.item()))).toBeGreaterThan(1e-3);
    expect(cpu.inference(() => tokenizer.quantize(latents, 1, new Int32Array(0))).entropy).toBeNull();
  });
});

describe("variedPatches", () => {
  const A = [0.1, 0.2, 0.3];
  const B = [0.9, 0.2, 0.3];
  /** Four patches of 4 x 4 pixels, each of one color. */
  const picture = (...patches: readonly number[][]) =>
    Array.from(
      { length: 64 },
      (_, i) => patches[2 * Math.floor(i / 32) + (Math.floor((i % 8) / 4) % 2)],
    ).flat();
  const found = (...pictures: readonly number[][]) => {
    const pixels = Float32Array.from(pictures.flat());
    return [...variedPatches({ batch: pictures.length, length: 1, height: 8, width: 8, pixels }, 4)];
  };

  it("leaves out the color that most flat patches have, of each picture its own", () => {
    expect(found(picture(A, A, B, A), picture(B, A, B, B))).toEqual([2, 5]);
  });

  it("counts a patch in which one pixel differs, in any channel", () => {
    const marked = picture(A, A, A, A);
    marked[3 * (8 * 4 + 7) + 2] = 0.4;
    expect(found(marked)).toEqual([3]);
    expect(found(picture(A, A, A, A))).toEqual([]);
  });

  it("sees no ground where no two flat patches are alike", () => {
    expect(found(picture(A, B, [0, 0, 0], [1, 1, 1]))).toEqual([0, 1, 2, 3]);
  });
});

describe("featureLoss", () => {
  it("is the mean squared distance of tokens at length 1 over the first blocks", () => {
    const tower = towerOn(device);
    using _ = tower.parameters;
    const [a, b] = [0.2, 1.9].map((phase) => device.tensor(waves(2 * 192, phase), [2, 8, 8, 3]));
    const found = doubles(featureLoss({ tower, blocks: 2 }, a, b))[0];
    const distances: number[] = [];
    for (const block of [0, 1]) {
      const [u, v] = [a, b].map((image) => {
        const kept = new Map<string, Float64Array>();
        device.inference(() =>
          tower.forward(image, (name, tensor) => {
            kept.set(name, doubles(tensor).slice());
            tensor.dispose();
          }),
        );
        return kept.get(`block${block}`)!;
      });
      const { width } = TOWER;
      for (let t = 0; t < u.length; t += width) {
        const [x, y] = [u, v].map((each) => {
          const row = Array.from(each.subarray(t, t + width));
          return row.map((value) => value / Math.hypot(...row));
        });
        distances.push(x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0));
      }
    }
    expect(found).toBeCloseTo(mean(distances), 6);
    expect(found).toBeGreaterThan(0.01);
    disposeAll([a, b]);
  });

  it("moves the picture, and neither the tower nor the other picture", async () => {
    const tower = towerOn(device);
    using _ = tower.parameters;
    const picture = (values: Float32Array) => device.tensor(values, [1, 8, 8, 3]);
    const [x, y] = [0.4, 1].map((phase) => picture(waves(192, phase)));
    for (const each of [x, y]) each.requiresGrad = true;
    disposeAll(differentiate(device, () => featureLoss({ tower, blocks: 2 }, x, y)));
    const gradient = doubles(x.grad!).slice();
    expect(y.grad).toBeNull();
    for (const at of [0, 17, 100, 191]) {
      const [above, below] = [1 / 128, -1 / 128].map((step) => {
        const moved = waves(192, 0.4);
        moved[at] += step;
        using image = picture(moved);
        using loss = device.inference(() => featureLoss({ tower, blocks: 2 }, image, y));
        return doubles(loss)[0];
      });
      expect(64 * (above - below)).toBeCloseTo(gradient[at], 4);
      expect(Math.abs(gradient[at])).toBeGreaterThan(1e-4);
    }
    expect([...tower.parameters.groups()].every(({ tensor }) => tensor.grad === null)).toBe(true);
    expect(() => featureLoss({ tower, blocks: 4 }, x, y)).toThrow(/blocks.*1 to 3.*4/s);
    x.grad?.dispose();
    disposeAll([x, y]);
  });
});

const vaeConfig = { latentChannels: 2, widths: [4, 6], blocks: 1, groups: 2, scalingFactor: 0.7 };

describe("autoencoderObjective", () => {
  const made = () => {
    const vae = allocateModule(device, "f32", (scope) => new VaeModel(scope, vaeConfig));
    vae.parameters.initialize(new Random(5), 0.2);
    return vae;
  };
  const noise = waves(2 * 4 * 4 * 2, 0.7);
  const batch = { batch: 2, length: 1, height: 8, width: 8, pixels: waves(2 * 192, 0.1), noise };

  it("is absolute error, divergence and features of latents drawn with the batch's noise", async () => {
    using vae = made();
    const tower = towerOn(device);
    using _ = tower.parameters;
    const feature = { tower, blocks: 1, weight: 0.3 };
    const objective = autoencoderObjective({ divergence: 0.01, feature });
    const losses = device.inference(() => objective(vae, batch, {}));
    const pixels = device.tensor(batch.pixels, [2, 8, 8, 3]);
    const moments = doubles(device.inference(() => vae.moments(pixels)));
    const latents: number[] = [];
    let divergence = 0;
    for (let i = 0; i < noise.length; i++) {
      const at = Math.floor(i / 2) * 4 + (i % 2);
      const [m, v] = [moments[at], moments[at + 2]];
      latents.push((m + Math.exp(v / 2) * noise[i]) * vaeConfig.scalingFactor);
      divergence += (m ** 2 + Math.exp(v) - 1 - v) / 2 / batch.batch;
    }
    const drawn = device.tensor(Float32Array.from(latents), [2, 4, 4, 2]);
    const decoded = device.inference(() => vae.decode(drawn));
    const reconstruction = pairs(doubles(decoded), batch.pixels, (x, y) => Math.abs(x - y));
    const features = doubles(featureLoss(feature, decoded, pixels))[0];
    expect(await losses.terms!.reconstruction.item()).toBeCloseTo(reconstruction, 5);
    expect(await losses.terms!.divergence.item()).toBeCloseTo(divergence, 5);
    expect(await losses.loss.item()).toBeCloseTo(reconstruction + 0.01 * divergence + 0.3 * features, 5);
    disposeAll([losses, pixels, drawn, decoded]);
  });

  it("needs noise for each latent", () => {
    using vae = made();
    const short = { ...batch, noise: noise.subarray(1) };
    expect(() => device.inference(() => autoencoderObjective()(vae, short, {}))).toThrow(
      /expected: 64; found: 63/,
    );
  });

  it("has the divergence's gradients", async () => {
    await checkGradients(
      ([m, v]) => normalDivergence(m, v),
      [
        [3, 4],
        [3, 4],
      ],
    );
  });

  it("learns", async () => {
    using vae = made();
    const source = { next: async () => batch, state: () => null, restore: () => {} };
    const options = {
      ...{ steps: 25, batch: { size: 2 } },
      learningRate: { peak: 0.02, warmupSteps: 0, shape: "constant" as const },
    };
    using trainer = new Trainer(vae, source, options, autoencoderObjective());
    const losses: number[] = [];
    for (let i = 0; i < 25; i++) losses.push((await trainer.trainStep()).loss);
    expect(mean(losses.slice(-5))).toBeLessThan(0.7 * losses[0]);
  });
});
