/**
 * The sampler of Janus (arXiv 2410.13848 section 3.1; `generate` of generation_inference.py): codes of images, one after another
 * in raster order, of any number of images of one prompt. Under guidance each image has two rows, with the prompt and without:
 * both read the same codes, and each code is chosen from the logits of the two. The prompt is read once for each kind of row;
 * the images start from copies of its cache. Its passes are those of `step.ts`, alone or beside sequences of text.
 */
import { type CodeGeneration, drawId, guided, unconditionalIds } from "../../models/janus/generation.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import type { Cache, CacheDtype } from "../../nn/cache.ts";
import { type Capture, captured } from "../../nn/context.ts";
import { PAGE, pagesOf } from "../../nn/page-pool.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import { towerSide } from "../../vision/tower-config.ts";
import type { Guest, GuestRows, Room } from "../guests.ts";
import { rowsOfLogits } from "../prompt-scores.ts";
import { argmax, candidates, checkLargest, draw, SamplingBuffers } from "../sampling.ts";

/** Prompt tokens of a row that one pass reads. */
const PREFILL = 256;

/** What settings are that are not given. */
export const CODE_DEFAULTS = { guidance: 5, temperature: 1, topK: 0, topP: 1 } as const;

/** Where random choices of one image come from. */
export type CodeStream = Pick<Random, "uniform">;

export interface CodeSettings {
  /** The prompt's ids with the token that begins an image at its end. */
  readonly ids: readonly number[];
  /** What stands for the prompt in rows without it; not needed with guidance 1. */
  readonly padId: number | null;
  /** Index of the first image, and their number; default 0 and 1. */
  readonly first?: number;
  readonly count?: number;
  readonly seed?: number;
  /** Weight w of w l(with the prompt) + (1 - w) l(without); default 5. 1 leaves out the second, 0 the first. */
  readonly guidance?: number;
  /** Default 1; 0 takes the likeliest code. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  /** Storage of the caches; default f32. */
  readonly cacheDtype?: CacheDtype;
  /** Where the choices of an image come from; default: a stream of the seed and the image's index. */
  readonly stream?: (image: number) => CodeStream;
  /** Receives `with`, `without` and `guided`, logits of each code, `[images, codes]`; at the first code there is one row for all. */
  readonly capture?: Capture;
}

/** Rows with or without the prompt: what they read first, and a cache of each image, at first only one. */
interface Branch {
  readonly ids: readonly number[];
  readonly caches: Cache[];
}

/** What a model draws codes with. @throws ConfigError for another kind of model */
export function codesOf({ generation }: VisionLanguageModel): CodeGeneration {
  if (generation?.kind === "codes") return generation;
  throw new ConfigError("the model draws no codes", {
    where: "Janus",
    found: generation === null ? "nothing that draws" : "JanusFlow's velocities",
  });
}

/** Codes along each side of an image that is drawn: as many as the tower sees patches. */
export const codeGrid = ({ config }: VisionLanguageModel): number => towerSide(config.tower);

/** Shares of the rows with and without the prompt that guidance leaves any weight. */
const sharesOf = (guidance: number): number => [guidance, 1 - guidance].filter((share) => share !== 0).length;

/** Positions that a row of an image holds in the end: the last code is not read. */
const positionsOf = (model: VisionLanguageModel, ids: readonly number[]): number =>
  ids.length + codeGrid(model) ** 2 - 1;

/** Rows of one image in a pass, and the tokens that their caches hold in the end. */
export function codeRoom(
  model: VisionLanguageModel,
  { ids, guidance = CODE_DEFAULTS.guidance }: Pick<CodeSettings, "ids" | "guidance">,
): Room {
  const rows = sharesOf(guidance);
  return { rows, tokens: rows * positionsOf(model, ids) };
}

