/** Batches for the tower's pre-training: scenes with captions, views of text, and what is to be seen where. */
import { ALPHABET } from "../../src/data/world/font.ts";
import { COLORS, SHAPES, SIZES } from "../../src/data/world/names.ts";
import { describeObjects } from "../../src/data/world/questions.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import type { WorldObject } from "../../src/data/world/scene.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { pageView, type SeenGlyph, VIEW, type ViewKind } from "./pages.ts";
import { EOS, worldIds } from "./rows.ts";

export interface TowerBatch extends Batch {
  readonly images: readonly RgbImage[];
  /** `[batch, 64, 64, 3]`: scenes, then views of pages. */
  readonly pixels: Float32Array;
  /** Captions of the scenes, `[scenes, T]`, padded on the right, and each one's last token. */
  readonly captions: Int32Array;
  readonly ends: readonly number[];
  /** Whether a name applies to a token, `[batch, 64, NAMES]`. */
  readonly names: readonly boolean[];
}

const PATCH = 8;
const SIDE = VIEW / PATCH;
/** Half a patch is narrower than the distance of any two glyphs: each has its own name in each half. */
const GLYPHS = 2 * ALPHABET.length;
/** Of colors, shapes and sizes, which an object's central token has one of each. */
export const OBJECT_NAMES = COLORS.length + SHAPES.length + SIZES.length;
export const NAMES = GLYPHS + OBJECT_NAMES;

/** What the towers of the world read: bytes to -1..1. */
export const NORMALIZATION = {
  rescale: null,
  meanAndStd: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
} as const;

const tokenAt = (x: number, y: number) => Math.floor(y / PATCH) * SIDE + Math.floor(x / PATCH);

/** Where the names of glyphs begin for a glyph that lies here, in the names of all tokens of a view. */
export function firstName({ x, y }: Pick<SeenGlyph, "x" | "y">): number {
  const half = Math.floor(x / (PATCH / 2)) % 2;
  return tokenAt(x, y) * NAMES + half * ALPHABET.length;
}

/** Sets the names of an object. @param first where those of objects begin at its token */
export function nameObject(names: boolean[], first: number, { color, shape, size }: WorldObject): void {
  names[first + COLORS.indexOf(color)] = true;
  names[first + COLORS.length + SHAPES.indexOf(shape)] = true;
  names[first + COLORS.length + SHAPES.length + SIZES.indexOf(size)] = true;
}

export interface TowerData {
  readonly seed: number;
  readonly views: ViewKind;
  /** Of a batch, the part that is scenes. */
  readonly scenes: number;
}

export class TowerBatches implements BatchSource<TowerBatch> {
  readonly #data: TowerData;
  #next = { scene: 0, view: 0 };

  constructor(data: TowerData) {
    this.#data = data;
  }

  async next(batch: number): Promise<TowerBatch> {
    const { seed, views: kind, scenes: share } = this.#data;
    const count = Math.round(share * batch);
    const images: RgbImage[] = [];
    const names = new Array<boolean>(batch * SIDE * SIDE * NAMES).fill(false);
    const texts: number[][] = [];
    for (let i = 0; i < count; i++) {
      const { image, objects } = worldSample("questions", seed, this.#next.scene++);
      const first = images.length * SIDE * SIDE * NAMES + GLYPHS;
      for (const object of objects!) nameObject(names, first + tokenAt(object.x, object.y) * NAMES, object);
      images.push(image!);
      texts.push([...worldIds(describeObjects(objects!)), EOS]);
    }
    while (images.length < batch) {
      const view = pageView(seed, this.#next.view++, kind);
      const first = images.length * SIDE * SIDE * NAMES;
      for (const each of view.glyphs) names[first + firstName(each) + each.glyph] = true;
      images.push(view.image);
    }
    const longest = Math.max(...texts.map(({ length }) => length));
    const captions = new Int32Array(count * longest);
    for (const [row, text] of texts.entries()) captions.set(text, row * longest);
    return {
      batch,
      length: 1,
      images,
      pixels: pixelValues(images, NORMALIZATION),
      captions,
      ends: texts.map(({ length }) => length - 1),
      names,
    };
  }

  state(): unknown {
    return { ...this.#next };
  }

  restore(state: unknown): void {
    this.#next = { ...(state as { scene: number; view: number }) };
  }
}
