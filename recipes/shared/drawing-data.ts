/** Captions of the world with their pictures as drawing learns them: ids of the image tokenizer, or latents of the autoencoder. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { WorldRandom } from "../../src/data/world/generator.ts";
import { type WorldSample, worldSample } from "../../src/data/world/sample.ts";
import { rewriteOwnFile } from "../../src/files/owned.ts";
import { Random } from "../../src/tensor/random.ts";
import type { BatchSource } from "../../src/train/batches.ts";
import { type CodeBatch, trainedPrompt } from "../../src/train/objectives/codes.ts";
import {
  drawTime,
  type FlowBatch,
  type LatentChoice,
  type TimeDistribution,
} from "../../src/train/objectives/flow.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { sampleLatents, splitMoments, type VaeModel } from "../../src/vision/vae.ts";
import type { VqTokenizer } from "../../src/vision/vq.ts";
import { SCENE_SIDE } from "./codec-data.ts";
import { drawingRow, PAD } from "./rows.ts";
import { NORMALIZATION } from "./tower-data.ts";

/** A caption to draw, and whether it is dropped. */
export interface DrawingSample {
  readonly index: number;
  readonly sample: WorldSample;
  readonly dropped: boolean;
}

export interface DrawingOptions<B> {
  readonly seed: number;
  /** Of a hundred captions, how many are dropped. */
  readonly dropped: number;
  /** What becomes of captions and their pictures. */
  readonly make: (samples: readonly DrawingSample[]) => Promise<B>;
}

/** Stream of the numbers that captions are dropped by. */
const DROP_STREAM = 75;
const EASY: readonly string[] = ["single", "color"];

/** Captions one after another; none comes twice. */
export class DrawingBatches<B extends CodeBatch | FlowBatch> implements BatchSource<B> {
  readonly #options: DrawingOptions<B>;
  #next = 0;

  constructor(options: DrawingOptions<B>) {
    this.#options = options;
  }

  /** @param easy whether only captions of one thing without place are taken */
  async next(batch: number, easy = false): Promise<B> {
    const { seed, dropped, make } = this.#options;
    const samples: DrawingSample[] = [];
    while (samples.length < batch) {
      const index = this.#next++;
      const sample = worldSample("captions", seed, index);
      if (easy && !EASY.includes(sample.task)) continue;
      const random = new WorldRandom(seed, DROP_STREAM, index);
      samples.push({ index, sample, dropped: random.int(100) < dropped });
    }
    return await make(samples);
  }

  state(): unknown {
    return { next: this.#next };
  }

  restore(state: unknown): void {
    this.#next = (state as { next: number }).next;
  }
}

const BLOCK = 256;
const MISSING = 0xffff;
/** Blocks in memory: captions come in order. */
const MOST_BLOCKS = 4;

/** Ids of the captions' pictures, computed once: arms of a seed read what the first of them wrote. */
export class CodeCache {
  readonly #tokenizer: VqTokenizer;
  readonly #seed: number;
  readonly #folder: string;
  readonly #codes: number;
  readonly #blocks = new Map<number, Uint16Array>();

  private constructor(tokenizer: VqTokenizer, seed: number, folder: string, codes: number) {
    this.#tokenizer = tokenizer;
    this.#seed = seed;
    this.#folder = folder;
    this.#codes = codes;
  }

