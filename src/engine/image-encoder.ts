/**
 * From the images of a conversation to embeddings for its prompt: decoded, cut into views, seen by the tower. What was
 * seen is kept by content, so that a second question about an image runs no tower.
 */
import type { ImagePart } from "../chat/messages.ts";
import type { ImageProcessor, ViewChoice } from "../models/image-processor.ts";
import type { EncodedImage } from "../models/vision-language.ts";
import { ConfigError } from "../tensor/errors.ts";
import { concat, reshape } from "../tensor/ops/reshape.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { contentHash } from "../vision/content-hash.ts";
import { BYTE_LIMIT, decodeImage, PIXEL_LIMIT } from "../vision/image/decode.ts";
import { ImageError, type RgbImage } from "../vision/image/image.ts";
import { readImageHeader } from "../vision/image/read-header.ts";
import type { ImageArea } from "../vision/tiles.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

/** What encoding needs of a model. `VisionLanguageModel` is one. */
export interface ImageModel {
  readonly device: Device;
  /** Tokens of an image of so many tiles. */
  imageTokens(tiles: readonly [across: number, down: number]): number;
  /** Views `[1, side, side, 3]` f32 to their tokens, `[1, N, d]`, with a pause before each layer. */
  encodeViewsByLayer(pixels: Tensor): Generator<void, Tensor, void>;
  /** Tokens of images, `[n, d]` each, from those of their views, `[views, N, d]`. */
  arrange(views: Tensor, tiles: readonly (readonly [across: number, down: number])[]): Tensor[];
}

export interface ImageEncoderOptions {
  /** Most bytes of embeddings that are kept for later prompts; default 256 MiB. */
  readonly cacheBytes?: number;
  /** Most pixels of an image, checked in its header; default 89,478,485. */
  readonly maxPixels?: number;
  /** Most bytes of an image file; default 256 MiB. */
  readonly maxBytes?: number;
}

/** How an image of a conversation stands in its prompt. */
export interface PlannedImage {
  /** Pixels, turned if the part says so. */
  readonly width: number;
  readonly height: number;
  /** Tiles across and down; `[0, 0]` where images have one view. */
  readonly tiles: readonly [across: number, down: number];
  /** What each tile shows, row by row, in pixels of the image. */
  readonly areas: readonly ImageArea[];
  /** Side of a view, in pixels of its own. */
  readonly view: number;
  /** Tokens of the prompt. */
  readonly tokens: number;
}

/** The view that the tower sees next; all numbers from 1. */
export interface ImageProgress {
  readonly image: number;
  readonly images: number;
  readonly view: number;
  readonly views: number;
}

/** What an encoder has done. */
export interface ImageCounts {
  /** Images that were encoded. */
  readonly encoded: number;
  /** Images whose embeddings were still kept. */
  readonly kept: number;
  /** Views that the tower saw. */
  readonly views: number;
  /** Spent on images: decoding, views, tower. What others did in between does not count. */
  readonly seconds: number;
}

/** Milliseconds of work after which others get a turn. */
const TURN_MS = 50;
const CACHE_BYTES = 256 * 2 ** 20;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Width and height of an image before it is decoded, turned if the part says so. @throws ImageError */
function sizeIn(
  { image, name = "image", rotate = false }: ImagePart,
  maxPixels: number,
  maxBytes: number,
): Size {
  if (!(image instanceof Uint8Array)) return image;
  if (image.length > maxBytes) {
    throw new ImageError(name, "byte limit", "the file is too large", {
      expected: `at most ${maxBytes} bytes`,
      found: image.length,
    });
  }
  const { width, height, orientation } = readImageHeader(image, name);
  if (width * height > maxPixels) {
    throw new ImageError(name, "pixel limit", "the image is too large", {
      expected: `at most ${maxPixels} pixels`,
      found: `${width} x ${height} = ${width * height}`,
      hint: "Scale it down, or raise maxPixels",
    });
  }
  return rotate && orientation >= 5 ? { width: height, height: width } : { width, height };
}

