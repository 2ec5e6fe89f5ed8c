/** Batches for models that see: samples of one kind a step, by shares, with the views of their pictures. */
import { WorldRandom } from "../../src/data/world/generator.ts";
import { type CanvasProcessor, canvasPixels } from "../../src/models/deepseek_vl/processor.ts";
import { type TileProcessor, tiledPixels } from "../../src/models/deepseek_vl2/processor.ts";
import type { BatchSource } from "../../src/train/batches.ts";
import type { ImageBatch, SeenImages } from "../../src/train/objectives/images.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { type Around, conversationRow, IMAGE, type Learned, stackRows } from "./rows.ts";
import { type Asked, askedSample, type SampleKind, type SampleOptions } from "./samples.ts";

/** How much of a kind there is, and in what batches. */
export interface Share {
  readonly kind: SampleKind;
  /** Steps of this kind, relative to the others. */
  readonly weight: number;
  readonly batch: number;
  /** Pages in ten that are faint. */
  readonly faint?: number;
  /** How hard views of lines are, by the part of the stage that is over. */
  readonly growth?: (progress: number) => SampleOptions;
}

/** How a system sees pictures. */
export type See = (images: readonly RgbImage[]) => Promise<SeenImages>;

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const each of parts) {
    all.set(each, at);
    at += each.length;
  }
  return all;
}

/** DeepSeek-VL2. Of a picture that is one tile, the tile is the whole view again: it is seen once. */
export const seeTiles =
  (processor: TileProcessor, maxTiles?: number): See =>
  async (images) => {
    const pixels: Float32Array[] = [];
    const views: number[] = [];
    const tiles: (readonly [number, number])[] = [];
    let count = 0;
    for (const image of images) {
      // One by one: more than two at once would not be tiled.
      const made = await tiledPixels([image], processor, { maxTiles });
      const [plan] = made.plans;
      const [across, down] = plan.tiles;
      tiles.push(plan.tiles);
      if (across * down === 1 && image.width === image.height) {
        pixels.push(made.pixels.subarray(0, made.pixels.length / 2));
        views.push(count, count);
        count++;
        continue;
      }
      pixels.push(made.pixels);
      for (let i = 0; i <= across * down; i++) views.push(count++);
    }
    return { pixels: joined(pixels), order: Int32Array.from(views), tiles };
  };

/** DeepSeek-VL: one view of each picture. */
export const seeCanvas =
  (processor: CanvasProcessor): See =>
  async (images) => ({
    pixels: await canvasPixels(images, processor),
    tiles: images.map(() => [0, 0] as const),
  });

export interface SourceOptions {
  readonly seed: number;
  readonly shares: readonly Share[];
  readonly learned: Learned;
  readonly see: See;
  /** Tokens of a picture of so many tiles. */
  readonly imageTokens: (tiles: readonly [number, number]) => number;
  /** Tokens around those of a picture; default: none. */
  readonly around?: Around;
  /** Whether each batch has samples of all kinds, padded to the longest; default: one kind a step (modality grouping). */
  readonly mixed?: boolean;
  /** The kind that alone there is at first; the others come to their shares over the first third (modality warm-up). */
  readonly warmUp?: SampleKind;
}

/** Stream of the numbers that kinds are drawn from. */
const KIND_STREAM = 66;

export class ImageBatches implements BatchSource<ImageBatch> {
  readonly #options: SourceOptions;
  #step = 0;
  #next: Partial<Record<SampleKind, number>> = {};

  constructor(options: SourceOptions) {
    this.#options = options;
  }

  #share(random: WorldRandom, progress: number): Share {
    const { shares, warmUp } = this.#options;
    const total = shares.reduce((sum, { weight }) => sum + weight, 0);
    const alone = warmUp === undefined ? 0 : Math.max(0, 1 - 3 * progress);
    let at = random.int(1 << 20) / (1 << 20);
    for (const share of shares) {
      at -= ((1 - alone) * share.weight) / total + (share.kind === warmUp ? alone : 0);
      if (at < 0) return share;
    }
    return shares[0];
  }

  /** The next sample of a kind. */
  #sample({ kind, faint, growth }: Share, progress: number): Asked {
    const index = this.#next[kind] ?? 0;
    this.#next[kind] = index + 1;
    return askedSample(kind, this.#options.seed, index, { faint, ...growth?.(progress) });
  }

  /** @param size samples of a mixed batch; else the kind decides @param progress part of the stage that is over */
  async next(size: number, progress = 0): Promise<ImageBatch> {
    const { seed, learned, see, imageTokens, around, mixed = false } = this.#options;
    const random = new WorldRandom(seed, KIND_STREAM, this.#step++);
    const first = this.#share(random, progress);
    const kinds = mixed
      ? Array.from({ length: size }, () => this.#share(random, progress))
      : new Array<Share>(first.batch).fill(first);
    const samples = kinds.map((share) => this.#sample(share, progress));
    const pictures = samples.flatMap(({ image }) => (image === null ? [] : [image]));
    const images = pictures.length === 0 ? null : await see(pictures);
    let image = 0;
    const rows = samples.map(({ turns, image: own }) =>
      conversationRow(turns, own === null ? 0 : imageTokens(images!.tiles[image++]), learned, around),
    );
    const { sequences, ...stacked } = stackRows(rows);
    return { batch: sequences, kind: mixed ? "mixed" : first.kind, imageId: IMAGE, images, ...stacked };
  }

  state(): unknown {
    return { step: this.#step, next: { ...this.#next } };
  }

  restore(state: unknown): void {
    const { step, next } = state as { step: number; next: Partial<Record<SampleKind, number>> };
    this.#step = step;
    this.#next = { ...next };
  }
}
