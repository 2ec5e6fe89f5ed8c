/**
 * What drawing learns of pictures with captions: ids of Janus' image tokenizer or latents of JanusFlow's autoencoder. Encoding a
 * picture costs more than learning it, so what comes out is kept for the next rounds.
 */
import type { Random } from "../../tensor/random.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import { type CodeBatch, trainedPrompt } from "../../train/objectives/codes.ts";
import {
  drawTime,
  type FlowBatch,
  type LatentChoice,
  type TimeDistribution,
} from "../../train/objectives/flow.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { pixelValues } from "../../vision/pixels.ts";
import { type LatentMoments, sampleLatents, splitMoments, type VaeModel } from "../../vision/vae.ts";
import type { VqTokenizer } from "../../vision/vq.ts";

/** A picture and the ids that it is drawn for. */
export interface DrawingLesson {
  /** With the token that begins an image at its end. */
  readonly prompt: readonly number[];
  /** The square in its middle, of the size that the model draws. */
  readonly picture: RgbImage;
  /** Names the sample. */
  readonly key: string;
}

export interface DrawingSettings {
  /** Part of the captions that are left out. */
  readonly dropped: number;
  readonly times: TimeDistribution;
  readonly latents: LatentChoice;
}

/** A batch with its share of a step: as many targets as it has places in the sequence. */
export type DrawingBatch = (CodeBatch | FlowBatch) & { readonly weight: number };

/** How a model draws: through ids or latents. */
export type DrawingCodec =
  | { readonly kind: "codes"; readonly tokenizer: VqTokenizer; readonly padId: number }
  | {
      readonly kind: "flow";
      readonly vae: VaeModel;
      /** Latents along each side of a token. */
      readonly stride: number;
      /** A picture as the understanding tower reads it; null where nothing is aligned. */
      readonly seen: ((picture: RgbImage) => Promise<Float32Array>) | null;
    };

/** What is kept in memory of pictures seen before. */
const MOST_KEPT_BYTES = 256 << 20;
/** Pixels that are encoded at once. */
const PIXELS = 1 << 18;
const BYTES = {
  rescale: null,
  meanAndStd: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
} as const;

/** Ids, or moments, means first. */
type Encoded = Int32Array | Float32Array;

export class DrawingMaker {
  readonly #device: Device;
  readonly #codec: DrawingCodec;
  readonly #maxTokens: number;
  readonly #kept = new Map<string, Encoded>();
  #keptBytes = 0;

  /** @param maxTokens most tokens that run at once */
  constructor(device: Device, codec: DrawingCodec, maxTokens: number) {
    this.#device = device;
    this.#codec = codec;
    this.#maxTokens = maxTokens;
  }

  #encode(pixels: Tensor): Tensor {
    const codec = this.#codec;
    return codec.kind === "codes" ? codec.tokenizer.encode(pixels) : codec.vae.moments(pixels);
  }

  /** What each sample's picture is encoded to. */
  async #encoded(lessons: readonly DrawingLesson[]): Promise<Encoded[]> {
    const found = new Map<string, Encoded>();
    const missing = new Map<string, RgbImage>();
    for (const { key, picture } of lessons) {
      const kept = this.#kept.get(key);
      if (kept === undefined) missing.set(key, picture);
      else found.set(key, kept);
    }
    const names = [...missing.keys()];
    const [first] = missing.values();
    const together = first ? Math.max(1, Math.floor(PIXELS / (first.width * first.height))) : 1;
    for (let at = 0; at < names.length; at += together) {
      const part = names.slice(at, at + together);
      const images = part.map((name) => missing.get(name)!);
      const { width, height } = images[0];
      const pixels = pixelValues(images, BYTES);
      using made = this.#device.inference(() =>
        this.#encode(this.#device.tensor(pixels, [images.length, height, width, 3])),
      );
      const values = (await made.data()) as Encoded;
      const each = values.length / part.length;
      for (const [i, name] of part.entries()) {
        const own = values.slice(i * each, (i + 1) * each);
        found.set(name, own);
        if (this.#keptBytes + own.byteLength > MOST_KEPT_BYTES) continue;
        this.#kept.set(name, own);
        this.#keptBytes += own.byteLength;
      }
    }
    return lessons.map(({ key }) => found.get(key)!);
  }

  /** Batches of a step, of as many tokens as may run at once. All that is random comes from `random`, sample by sample. */
  async batches(
    lessons: readonly DrawingLesson[],
    random: Random,
    { dropped, times, latents: choice }: DrawingSettings,
  ): Promise<DrawingBatch[]> {
    const encoded = await this.#encoded(lessons);
    const drawn = lessons.map((lesson, i) => ({
      lesson,
      encoded: encoded[i],
      drop: random.uniform() < dropped,
    }));
    const places = this.#places(lessons[0].picture, encoded[0]);
    const longest = Math.max(...lessons.map(({ prompt }) => prompt.length));
    const rows = Math.max(1, Math.floor(this.#maxTokens / (longest + places)));
    const made: DrawingBatch[] = [];
    for (let at = 0; at < drawn.length; at += rows) {
      const part = drawn.slice(at, at + rows);
      const common = {
        batch: part.length,
        length: longest + places,
        kind: "drawing",
        weight: part.length * places,
      };
      const codec = this.#codec;
      if (codec.kind === "codes") {
        made.push({
          ...common,
          prompts: part.map(({ lesson, drop }) => trainedPrompt(lesson.prompt, codec.padId, drop)),
          codes: Int32Array.from(part.flatMap(({ encoded: ids }) => [...ids])),
        });
        continue;
      }
      const { vae, seen } = codec;
      const { picture } = lessons[0];
      const shape = latentShape(vae, picture);
      const latents: Float32Array[] = [];
      const noise: Float32Array[] = [];
      const drawnTimes: number[] = [];
      for (const { encoded: moments } of part) {
        const parts: LatentMoments = splitMoments(moments, [1, ...shape.slice(0, 2), 2 * shape[2]]);
        drawnTimes.push(drawTime(times, random));
        const normal = () => Float32Array.from(parts.mean, () => random.normal());
        const values = choice === "means" ? parts.mean : sampleLatents(parts, normal());
        latents.push(values.map((value) => value * vae.config.scalingFactor));
        noise.push(normal());
      }
      const pixels = seen && (await Promise.all(part.map(({ lesson }) => seen(lesson.picture))));
      made.push({
        ...common,
        prompts: part.map(({ lesson, drop }) => ({ ids: lesson.prompt, dropped: drop })),
        ...{ latentShape: shape, latents: joined(latents), noise: joined(noise), times: drawnTimes },
        ...(pixels && { pixels: joined(pixels) }),
      });
    }
    return made;
  }

  /** Places of a picture in a sequence. */
  #places(picture: RgbImage, encoded: Encoded): number {
    const codec = this.#codec;
    if (codec.kind === "codes") return encoded.length;
    const [rows, columns] = latentShape(codec.vae, picture);
    return (rows * columns) / codec.stride ** 2;
  }
}

function latentShape({ config }: VaeModel, { width, height }: RgbImage): [number, number, number] {
  const factor = 2 ** (config.widths.length - 1);
  return [height / factor, width / factor, config.latentChannels];
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
