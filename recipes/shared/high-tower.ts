/**
 * A start for DeepSeek-VL's high tower, which takes SAM as released: here it learns what lies where on whole pages, the glyphs
 * of all sizes and the colors, shapes and sizes of objects. It stands for SAM's billion masks: dense labels, no captions.
 */
import { ALPHABET } from "../../src/data/world/font.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { Linear } from "../../src/nn/linear.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import type { ParameterScope } from "../../src/nn/scope.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import { sigmoidLoss } from "../../src/train/objectives/pairwise-sigmoid.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { resizeImage } from "../../src/vision/image/resize.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { SamTower } from "../../src/vision/sam.ts";
import type { HybridConfig, SamConfig } from "../../src/vision/tower-config.ts";
import { fullPage, PAGE, VIEW } from "./pages.ts";
import type { Count } from "./score.ts";
import { nameObject, OBJECT_NAMES } from "./tower-data.ts";

/** Tokens along a side, and pixels of a token's square. */
const SIDE = 8;
const CELL = PAGE / SIDE;
/** The smallest glyphs are 6 pixels apart and lines 8: each place of a square has one at most. */
const [ACROSS, DOWN] = [4, 3];
const GLYPHS = ACROSS * DOWN * ALPHABET.length;
/** Glyphs by their place in a token's square; of an object's center its color, shape and size. */
export const PAGE_NAMES = GLYPHS + OBJECT_NAMES;

/** The first name of the token's square that a point lies in. */
const tokenNames = (x: number, y: number) =>
  (Math.floor(y / CELL) * SIDE + Math.floor(x / CELL)) * PAGE_NAMES;

/** The first name of the place in a token's square. */
function placeNames(x: number, y: number): number {
  const column = Math.floor(((x % CELL) * ACROSS) / CELL);
  const row = Math.floor(((y % CELL) * DOWN) / CELL);
  return (row * ACROSS + column) * ALPHABET.length;
}

/** Logit of a name of which one in a hundred applies, about. */
const RARE = -4.5;

export class NamedTower implements Disposable {
  readonly tower: SamTower;
  readonly parameters: Parameters;
  readonly #names: Linear;

  /** Declares the tower as `tower.`, and a linear layer `names` on its tokens. */
  constructor(scope: ParameterScope, config: SamConfig, names: number) {
    const own = scope.part();
    this.tower = new SamTower(own.child("tower"), config);
    this.#names = new Linear(own.child("names"), config.outputWidths.at(-1)!, names, { bias: true });
    this.parameters = own.parameters;
  }

  /** Few of the names apply to a token. */
  expectNothing(): void {
    const { bias } = this.#names;
    bias!.set(new Float32Array(bias!.size).fill(RARE));
  }

  get device(): Device {
    return this.parameters.device;
  }

  /** `[B, side, side, 3]`, normalized, to logits of all names at all tokens, `[B, N, names]`. */
  forward(pixels: ReturnType<Device["tensor"]>) {
    return this.#names.forward(this.tower.forward(pixels));
  }

  [Symbol.dispose](): void {
    this.parameters[Symbol.dispose]();
  }
}

export interface PageBatch extends Batch {
  /** `[batch, 192, 192, 3]` */
  readonly pixels: Float32Array;
  /** Whether a name applies to a token, `[batch, 64, PAGE_NAMES]`. */
  readonly names: readonly boolean[];
}

/** One in `SCENES` pictures is a scene. */
const SCENES = 4;

export class PageBatches implements BatchSource<PageBatch> {
  readonly #seed: number;
  readonly #pixels: HybridConfig["highPixels"];
  #next: number;

  constructor(seed: number, pixels: HybridConfig["highPixels"], first = 0) {
    this.#seed = seed;
    this.#pixels = pixels;
    this.#next = first;
  }

  async next(batch: number): Promise<PageBatch> {
    const images: RgbImage[] = [];
    const names = new Array<boolean>(batch * SIDE * SIDE * PAGE_NAMES).fill(false);
    for (let i = 0; i < batch; i++) {
      const index = this.#next++;
      const first = i * SIDE * SIDE * PAGE_NAMES;
      if (index % SCENES === 0) {
        const { image, objects } = worldSample("questions", this.#seed, index);
        images.push(resizeImage(image!, PAGE, PAGE));
        for (const object of objects!) {
          const token = tokenNames((object.x * PAGE) / VIEW, (object.y * PAGE) / VIEW);
          nameObject(names, first + token + GLYPHS, object);
        }
        continue;
      }
      const { image, glyphs } = fullPage(this.#seed, index);
      images.push(image);
      for (const { glyph, x, y } of glyphs) names[first + tokenNames(x, y) + placeNames(x, y) + glyph] = true;
    }
    const pixels = pixelValues(images, { rescale: null, meanAndStd: this.#pixels });
    return { batch, length: 1, pixels, names };
  }

  state(): unknown {
    return this.#next;
  }

  restore(state: unknown): void {
    this.#next = state as number;
  }
}

export function pageObjective(model: NamedTower, { batch, pixels, names }: PageBatch) {
  const logits = model.forward(model.device.tensor(pixels, [batch, PAGE, PAGE, 3]));
  return { loss: sigmoidLoss(logits, names, batch * SIDE * SIDE) };
}

/** Glyphs of validation pages that are named best where they lie. */
export async function pageGlyphsNamed(
  model: NamedTower,
  batches: BatchSource<PageBatch>,
  pages: number,
): Promise<Count> {
  const count = { right: 0, of: 0 };
  const letters = ALPHABET.length;
  for (let page = 0; page < pages; page++) {
    const { pixels, names } = (await batches.next(1)) as PageBatch;
    using logits = model.device.inference(() =>
      model.forward(model.device.tensor(pixels, [1, PAGE, PAGE, 3])),
    );
    const values = (await logits.data()) as Float32Array;
    names.forEach((named, at) => {
      if (!named || at % PAGE_NAMES >= GLYPHS) return;
      const place = at - ((at % PAGE_NAMES) % letters);
      const row = values.subarray(place, place + letters);
      count.of++;
      if (row.indexOf(Math.max(...row)) === at - place) count.right++;
    });
  }
  return count;
}
