/**
 * What drawing needs of the codecs that come with the repository: a flat ground has few codes, which places share, and latents
 * of small range, alike away from the border. A model that draws spends most of a picture on them.
 */
import { afterAll, expect, it } from "vitest";
import { SCENE_SIDE } from "../../recipes/shared/codec-data.ts";
import { imageTokenizer, tokenizerConfig } from "../../recipes/shared/codecs.ts";
import { committedPart } from "../../recipes/shared/ready.ts";
import { NORMALIZATION } from "../../recipes/shared/tower-data.ts";
import { loadPart } from "../../recipes/shared/weights.ts";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { loadVae } from "../../src/checkpoint/vae.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { splitMoments } from "../../src/vision/vae.ts";

const device = await createCpuDevice({ threads: 1 });
afterAll(() => device[Symbol.asyncDispose]());

/** The grounds of the world's scenes. */
const GRAYS = [200, 216, 232, 248];

function flat(gray: number): Tensor {
  const rgb = new Uint8Array(SCENE_SIDE ** 2 * 3).fill(gray);
  const pixels = pixelValues([{ width: SCENE_SIDE, height: SCENE_SIDE, rgb }], NORMALIZATION);
  return device.tensor(pixels, [1, SCENE_SIDE, SCENE_SIDE, 3]);
}

const folderOf = (name: string): string => {
  const folder = committedPart(name, { seed: 1 });
  if (folder === null) throw new Error(`recipes/start/${name}: no weights`);
  return folder;
};

it("the image tokenizer gives a flat ground few codes, which places and grays share", async () => {
  using model = imageTokenizer(device, 1, tokenizerConfig());
  await loadPart(folderOf("vq"), "", model.parameters, "");
  const all = new Set<number>();
  for (const gray of GRAYS) {
    using pixels = flat(gray);
    using encoded = device.inference(() => model.encode(pixels));
    const ids = [...(await encoded.data())];
    expect(ids).toHaveLength(64);
    const counts = new Map<number, number>();
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
    // Without care for flat grounds there were as many as places.
    expect(counts.size, `${gray}`).toBeLessThanOrEqual(16);
    expect(Math.max(...counts.values()), `${gray}`).toBeGreaterThanOrEqual(12);
    for (const id of ids) all.add(id);
  }
  expect(all.size).toBeLessThanOrEqual(32);
});

it("the autoencoder gives a flat ground latents of small range, the same away from the border", async () => {
  using model = await loadVae(nodeFolder(folderOf("vae")), device);
  for (const gray of GRAYS) {
    using pixels = flat(gray);
    using moments = device.inference(() => model.moments(pixels));
    const { mean } = splitMoments(await moments.data(), moments.shape);
    const [, height, width, both] = moments.shape;
    const channels = both / 2;
    const scaled = Array.from(mean, (value) => value * model.config.scalingFactor);
    let inner = 0;
    for (let channel = 0; channel < channels; channel++) {
      const values: number[] = [];
      for (let y = 4; y < height - 4; y++) {
        for (let x = 4; x < width - 4; x++) values.push(scaled[(y * width + x) * channels + channel]);
      }
      inner = Math.max(inner, Math.max(...values) - Math.min(...values));
    }
    const largest = Math.max(...scaled.map(Math.abs));
    expect(largest, `${gray}`).toBeLessThan(6);
    expect(inner, `${gray}`).toBeLessThan(1);
  }
});
