/**
 * Sequences with images put together to batches: rows of similar length together, padded on the right, in as few and as
 * little padded pieces as pay.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { ImageBatch } from "./objectives/images.ts";

/** A sequence for training. */
export interface Lesson {
  /** Ids; where an image's tokens stand, the image's id. */
  readonly ids: Int32Array;
  /** Whether each id is to be learned from those before it. */
  readonly learned: Uint8Array;
  readonly images: readonly LessonImage[];
}

/** An image of a sequence. */
export interface LessonImage {
  readonly tiles: readonly [across: number, down: number];
  /** Its views, `[side, side, 3]` f32 each: equal ones may be the same array, and are seen once. */
  readonly views: readonly Float32Array[];
}

export interface RowOptions {
  readonly imageId: number;
  /** Fills rows; any id of the vocabulary. */
  readonly padId: number;
  /** Most tokens of a piece with its padding, unless one sequence has more. */
  readonly maxTokens: number;
  readonly kind?: string;
}

/** What a piece costs beside its tokens, in tokens: another pass over all weights. */
const PIECE_TOKENS = 256;

/** Inputs of a sequence. */
const lengthOf = ({ ids }: Lesson) => ids.length - 1;

/** Where sequences sorted by length are cut so that padding and pieces cost least. @returns ends of pieces */
export function cutRows(lengths: readonly number[], maxTokens: number): number[] {
  const best: { cost: number; from: number }[] = [{ cost: 0, from: 0 }];
  for (let end = 1; end <= lengths.length; end++) {
    let found = { cost: Number.POSITIVE_INFINITY, from: end - 1 };
    for (let from = end - 1; from >= 0; from--) {
      const tokens = (end - from) * lengths[end - 1];
      if (from < end - 1 && tokens > maxTokens) break;
      const cost = best[from].cost + tokens + PIECE_TOKENS;
      if (cost < found.cost) found = { cost, from };
    }
    best.push(found);
  }
  const ends: number[] = [];
  for (let end = lengths.length; end > 0; end = best[end].from) ends.unshift(end);
  return ends;
}

function batchOf(rows: readonly Lesson[], { imageId, padId, kind }: RowOptions): ImageBatch {
  const length = Math.max(...rows.map(lengthOf));
  const ids = new Int32Array(rows.length * length).fill(padId);
  const targets = new Int32Array(rows.length * length).fill(-1);
  let weight = 0;
  rows.forEach((row, r) => {
    ids.set(row.ids.subarray(0, -1), r * length);
    for (let i = 1; i < row.ids.length; i++) {
      if (row.learned[i] === 0 || row.ids[i] === imageId) continue;
      targets[r * length + i - 1] = row.ids[i];
      weight++;
    }
  });
  const images = rows.flatMap((row) => row.images);
  const different = new Map<Float32Array, number>();
  const order = images.flatMap(({ views }) =>
    views.map((view) => {
      const place = different.get(view) ?? different.size;
      different.set(view, place);
      return place;
    }),
  );
  const size = images[0]?.views[0]?.length ?? 0;
  const pixels = new Float32Array(different.size * size);
  for (const [view, place] of different) pixels.set(view, place * size);
  const seen = images.length === 0 ? null : { pixels, tiles: images.map(({ tiles }) => tiles) };
  const repeated = different.size < order.length && { order: Int32Array.from(order) };
  return {
    ...{ batch: rows.length, length, ids, targets, imageId, weight },
    images: seen && { ...seen, ...repeated },
    ...(kind !== undefined && { kind }),
  };
}

/** The batches of a step, in pieces. @throws ConfigError if there is nothing to learn */
export function imageBatches(lessons: readonly Lesson[], options: RowOptions): ImageBatch[] {
  const sorted = [...lessons].sort((a, b) => lengthOf(a) - lengthOf(b));
  const ends = cutRows(sorted.map(lengthOf), options.maxTokens);
  const batches = ends.map((end, i) => batchOf(sorted.slice(ends[i - 1] ?? 0, end), options));
  if (batches.some(({ weight }) => weight > 0)) return batches;
  throw new ConfigError("the batch has no token to learn", { where: "imageBatches", found: options.kind });
}
