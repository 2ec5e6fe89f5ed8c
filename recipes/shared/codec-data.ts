/**
 * Pictures that image tokenizers and autoencoders of the world learn: scenes with up to nine objects. Captions and questions
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
const NOISE_STREAM = 73;
const CELLS = 9;
export const SCENE_SIDE = 64;

/** Scene `index` of a seed. @param fewest objects of a scene */
export function filledScene(seed: number, index: number, fewest = 1): Scene {
  const random = new WorldRandom(seed, SCENE_STREAM, index);
  const specs = Array.from({ length: fewest + random.int(CELLS + 1 - fewest) }, () => ({}));
  return drawScene(random, SCENE_SIDE, specs);
}

export interface SceneOptions {
  readonly seed: number;
  /** Standard normal numbers for each picture (0). */
  readonly noise?: number;
  /** Objects of a scene (1). A decoder that never saw 0 makes blotches of a ground alone. */
  readonly fewest?: number;
}

export class SceneBatches implements BatchSource<PictureBatch> {
  readonly #options: SceneOptions;
  #next = 0;

  constructor(options: SceneOptions) {
    this.#options = options;
  }

  async next(batch: number): Promise<PictureBatch> {
    const { seed, noise = 0, fewest = 1 } = this.#options;
    const first = this.#next;
    this.#next += batch;
    const images = Array.from({ length: batch }, (_, i) => filledScene(seed, first + i, fewest).image);
    const pixels = pixelValues(images, NORMALIZATION);
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
