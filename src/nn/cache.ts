/**
 * Memory of the past tokens of one sequence for incremental decoding: per layer one or two streams of rows, one a token: the latent
 * with its rotated key for MLA (one stream), keys and values otherwise. A pass over several sequences takes one cache of each.
 *
 * A cache is a list of pages (`page-pool.ts`). It grows by pages, without a copy; caches that begin alike hold the same pages. Who
 * would write into a page that others hold gets a page of its own first (copy on write).
 */
import { ConfigError, ShapeError } from "../tensor/errors.ts";
import type { KeyRun } from "../tensor/ops/attention-sequences.ts";
import { copyRows } from "../tensor/ops/memory.ts";
import { SLOTS } from "../tensor/ops/slots.ts";
import { type RowTarget, storeRows } from "../tensor/ops/store-rows.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { hold, isShared, PAGE, type PagePool, pagesOf, type Span, splitSpans } from "./page-pool.ts";

export type { CacheDtype } from "./page-pool.ts";

/** New tokens of one sequence among the rows of a pass, and where they go. */
export interface CacheRows {
  readonly cache: Cache;
  /** First row and number of its tokens. */
  readonly row: number;
  readonly tokens: number;
  /** Position of the first. */
  readonly start: number;
}

/**
 * Writes the rows of `x: [1, N, ..]` into the channels from `channel` on of stream `stream` of a layer, each sequence's
 * into its cache. The caller has made room and advances the lengths once all layers have written. @throws ShapeError
 */
export function writeCaches(
  x: Tensor,
  layer: number,
  stream: number,
  sequences: readonly CacheRows[],
  channel = 0,
): void {
  const targets = sequences.flatMap(({ cache, row, tokens, start }) =>
    cache.rowsAt(start, tokens).map(({ span, at, row: to, rows }): RowTarget => {
      return { tensor: span.slab.streams[layer][stream], from: row + at - start, rows, to };
    }),
  );
  x.device.unscoped(() => {
    using rows = x.view(x.shape.slice(1));
    storeRows(rows, targets, channel);
  });
}

/** Tokens of a cache whose rows lie one after another. */
export interface CachedRows {
  readonly span: Span;
  /** Position of the first. */
  readonly at: number;
  /** Its row in the tensors of the slab. */
  readonly row: number;
  readonly rows: number;
}

/** The caches of all layers of a model for one sequence, with the number of tokens they hold. */
export class Cache implements Disposable {
  readonly pool: PagePool;
  #spans: Span[] = [];
  #pages = 0;
  #length = 0;
  /** Where its first tokens lie, as it was last asked for: every layer asks for the same. */
  #rows: { readonly tokens: number; readonly found: readonly CachedRows[] } | null = null;

  /** @param capacity tokens to make room for at the start; it grows by itself */
  constructor(pool: PagePool, capacity = 0) {
    this.pool = pool;
    this.reserve(capacity);
  }