/** Bytes of the caches of one image. */
export function codeCacheBytes(
  model: VisionLanguageModel,
  settings: Pick<CodeSettings, "ids" | "guidance" | "cacheDtype">,
): number {
  const { rows, tokens } = codeRoom(model, settings);
  return rows * pagesOf(tokens / rows) * PAGE * model.language.cacheTokenBytes(settings.cacheDtype);
}

function refuse(message: string, name: string, expected: string, found: unknown, hint?: string): never {
  throw new ConfigError(message, { where: "Janus", name, expected, found, hint });
}

/**
 * What rows with the prompt and without read first, of those that guidance leaves any weight; takes no memory on the device.
 * @throws ConfigError, ShapeError for what cannot be drawn
 */
export function codeRows(
  model: VisionLanguageModel,
  { ids, padId, guidance = CODE_DEFAULTS.guidance }: CodeSettings,
) {
  const { maxPositions, vocabSize } = model.language.config;
  const longest = maxPositions - codeGrid(model) ** 2 + 1;
  if (ids.length > longest) {
    refuse(
      "prompt and image exceed the model's context",
      "prompt",
      `at most ${longest} tokens`,
      ids.length,
      "Shorten the prompt.",
    );
  }
  const rows: (readonly number[])[] = guidance === 0 ? [] : [ids];
  if (guidance !== 1) {
    if (padId === null || padId >= vocabSize) {
      refuse(
        "the vocabulary has no padding token, which stands for the prompt in rows without it",
        "guidance",
        "1, which needs no such rows",
        guidance,
        "Use the tokenizer.json of the model's own folder.",
      );
    }
    rows.push(unconditionalIds(ids, padId));
  }
  return rows;
}

/** A stream of each image. */
function streamsOf({ first = 0, count = 1, seed = 0, stream }: CodeSettings): readonly CodeStream[] {
  const make = stream ?? ((image: number) => new Random(seed, image));
  return Array.from({ length: count }, (_, i) => make(first + i));
}

/** Draws images of one prompt together. */
export class CodeSampler implements Guest, Disposable {
  /** Codes of each image as far as they are drawn. */
  readonly codes: readonly number[][];
  /** Codes of an image. */
  readonly length: number;
  /** What ended the drawing before its end: logits that are no numbers. */
  failure: unknown = null;
  readonly #device: Device;
  readonly #generation: CodeGeneration;
  readonly #settings: CodeSettings;
  #streams: readonly CodeStream[];
  /** Positions of an image. */
  readonly #capacity: number;
  readonly #newCache: () => Cache;
  /** Those with the prompt first. */
  readonly #branches: readonly Branch[];
  readonly #buffers = new SamplingBuffers();
  /** Logits that a pass made, `[n, codes]`. */
  #logits: Tensor | null = null;
  #live = true;

