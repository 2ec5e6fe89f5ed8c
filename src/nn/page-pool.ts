/**
 * Pages of caches, counted by their holders. A page has room for 96 tokens in every stream of every layer of a model, as
 * many keys as attention takes in a block, so that results do not depend on where pages lie (`attention-sequences.ts`).
 *
 * Pages are allocated by slabs, some one after another at once: those of one sequence mostly lie in a row, and a pass names few
 * tensors. A slab is freed with its last page. On devices with several memories a cache keeps to slabs whose tensors lie where
 * its own do.
 */
import { bytesPerElement } from "../tensor/dtype.ts";
import { RUN_KEYS } from "../tensor/ops/attention-sequences.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";

/** Tokens of a page. */
export const PAGE = RUN_KEYS;

/** A slab as large as all before it has at most so many bytes, unless one cache asks for more. */
const LARGEST_SLAB = 64 * 2 ** 20;

export type CacheDtype = "f32" | "bf16" | "f16";

/** Pages for `length` tokens. */
export function pagesOf(length: number): number {
  return Math.ceil(length / PAGE);
}

export class Slab {
  /** By layer and stream, `[pages * 96, width]`. */
  readonly streams: readonly (readonly Tensor[])[];
  /** In which memories the streams lie. */
  readonly place: string;
  /** Holders of each page. */
  readonly holders: Uint32Array;
  /** Pages that nobody holds. */
  free: number;

  constructor(streams: readonly (readonly Tensor[])[], pages: number) {
    this.streams = streams;
    this.place = streams.map((layer) => layer.map(({ memoryIndex }) => memoryIndex).join("+")).join();
    this.holders = new Uint32Array(pages);
    this.free = pages;
  }
}

/** Pages one after another in a slab, all of one holder. */
export interface Span {
  readonly slab: Slab;
  readonly first: number;
  readonly pages: number;
}

export class PagePool {
  readonly device: Device;
  /** Widths of the streams of each layer. */
  readonly widths: readonly (readonly number[])[];
  readonly dtype: CacheDtype;
  readonly pageBytes: number;
  readonly #slabs: Slab[] = [];

  constructor(device: Device, widths: readonly (readonly number[])[], dtype: CacheDtype = "f32") {
    this.device = device;
    this.widths = widths;
    this.dtype = dtype;
    this.pageBytes = PAGE * bytesPerElement[dtype] * widths.flat().reduce((sum, width) => sum + width, 0);
  }

  /** Bytes allocated, held or not. */
  get bytes(): number {
    return this.#slabs.reduce((sum, { holders }) => sum + holders.length * this.pageBytes, 0);
  }

  /**
   * `count` pages for one holder, behind `last` as far as those are free, the rest in a row elsewhere; `held`: pages that the
   * holder has already. If they do not fit where `last` lies, they may be in another place.
   */
  take(count: number, last: Span | null = null, held = 0): readonly Span[] {
    const spans: Span[] = [];
    let left = count;
    if (last !== null) {
      const { slab } = last;
      const first = last.first + last.pages;
      let pages = 0;
      while (pages < left && first + pages < slab.holders.length && slab.holders[first + pages] === 0)
        pages++;
      if (pages > 0) spans.push(hold({ slab, first, pages }));
      left -= pages;
    }
    if (left > 0) spans.push(hold(this.#find(left, last) ?? this.#grow(left, last, held)));
    return spans;
  }

  /** So many free pages in a row. */
  #find(count: number, last: Span | null): Span | null {
    for (const slab of this.#slabs) {
      if (slab.free < count || (last !== null && slab.place !== last.slab.place)) continue;
      let pages = 0;
      for (let at = 0; at < slab.holders.length; at++) {
        pages = slab.holders[at] === 0 ? pages + 1 : 0;
        if (pages === count) return { slab, first: at + 1 - count, pages };
      }
    }
    return null;
  }

  #grow(count: number, last: Span | null, held: number): Span {
    const all = this.#slabs.reduce((sum, { holders }) => sum + holders.length, 0);
    const most = Math.max(held, Math.floor(LARGEST_SLAB / this.pageBytes));
    const pages = Math.max(count, Math.min(all, most));
    const made: Tensor[] = [];
    try {
      const streams = this.widths.map((layer, i) => {
        let near = last?.slab.streams[i][0];
        return layer.map((width) => {
          const tensor = this.device.unscoped(() =>
            this.device.empty([pages * PAGE, width], this.dtype, false, near),
          );
          made.push(tensor);
          near ??= tensor;
          return tensor;
        });
      });
      const slab = new Slab(streams, pages);
      this.#slabs.push(slab);
      return { slab, first: 0, pages: count };
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
  }

  /** Gives pages back; slabs that nobody holds pages of are freed. */
  release(spans: readonly Span[]): void {
    for (const { slab, first, pages } of spans) {
      for (let page = first; page < first + pages; page++) if (--slab.holders[page] === 0) slab.free++;
      const at = this.#slabs.indexOf(slab);
      if (at < 0 || slab.free < slab.holders.length) continue;
      this.#slabs.splice(at, 1);
      for (const tensor of slab.streams.flat()) tensor.dispose();
    }
  }
}

/** Counts one holder more. */
export function hold(span: Span): Span {
  const { slab, first, pages } = span;
  for (let page = first; page < first + pages; page++) if (slab.holders[page]++ === 0) slab.free--;
  return span;
}

/** Whether someone else holds one of the pages too. */
export function isShared({ slab, first, pages }: Span): boolean {
  for (let page = first; page < first + pages; page++) if (slab.holders[page] > 1) return true;
  return false;
}

/** `spans` cut after `count` pages: what comes before, and what after. */
export function splitSpans(spans: readonly Span[], count: number): readonly [Span[], Span[]] {
  const before: Span[] = [];
  const after: Span[] = [];
  let left = count;
  for (const span of spans) {
    const { slab, first, pages } = span;
    const kept = Math.min(left, pages);
    if (kept > 0) before.push({ slab, first, pages: kept });
    if (kept < pages) after.push({ slab, first: first + kept, pages: pages - kept });
    left -= kept;
  }
  return [before, after];
}