  /** Tokens held. */
  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#pages * PAGE;
  }

  /** Bytes of its pages; what others hold too is divided among all. */
  get bytes(): number {
    return Math.round(this.#share(this.#pages) * this.pool.pageBytes);
  }

  /** Bytes that its tokens fill, those of shared pages too. */
  get filledBytes(): number {
    return (this.#length / PAGE) * this.pool.pageBytes;
  }

  /** Tokens that others hold too and that are therefore not its own: of a page with n holders all but an nth. */
  get sharedTokens(): number {
    const full = Math.floor(this.#length / PAGE);
    return Math.round((full - this.#share(full)) * PAGE);
  }

  /** The first `pages` pages, each divided by its holders. */
  #share(pages: number): number {
    let sum = 0;
    let left = pages;
    for (const { slab, first, pages: own } of this.#spans) {
      const end = first + Math.min(own, left);
      for (let page = first; page < end; page++) sum += 1 / slab.holders[page];
      left -= end - first;
    }
    return sum;
  }

  /** Where `tokens` tokens from position `start` on lie. @throws ShapeError beyond the capacity */
  rowsAt(start: number, tokens: number): readonly CachedRows[] {
    const end = start + tokens;
    if (start < 0 || end > this.capacity) {
      throw new ShapeError("tokens outside the cache", {
        where: "Cache",
        expected: `0 to ${this.capacity}`,
        found: `${start} to ${end}`,
      });
    }
    const found: CachedRows[] = [];
    let begin = 0;
    for (const span of this.#spans) {
      const next = begin + span.pages * PAGE;
      const at = Math.max(start, begin);
      const rows = Math.min(end, next) - at;
      if (rows > 0) found.push({ span, at, row: span.first * PAGE + at - begin, rows });
      begin = next;
    }
    return found;
  }

  /** Keys and values of the first `length` tokens in a layer: its first stream and, if it has one, its second. */
  runs(layer: number, length: number): readonly KeyRun[] {
    const tokens = pagesOf(length) * PAGE;
    if (this.#rows?.tokens !== tokens) this.#rows = { tokens, found: this.rowsAt(0, tokens) };
    return this.#rows.found.map(({ span, row, rows }) => {
      const [keys, values = null] = span.slab.streams[layer];
      return { keys, values, row, count: rows };
    });
  }

  /**
   * Copies `length` tokens of a stream from position `from` on, of its channels `channel` to `channel + n`:
   * `[1, length, n]` f32.
   */
  read(layer: number, stream: number, from: number, length: number, channel: number, n: number): Tensor {
    const width = this.pool.widths[layer][stream];
    const y = this.pool.device.empty([1, length, n]);
    for (const { span, at, row, rows } of this.rowsAt(from, length)) {
      copyRows(
        span.slab.streams[layer][stream],
        y,
        rows,
        n,
        width,
        n,
        row * width + channel,
        (at - from) * n,
      );
    }
    return y;
  }

  /** Makes room for `length` tokens in total, those beyond what is held in pages of its own. */
  reserve(length: number): void {
    const pages = Math.max(pagesOf(length), this.#pages);
    const [kept, rest] = splitSpans(this.#spans, Math.floor(this.#length / PAGE));
    if (rest.some(isShared)) this.#replace(kept, rest, pages);
    if (this.#pages < pages) this.#extend(pages);
  }

  #extend(pages: number): void {
    const last = this.#spans.at(-1) ?? null;
    const added = this.pool.take(pages - this.#pages, last, this.#pages);
    this.#append(added);
    this.#pages = pages;
    this.#gather();
  }

  /** Brings all pages to one slab if they lie in several memories, or in more slabs than attention takes tensors. */
  #gather(): void {
    const slabs = new Set(this.#spans.map(({ slab }) => slab));
    const places = new Set(this.#spans.map(({ slab }) => slab.place));
    if (places.size > 1 || slabs.size > SLOTS) this.#replace([], this.#spans, this.#pages);
  }

  #append(spans: readonly Span[]): void {
    this.#rows = null;
    for (const span of spans) {
      const last = this.#spans.at(-1);
      if (last && last.slab === span.slab && last.first + last.pages === span.first) {
        this.#spans[this.#spans.length - 1] = { ...last, pages: last.pages + span.pages };
      } else this.#spans.push(span);
    }
  }

  /** Copies what is held in `rest`, the pages behind `kept`, into new ones, so that there are `pages` in all. */
  #replace(kept: Span[], rest: readonly Span[], pages: number): void {
    const held = kept.reduce((sum, span) => sum + span.pages, 0);
    const fresh = this.pool.take(pages - held, kept.at(-1) ?? null, pages);
    const from = this.rowsAt(held * PAGE, Math.max(0, this.#length - held * PAGE));
    this.#spans = kept;
    this.#append(fresh);
    this.#pages = pages;
    for (const part of from) this.#copy(part);
    this.pool.release(rest);
    this.#gather();
  }

  /** Copies rows of another cache, or of pages that it no longer has, to their place. */
  #copy({ span: source, at, row, rows }: CachedRows): void {
    for (const target of this.rowsAt(at, rows)) {
      source.slab.streams.forEach((layer, l) => {
        for (const [i, stream] of layer.entries()) {
          const width = this.pool.widths[l][i];
          const n = target.rows * width;
          const to = target.span.slab.streams[l][i];
          copyRows(stream, to, 1, n, n, n, (row + target.at - at) * width, target.row * width);
        }
      });
    }
  }

  /**
   * Holds the first `length` tokens of `other`, a cache of the same model, and nothing else: full pages together with it, and of the
   * last one, if it is not full, a copy. Makes room for `capacity` tokens. @throws ConfigError
   */
  share(other: Cache, length: number, capacity = length): void {
    const shape = ({ pool }: Cache) => `${pool.dtype} ${pool.widths.map((w) => w.join("+")).join(" ")}`;
    if (other === this || shape(other) !== shape(this) || !(length >= 0 && length <= other.length)) {
      throw new ConfigError("the source cache has another layout or too few tokens", {
        where: "Cache.share",
        expected: `${length} tokens of ${shape(this)}`,
        found: `${other.length} tokens of ${shape(other)}`,
      });
    }
    const full = Math.floor(length / PAGE);
    const [common] = splitSpans(other.#spans, full);
    for (const span of common) hold(span);
    this.pool.release(this.#spans);
    this.#spans = common;
    this.#rows = null;
    this.#pages = full;
    this.#length = length;
    const pages = pagesOf(Math.max(length, capacity));
    if (pages > full) this.#extend(pages);
    for (const part of other.rowsAt(full * PAGE, length - full * PAGE)) this.#copy(part);
  }

  /** Counts `tokens` as held, once every layer has written them. @throws ShapeError */
  advance(tokens: number): void {
    const length = this.#length + tokens;
    if (length > this.capacity) {
      throw new ShapeError("tokens exceed the capacity of the cache", {
        where: "Cache.advance",
        expected: `at most ${this.capacity}`,
        found: length,
      });
    }
    this.#length = length;
  }

  /** Forgets all tokens from position `length` on (rejected drafts). @throws ShapeError */
  truncate(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.#length) {
      throw new ShapeError("length out of range", {
        where: "Cache.truncate",
        expected: `0 to ${this.#length}`,
        found: length,
      });
    }
    this.#length = length;
  }

  [Symbol.dispose](): void {
    this.pool.release(this.#spans);
    this.#spans = [];
    this.#rows = null;
    this.#pages = 0;
    this.#length = 0;
  }
}
