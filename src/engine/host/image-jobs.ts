/**
 * The images of requests on their way to the engine: encoded between its steps, by one encoder for all. Bounded are the
 * bytes of files that wait, and the embeddings that requests hold until they end.
 */
import type { EncodedImage } from "../../models/vision-language.ts";
import type { ImageEncoder } from "../image-encoder.ts";
import { queueFull } from "./errors.ts";
import { imageRefused, type PromptImages } from "./image-plan.ts";

/** Bytes of embeddings that requests hold; one that needs more by itself goes alone. */
export const HELD_BYTES = 256 * 2 ** 20;
/** Bytes of image files, and of pixels where programs gave those, that wait to be encoded. */
const WAITING_BYTES = 512 * 2 ** 20;
const RETRY_SECONDS = 1;

interface Job {
  readonly images: PromptImages;
  readonly controller: AbortController;
  readonly bytes: number;
}

interface Turn {
  readonly tokens: number;
  readonly begin: () => void;
}

/** Tokens of embeddings that are held, each content counted once. */
class HeldTokens {
  readonly #most: number;
  readonly #contents = new Map<string, { readonly tokens: number; holders: number }>();
  #tokens = 0;
  readonly #turns: Turn[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  #fits(tokens: number): boolean {
    return this.#tokens === 0 || this.#tokens + tokens <= this.#most;
  }

  /** Resolves, in the order of the calls, once there is room, which is taken then. @throws the signal's reason */
  async reserve(tokens: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#turns.length === 0 && this.#fits(tokens)) {
      this.#tokens += tokens;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        this.#turns.splice(this.#turns.indexOf(turn), 1);
        reject(signal.reason);
        // The next one may be smaller.
        this.#wake();
      };
      const begin = () => {
        signal.removeEventListener("abort", leave);
        this.#tokens += tokens;
        resolve();
      };
      const turn = { tokens, begin };
      this.#turns.push(turn);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Gives a reservation back. */
  free(tokens: number): void {
    this.#tokens -= tokens;
    this.#wake();
  }

  /** What a reservation became: what others hold already is given back. */
  hold(images: readonly EncodedImage[]): void {
    for (const { hash, embeddings } of images) {
      const known = this.#contents.get(hash);
      const [tokens] = embeddings.shape;
      if (known) known.holders++;
      else this.#contents.set(hash, { tokens, holders: 1 });
      if (known) this.#tokens -= tokens;
    }
    this.#wake();
  }

  release(hashes: readonly string[]): void {
    for (const hash of hashes) {
      const content = this.#contents.get(hash)!;
      if (--content.holders > 0) continue;
      this.#contents.delete(hash);
      this.#tokens -= content.tokens;
    }
    this.#wake();
  }

  #wake(): void {
    while (this.#turns.length > 0 && this.#fits(this.#turns[0].tokens)) this.#turns.shift()!.begin();
  }
}

export class ImageJobs {
  readonly encoder: ImageEncoder;
  readonly #held: HeldTokens;
  readonly #jobs = new Map<number, Job>();
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;

  /** @param tokenBytes of one embedding @param heldBytes of all that requests hold */
  constructor(encoder: ImageEncoder, tokenBytes: number, heldBytes = HELD_BYTES) {
    this.encoder = encoder;
    this.#held = new HeldTokens(Math.max(1, Math.floor(heldBytes / tokenBytes)));
  }

  /** Requests whose images are not yet encoded. */
  get size(): number {
    return this.#jobs.size;
  }

  /**
   * Encodes the images of a request and calls `begin` with them: they may be freed once it has returned; what it resolves
   * with says that the request is over. `failed` is told why they cannot be encoded, or what `begin` threw; nothing is
   * called after `cancel`. @throws RequestError if too many bytes wait
   */
  add(
    id: number,
    images: PromptImages,
    begin: (encoded: readonly EncodedImage[]) => Promise<unknown>,
    failed: (error: unknown) => void,
  ): void {
    const bytes = images.parts.reduce(
      (sum, { image }) => sum + (image instanceof Uint8Array ? image : image.rgb).length,
      0,
    );
    if (this.#bytes > 0 && this.#bytes + bytes > WAITING_BYTES) throw queueFull(0, this.size, RETRY_SECONDS);
    const job = { images, controller: new AbortController(), bytes };
    this.#jobs.set(id, job);
    this.#bytes += bytes;
    const run = this.#run(id, job, begin, failed).finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  async #run(
    id: number,
    { images, controller: { signal }, bytes }: Job,
    begin: (encoded: readonly EncodedImage[]) => Promise<unknown>,
    failed: (error: unknown) => void,
  ): Promise<void> {
    let encoded: readonly EncodedImage[] = [];
    let reserved = 0;
    try {
      await this.#held.reserve(images.tokens, signal);
      reserved = images.tokens;
      encoded = await this.encoder.encode(images.parts, signal);
      signal.throwIfAborted();
      this.#jobs.delete(id);
      const ended = begin(encoded);
      reserved = 0;
      this.#held.hold(encoded);
      const hashes = encoded.map(({ hash }) => hash);
      void ended.finally(() => this.#held.release(hashes));
    } catch (error) {
      if (!signal.aborted) failed(imageRefused(error, images.parts));
    } finally {
      this.#jobs.delete(id);
      this.#bytes -= bytes;
      this.#held.free(reserved);
      for (const each of encoded) each[Symbol.dispose]();
    }
  }

  /** Gives a request's images up; whether there were such. */
  cancel(id: number): boolean {
    const job = this.#jobs.get(id);
    if (job === undefined) return false;
    this.#jobs.delete(id);
    job.controller.abort();
    return true;
  }

  /** Gives all up; resolves once nothing runs any more, and what was kept is freed. */
  async close(): Promise<void> {
    for (const id of [...this.#jobs.keys()]) this.cancel(id);
    await Promise.all(this.#running);
    this.encoder[Symbol.dispose]();
  }
}