  /** Takes memory for the prompt; that of more images comes with their first codes. @throws ConfigError, ShapeError */
  constructor(model: VisionLanguageModel, settings: CodeSettings) {
    const { cacheDtype } = settings;
    const { language } = model;
    const rows = codeRows(model, settings);
    this.#device = model.device;
    this.#generation = codesOf(model);
    this.#settings = settings;
    this.#streams = streamsOf(settings);
    this.codes = this.#streams.map(() => []);
    this.length = codeGrid(model) ** 2;
    this.#capacity = positionsOf(model, settings.ids);
    this.#newCache = () => language.createCache(0, cacheDtype);
    this.#branches = rows.map((ids) => ({ ids, caches: [] }));
    try {
      for (const { caches } of this.#branches) {
        const cache = this.#newCache();
        caches.push(cache);
        cache.reserve(this.#capacity);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Codes that all images have. */
  get done(): number {
    return this.codes[0].length;
  }

  /** Whether nothing more is drawn. */
  get finished(): boolean {
    return this.done === this.length || this.failure !== null || !this.#live;
  }

  rows(): GuestRows | null {
    if (this.finished) return null;
    return this.done === 0 ? this.#promptRows() : this.#codeRows();
  }

  #promptRows(): GuestRows {
    const [{ ids: prompt, caches }] = this.#branches;
    const start = caches[0].length;
    const tokens = Math.min(PREFILL, prompt.length - start);
    const last = start + tokens === prompt.length;
    return {
      segments: this.#branches.map((branch) => ({ cache: branch.caches[0], tokens })),
      ids: this.#branches.flatMap(({ ids }) => ids.slice(start, start + tokens)),
      wanted: last ? this.#branches.map((_, i) => (i + 1) * tokens - 1) : [],
      embedded: () => [],
    };
  }

  #codeRows(): GuestRows {
    const images = this.codes.length;
    const segments = this.#branches.flatMap(({ caches }) => caches.map((cache) => ({ cache, tokens: 1 })));
    return {
      segments,
      ids: segments.map(() => 0),
      wanted: segments.map((_, i) => i),
      embedded: () => {
        const newest = Int32Array.from(this.codes, (codes) => codes[codes.length - 1]);
        // Both rows of an image read the same.
        const rows = this.#generation.embed(this.#device.tensor(newest, [images], "i32")); // [images, d]
        return this.#branches.map((_, i) => ({ rows, at: i * images }));
      },
    };
  }

  take(states: Tensor): void {
    const { guidance = CODE_DEFAULTS.guidance, capture = null } = this.#settings;
    const device = this.#device;
    const logits = this.#generation.logits(states); // [rows, codes]
    const one = logits.shape[0] / this.#branches.length;
    const parts = this.#branches.map((_, i) => logits.slice(i * one, (i + 1) * one));
    const names = this.#branches.length === 2 ? ["with", "without"] : [guidance === 1 ? "with" : "without"];
    for (const [i, part] of parts.entries()) captured(capture, names[i], part);
    const mixed = parts.length === 1 ? parts[0] : guided(parts[0], parts[1], guidance);
    captured(capture, "guided", mixed);
    this.#logits = device.unscoped(() => mixed.view(mixed.shape));
  }

  async decide(): Promise<void> {
    const tensor = this.#logits;
    if (tensor === null) return;
    this.#logits = null;
    try {
      const rows = await rowsOfLogits(tensor);
      if (!this.#live) return;
      // At the first code all images have the same.
      const chosen = this.#streams.map((stream, i) => this.#choose(rows[rows.length === 1 ? 0 : i], stream));
      if (this.done === 0) this.#startImages();
      chosen.forEach((code, i) => void this.codes[i].push(code));
    } catch (error) {
      this.failure = error;
      return;
    } finally {
      tensor.dispose();
    }
  }

  #choose(logits: Float32Array, stream: CodeStream): number {
    const {
      temperature = CODE_DEFAULTS.temperature,
      topK = CODE_DEFAULTS.topK,
      topP = CODE_DEFAULTS.topP,
    } = this.#settings;
    const best = argmax(logits);
    checkLargest(logits[best], false);
    if (temperature === 0) return best;
    if (topK === 0 && topP === 1) return drawId(logits, temperature, stream.uniform());
    return draw(candidates(logits, { temperature, topK, topP }, logits.length, this.#buffers), stream);
  }

  /** A cache of the prompt for each image. */
  #startImages(): void {
    for (const { ids, caches } of this.#branches) {
      while (caches.length < this.codes.length) {
        const cache = this.#newCache();
        caches.push(cache);
        cache.share(caches[0], ids.length, this.#capacity);
      }
    }
  }

  restart(): void {
    if (this.finished) return;
    for (const { caches } of this.#branches) {
      for (const cache of caches.splice(1)) cache[Symbol.dispose]();
      caches[0].truncate(0);
    }
    for (const codes of this.codes) codes.length = 0;
    this.#streams = streamsOf(this.#settings);
  }

  [Symbol.dispose](): void {
    this.#live = false;
    this.#logits?.dispose();
    this.#logits = null;
    for (const { caches } of this.#branches) {
      for (const cache of caches.splice(0)) cache[Symbol.dispose]();
    }
  }
}