  /** @param folder of what arms of a seed share; ids of another tokenizer have another folder in it */
  static async open(tokenizer: VqTokenizer, seed: number, folder: string): Promise<CodeCache> {
    const hash = createHash("sha256");
    for (const { name } of tokenizer.parameters.named()) {
      const values = (await tokenizer.parameters.get(name).data()) as Float32Array;
      hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    const own = join(folder, `codes-${hash.digest("hex").slice(0, 12)}`);
    await mkdir(own, { recursive: true });
    const side = SCENE_SIDE / 2 ** (tokenizer.config.encoderFactors.length - 1);
    return new CodeCache(tokenizer, seed, own, side ** 2);
  }

  #path(block: number): string {
    return join(this.#folder, `${this.#seed}-${String(block).padStart(6, "0")}.bin`);
  }

  async #block(block: number): Promise<Uint16Array> {
    const found = this.#blocks.get(block);
    if (found !== undefined) return found;
    let values = new Uint16Array(BLOCK * this.#codes).fill(MISSING);
    if (existsSync(this.#path(block))) {
      const bytes = await readFile(this.#path(block));
      if (bytes.length === 2 * values.length) {
        values = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
      }
    }
    this.#blocks.set(block, values);
    if (this.#blocks.size > MOST_BLOCKS) this.#blocks.delete(Math.min(...this.#blocks.keys()));
    return values;
  }

  /** Ids of the pictures, one after another. */
  async codes(samples: readonly DrawingSample[]): Promise<Int32Array> {
    const n = this.#codes;
    const found = new Int32Array(samples.length * n);
    const missing: number[] = [];
    for (const [i, { index }] of samples.entries()) {
      const block = await this.#block(Math.floor(index / BLOCK));
      const own = block.subarray((index % BLOCK) * n, ((index % BLOCK) + 1) * n);
      if (own[0] === MISSING) missing.push(i);
      found.set(own, i * n);
    }
    if (missing.length === 0) return found;
    const images = missing.map((i) => samples[i].sample.image!);
    const pixels = pixelValues(images, NORMALIZATION);
    const { device } = this.#tokenizer;
    using ids = device.inference(() =>
      this.#tokenizer.encode(device.tensor(pixels, [images.length, SCENE_SIDE, SCENE_SIDE, 3])),
    );
    const values = await ids.data();
    const changed = new Set<number>();
    for (const [at, i] of missing.entries()) {
      const own = values.subarray(at * n, (at + 1) * n);
      found.set(own, i * n);
      const { index } = samples[i];
      const block = Math.floor(index / BLOCK);
      (await this.#block(block)).set(own, (index % BLOCK) * n);
      changed.add(block);
    }
    for (const block of changed) {
      const { buffer } = await this.#block(block);
      await rewriteOwnFile(this.#path(block), (write) => write(new Uint8Array(buffer)));
    }
    return found;
  }
}

/** Batches of Janus. */
export const codeBatchesOf =
  (cache: CodeCache) =>
  async (samples: readonly DrawingSample[]): Promise<CodeBatch> => ({
    ...{ batch: samples.length, length: 1, kind: "drawing" },
    prompts: samples.map(({ sample, dropped }) => trainedPrompt(drawingRow(sample.question), PAD, dropped)),
    codes: await cache.codes(samples),
  });

export interface LatentOptions {
  readonly vae: VaeModel;
  readonly seed: number;
  readonly times: TimeDistribution;
  readonly latents: LatentChoice;
  /** Whether the pictures are given too, for alignment. */
  readonly pictures: boolean;
}

const LATENT_STREAM = 76;

/** Batches of JanusFlow: noise, times and the choice of latents come from a stream of each caption. */
export const flowBatchesOf =
  ({ vae, seed, times, latents, pictures }: LatentOptions) =>
  async (samples: readonly DrawingSample[]): Promise<FlowBatch> => {
    const { device } = vae;
    const images = samples.map(({ sample }) => sample.image!);
    const pixels = pixelValues(images, NORMALIZATION);
    using moments = device.inference(() =>
      vae.moments(device.tensor(pixels, [images.length, SCENE_SIDE, SCENE_SIDE, 3])),
    );
    const parts = splitMoments(await moments.data(), moments.shape);
    const [, rows, columns, channels] = parts.shape;
    const each = rows * columns * channels;
    const [spread, noise] = [new Float32Array(parts.mean.length), new Float32Array(parts.mean.length)];
    const drawn: number[] = [];
    for (const [i, { index }] of samples.entries()) {
      const random = new Random(index, LATENT_STREAM + 1000 * seed);
      drawn.push(drawTime(times, random));
      for (let j = i * each; j < (i + 1) * each; j++) {
        spread[j] = random.normal();
        noise[j] = random.normal();
      }
    }
    const { scalingFactor } = vae.config;
    const values = latents === "means" ? parts.mean : sampleLatents(parts, spread);
    return {
      ...{ batch: samples.length, length: 1, kind: "drawing", latentShape: [rows, columns, channels] },
      prompts: samples.map(({ sample, dropped }) => ({ ids: drawingRow(sample.question), dropped })),
      latents: values.map((value) => value * scalingFactor),
      ...{ noise, times: drawn, ...(pictures && { pixels }) },
    };
  };
