/**
 * Pictures that image tokenizers and autoencoders of the world learn: scenes with one to nine objects. Captions and questions
 * have two or three on average; a picture with more costs the same and teaches more.
 */
import { WorldRandom } from "../../src/data/world/generator.ts";
import { drawScene, type Scene } from "../../src/data/world/scene.ts";
import { Random } from "../../src/tensor/random.ts";
import type { BatchSource } from "../../src/train/batches.ts";
import type { PictureBatch } from "../../src/train/objectives/autoencoder.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { NORMALIZATION } from "./tower-data.ts";

/** Stream of the numbers that scenes are drawn from. */
const SCENE_STREAM = 72;
const [NOISE_STREAM, BRIGHTNESS_STREAM] = [73, 74];
const CELLS = 9;
export const SCENE_SIDE = 64;

/** Scene `index` of a seed. */
export function filledScene(seed: number, index: number): Scene {
  const random = new WorldRandom(seed, SCENE_STREAM, index);
  const specs = Array.from({ length: 1 + random.int(CELLS) }, () => ({}));
  return drawScene(random, SCENE_SIDE, specs);
}

export interface SceneOptions {
  readonly seed: number;
  /** Standard normal numbers for each picture (0). */
  readonly noise?: number;
  /** Most that all values of a picture are raised or lowered by, of a range from -1 to 1 (0). */
  readonly brightness?: number;
}

/** Raises or lowers each picture's values by a number of its own, within -1 and 1. */
function shiftEach(pixels: Float32Array, pictures: number, most: number, random: Random): void {
  const each = pixels.length / pictures;
  for (let picture = 0; picture < pictures; picture++) {
    const shift = most * (2 * random.uniform() - 1);
    for (let i = picture * each; i < (picture + 1) * each; i++) {
      pixels[i] = Math.max(-1, Math.min(1, pixels[i] + shift));
    }
  }
}

export class SceneBatches implements BatchSource<PictureBatch> {
  readonly #options: SceneOptions;
  #next = 0;

  constructor(options: SceneOptions) {
    this.#options = options;
  }

  async next(batch: number): Promise<PictureBatch> {
    const { seed, noise = 0, brightness = 0 } = this.#options;
    const first = this.#next;
    this.#next += batch;
    const images = Array.from({ length: batch }, (_, i) => filledScene(seed, first + i).image);
    const pixels = pixelValues(images, NORMALIZATION);
    if (brightness > 0) shiftEach(pixels, batch, brightness, new Random(seed + first, BRIGHTNESS_STREAM));
    const random = new Random(seed + first, NOISE_STREAM);
    const numbers = Float32Array.from({ length: noise * batch }, () => random.normal());
    return {
      ...{ batch, length: 1, height: SCENE_SIDE, width: SCENE_SIDE, pixels },
      ...(noise > 0 && { noise: numbers }),
    };
  }

  state(): unknown {
    return { next: this.#next };
  }

  restore(state: unknown): void {
    this.#next = (state as { next: number }).next;
  }
}