/** Embeddings by content; those used longest ago go first. */
class EmbeddingCache {
  #limit: number;
  readonly #kept = new Map<string, Tensor>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(hash: string): Tensor | null {
    const found = this.#kept.get(hash);
    if (found === undefined) return null;
    this.#kept.delete(hash);
    this.#kept.set(hash, found);
    return found;
  }

  /** Takes the tensor over; it is freed at once where it is larger than the limit. */
  add(hash: string, embeddings: Tensor): void {
    this.#bytes += embeddings.size * 4;
    this.#kept.set(hash, embeddings);
    for (const [oldest, tensor] of this.#kept) {
      if (this.#bytes <= this.#limit) break;
      this.#kept.delete(oldest);
      this.#bytes -= tensor.size * 4;
      tensor.dispose();
    }
  }

  /** Keeps nothing from now on. */
  close(): void {
    this.#limit = -1;
    this.clear();
  }

  clear(): void {
    for (const tensor of this.#kept.values()) tensor.dispose();
    this.#kept.clear();
    this.#bytes = 0;
  }
}

/** What the tower is to see of an image. */
interface Prepared {
  readonly hash: string;
  readonly tiles: PlannedImage["tiles"];
  readonly views: readonly RgbImage[];
}

/** Encodes the images of one conversation at a time, for all who ask. */
export class ImageEncoder implements Disposable {
  readonly #model: ImageModel;
  readonly #processor: () => ImageProcessor;
  readonly #limits: { readonly maxPixels: number; readonly maxBytes: number };
  readonly #cache: EmbeddingCache;
  /** What was read out of images that are still in use. */
  readonly #sizes = new WeakMap<object, Size>();
  readonly #digests = new WeakMap<object, Promise<string>>();
  #turn: Promise<void> = Promise.resolve();
  readonly #counts = { encoded: 0, kept: 0, views: 0, seconds: 0 };

  /** @param processor how images become views, or what finds it when the first image comes */
  constructor(
    model: ImageModel,
    processor: ImageProcessor | (() => ImageProcessor),
    options: ImageEncoderOptions = {},
  ) {
    const { cacheBytes = CACHE_BYTES, maxPixels = PIXEL_LIMIT, maxBytes = BYTE_LIMIT } = options;
    for (const [name, value] of Object.entries({ cacheBytes, maxPixels, maxBytes })) {
      if (Number.isSafeInteger(value) && value >= 0) continue;
      throw new ConfigError("a limit must be an integer, 0 or more", {
        where: "ImageEncoder",
        name,
        found: value,
      });
    }
    this.#model = model;
    this.#processor = typeof processor === "function" ? processor : () => processor;
    this.#limits = { maxPixels, maxBytes };
    this.#cache = new EmbeddingCache(cacheBytes);
  }

  /** Bytes of embeddings that are kept. */
  get cachedBytes(): number {
    return this.#cache.bytes;
  }

  get counts(): ImageCounts {
    return { ...this.#counts };
  }

  /**
   * How the images of a whole conversation stand in its prompt, by their headers alone. In DeepSeek-VL2 a third image
   * changes the tiles of the others. @throws ImageError, ConfigError if the model's images cannot be prepared
   */
  plan(images: readonly ImagePart[]): PlannedImage[] {
    if (images.length === 0) return [];
    const processor = this.#processor();
    return images.map((part) => {
      const { width, height } = this.#sizeOf(part);
      const choice = choiceOf(part, images.length);
      const tiles = processor.tiles(width, height, choice);
      const areas = processor.areas(width, height, choice);
      return { width, height, tiles, areas, view: processor.side, tokens: this.#model.imageTokens(tiles) };
    });
  }

  /**
   * Encodes the images of a whole conversation, in its order; the results are the caller's. All of them are decoded before
   * the tower sees the first. Between its layers, and while others are encoded, other work runs.
   * @throws ImageError, ConfigError, the signal's reason
   */
  async encode(images: readonly ImagePart[], signal?: AbortSignal): Promise<EncodedImage[]> {
    const steps = this.encodeSteps(images, signal);
    for (;;) {
      const { done, value } = await steps.next();
      if (done) return value;
    }
  }

  /** The same, telling each view before the tower sees it; those that are kept are not told. */
  async *encodeSteps(
    images: readonly ImagePart[],
    signal?: AbortSignal,
  ): AsyncGenerator<ImageProgress, EncodedImage[], void> {
    const plans = this.plan(images);
    if (images.length === 0) return [];
    const before = this.#turn;
    let next = () => {};
    const mine = new Promise<void>((resolve) => {
      next = resolve;
    });
    // One that gives up waiting does not let the next ones in.
    this.#turn = before.then(() => mine);
    const encoded: EncodedImage[] = [];
    let whole = false;
    try {
      await unlessAborted(before, signal);
      // An image that stands in the conversation again is neither decoded nor seen again.
      const first = new Map<string, number>();
      const repeats: (readonly [place: number, of: number])[] = [];
      const prepared: (readonly [place: number, image: Prepared])[] = [];
      for (const [i, part] of images.entries()) {
        const hash = await this.#hashOf(part, plans[i].tiles);
        signal?.throwIfAborted();
        const of = first.get(hash);
        if (of !== undefined) {
          repeats.push([i, of]);
          continue;
        }
        first.set(hash, i);
        const kept = this.#cache.get(hash);
        if (kept === null)
          prepared.push([i, await this.#prepare(part, plans[i], hash, images.length, signal)]);
        else encoded[i] = this.#kept(kept, hash);
      }
      for (const [i, image] of prepared) {
        encoded[i] = yield* this.#encodeOne(image, { image: i + 1, images: images.length }, signal);
      }
      for (const [i, of] of repeats) encoded[i] = this.#kept(encoded[of].embeddings, encoded[of].hash);
      whole = true;
      return encoded;
    } finally {
      // Those that are not there yet are holes.
      if (!whole) for (const each of encoded) each?.[Symbol.dispose]();
      next();
    }
  }

  /** Sees every image anew: after the weights have changed, what is kept is of the old ones. */
  clearCache(): void {
    this.#cache.clear();
  }

  [Symbol.dispose](): void {
    this.#cache.close();
  }

  #sizeOf(part: ImagePart): Size {
    const { maxPixels, maxBytes } = this.#limits;
    const found = part.rotate ? undefined : this.#sizes.get(part.image);
    const size = found ?? sizeIn(part, maxPixels, maxBytes);
    if (!part.rotate) this.#sizes.set(part.image, size);
    return size;
  }

  /** Names what the embeddings are made of: the image, how it is turned and its tiles. */
  async #hashOf({ image, rotate = false }: ImagePart, tiles: readonly number[]): Promise<string> {
    const file = image instanceof Uint8Array;
    let digest = this.#digests.get(image);
    if (digest === undefined) {
      digest = file ? contentHash([0, 0], image) : contentHash([image.width, image.height], image.rgb);
      this.#digests.set(image, digest);
    }
    return `${await digest}:${tiles.join("x")}${file && rotate ? ":upright" : ""}`;
  }

  async #prepare(
    part: ImagePart,
    { tiles }: PlannedImage,
    hash: string,
    images: number,
    signal: AbortSignal | undefined,
  ): Promise<Prepared> {
    const since = performance.now();
    let away = 0;
    const turn = async () => {
      const left = performance.now();
      await yieldToEventLoop();
      away += performance.now() - left;
      signal?.throwIfAborted();
    };
    const decoded = await this.#decoded(part);
    const views = await this.#processor().views(decoded, choiceOf(part, images), this.#model.device, turn);
    this.#counts.seconds += (performance.now() - since - away) / 1000;
    await yieldToEventLoop();
    signal?.throwIfAborted();
    return { hash, tiles, views };
  }

  /** An image that needs no tower. */
  #kept(embeddings: Tensor, hash: string): EncodedImage {
    this.#counts.kept++;
    return handle(embeddings, hash);
  }

  async *#encodeOne(
    { hash, tiles, views }: Prepared,
    place: Pick<ImageProgress, "image" | "images">,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ImageProgress, EncodedImage, void> {
    const { device } = this.#model;
    const seen: Tensor[] = [];
    try {
      for (const [i, view] of views.entries()) {
        yield { ...place, view: i + 1, views: views.length };
        seen.push(await this.#see(view, signal));
      }
      const embeddings = device.inference(() => this.#model.arrange(joined(seen), [tiles])[0]);
      const result = handle(embeddings, hash);
      this.#cache.add(hash, embeddings);
      this.#counts.encoded++;
      return result;
    } finally {
      for (const each of seen) each.dispose();
    }
  }

  /** The tokens of a view, `[1, N, d]`. */
  async #see(view: RgbImage, signal: AbortSignal | undefined): Promise<Tensor> {
    signal?.throwIfAborted();
    const { device } = this.#model;
    const pixels = this.#processor().pixels(view);
    using input = device.unscoped(() => device.tensor(pixels, [1, view.height, view.width, 3]));
    const work = this.#model.encodeViewsByLayer(input);
    try {
      for (;;) {
        await yieldToEventLoop();
        signal?.throwIfAborted();
        const since = performance.now();
        let next = work.next();
        while (!next.done && performance.now() - since < TURN_MS) next = work.next();
        this.#counts.seconds += (performance.now() - since) / 1000;
        if (!next.done) continue;
        this.#counts.views++;
        return next.value;
      }
    } finally {
      work.return(undefined as never);
    }
  }

  #decoded({ image, name, rotate }: ImagePart) {
    if (!(image instanceof Uint8Array)) return image;
    return decodeImage(image, { name, rotate, ...this.#limits });
  }
}

/** Waits for `ready`. @throws the signal's reason at once */
async function unlessAborted(ready: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  let wake = () => {};
  const abort = new Promise<void>((resolve) => {
    wake = resolve;
    signal?.addEventListener("abort", wake);
  });
  await Promise.race([ready, abort]);
  signal?.removeEventListener("abort", wake);
  signal?.throwIfAborted();
}

function choiceOf({ maxTiles }: ImagePart, images: number): ViewChoice {
  return { images, ...(maxTiles !== undefined && { maxTiles }) };
}

/** Tokens of views, `[1, N, d]` each, as `[views, N, d]`. */
function joined(views: readonly Tensor[]): Tensor {
  const [, tokens, width] = views[0].shape;
  const flat = concat(views.map((view) => reshape(view, [1, tokens * width])));
  return reshape(flat, [views.length, tokens, width]);
}

/** The caller's own view: what is kept may go. */
function handle(kept: Tensor, hash: string): EncodedImage {
  const embeddings = kept.device.unscoped(() => kept.view(kept.shape));
  return { embeddings, hash, [Symbol.dispose]: () => embeddings.dispose() };
}
