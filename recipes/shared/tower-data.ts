/** Batches for the tower's pre-training: scenes with captions, and views of pages with the glyphs in them. */
import { ALPHABET } from "../../src/data/world/font.ts";
import { describeObjects } from "../../src/data/world/questions.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { pageView, type SeenGlyph, VIEW, type ViewKind } from "./pages.ts";
import { EOS, worldIds } from "./rows.ts";

export interface TowerBatch extends Batch {
  /** `[batch, 64, 64, 3]`: scenes, then views of pages. */
  readonly pixels: Float32Array;
  /** Captions of the scenes, `[scenes, T]`, padded on the right, and each one's last token. */
  readonly captions: Int32Array;
  readonly ends: readonly number[];
  /** Whether a name applies to a token of a view, `[views, 64, NAMES]`. */
  readonly names: readonly boolean[];
}

const PATCH = 8;
const SIDE = VIEW / PATCH;
/** Half a patch is narrower than the distance of any two glyphs: each has its own name in each half. */
export const NAMES = 2 * ALPHABET.length;

/** What the towers of the world read: bytes to -1..1. */
export const NORMALIZATION = {
  rescale: null,
  meanAndStd: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
} as const;

function label(names: boolean[], first: number, { glyph, x, y }: SeenGlyph): void {
  const token = Math.floor(y / PATCH) * SIDE + Math.floor(x / PATCH);
  const half = Math.floor(x / (PATCH / 2)) % 2;
  names[first + token * NAMES + half * ALPHABET.length + glyph] = true;
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
    const texts: number[][] = [];
    for (let i = 0; i < count; i++) {
      const { image, objects } = worldSample("questions", seed, this.#next.scene++);
      images.push(image!);
      texts.push([...worldIds(describeObjects(objects!)), EOS]);
    }
    const views = batch - count;
    const names = new Array<boolean>(views * SIDE * SIDE * NAMES).fill(false);
    for (let i = 0; i < views; i++) {
      const view = pageView(seed, this.#next.view++, kind);
      images.push(view.image);
      for (const glyph of view.glyphs) label(names, i * SIDE * SIDE * NAMES, glyph);
    }
    const longest = Math.max(...texts.map(({ length }) => length));
    const captions = new Int32Array(count * longest);
    for (const [row, text] of texts.entries()) captions.set(text, row * longest);
    return {
      batch,
      length: 1,
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
