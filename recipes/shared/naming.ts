/**
 * What projectors begin with: the tokens of a view shall resemble the language model's own tokens for what lies there, glyphs and
 * the words of objects. It stands for the million captions with which released models align theirs (stage 1 of both papers):
 * a language model that can copy letters copies them from pictures then, and learns where to look instead of what is what.
 */
import { ALPHABET } from "../../src/data/world/font.ts";
import { COLORS, SHAPES, SIZES } from "../../src/data/world/names.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { scale } from "../../src/tensor/ops/elementwise.ts";
import { meanSquaredError } from "../../src/tensor/ops/mean-error.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import type { See } from "./image-batches.ts";
import { FILLER, worldIds } from "./rows.ts";
import { NAMES, TowerBatches, type TowerData } from "./tower-data.ts";

export const OBJECT_WORDS = [...COLORS, ...SHAPES, ...SIZES];
const WORDS = ALPHABET.length + OBJECT_WORDS.length;
/** Ids of all that tokens may be like. */
const WORD_IDS = worldIds([...ALPHABET, ...OBJECT_WORDS].join(" "));
/** Patches along a side of a view. */
const SIDE = 8;
/** Parameters of DeepSeek-VL2 that stand between rows and views, and the tokens that stand there in layouts. */
const BETWEEN = { image_newline: "\n", view_seperator: "+" };

export interface NamingBatch extends Batch {
  /** `[batch, side, side, 3]` */
  readonly pixels: Float32Array;
  /** Whether a word stands for what lies in a patch, `[batch, 64, WORDS]`. */
  readonly words: readonly boolean[];
}

/** The words of patches: of glyphs it does not count in which half they lie. */
function wordsOf(names: readonly boolean[]): boolean[] {
  const patches = names.length / NAMES;
  const words = new Array<boolean>(patches * WORDS).fill(false);
  names.forEach((named, at) => {
    if (!named) return;
    const [patch, name] = [Math.floor(at / NAMES), at % NAMES];
    const glyphs = ALPHABET.length;
    words[patch * WORDS + (name < 2 * glyphs ? name % glyphs : name - glyphs)] = true;
  });
  return words;
}

export class NamingBatches implements BatchSource<NamingBatch> {
  readonly #inner: TowerBatches;
  readonly #see: See | null;

  /** @param see for towers that read views in another size; one view of each picture */
  constructor(data: TowerData, see: See | null = null) {
    this.#inner = new TowerBatches(data);
    this.#see = see;
  }

  async next(size: number): Promise<NamingBatch> {
    const { batch, length, images, names, ...tower } = await this.#inner.next(size);
    const pixels = this.#see === null ? tower.pixels : (await this.#see(images)).pixels;
    return { batch, length, pixels, words: wordsOf(names) };
  }

  state(): unknown {
    return this.#inner.state();
  }

  restore(state: unknown): void {
    this.#inner.restore(state);
  }
}

/** Labels of `side` x `side` tokens, each of which has the words of its patches. */
export function joinedWords(words: readonly boolean[], views: number, side: number): boolean[] {
  const size = SIDE / side;
  const all = new Array<boolean>(views * side * side * WORDS).fill(false);
  words.forEach((named, at) => {
    if (!named) return;
    const [place, word] = [Math.floor(at / WORDS), at % WORDS];
    const [view, patch] = [Math.floor(place / SIDE ** 2), place % SIDE ** 2];
    const [row, column] = [Math.floor(patch / SIDE / size), Math.floor((patch % SIDE) / size)];
    all[((view * side + row) * side + column) * WORDS + word] = true;
  });
  return all;
}

/**
 * The objective for a model whose language model stays as it is: the squared distance of each token from the sum of its words'
 * embeddings, or from that of the filler of layouts where nothing lies. Where similarity to words was asked and nothing else,
 * tokens became sixteen times as long as the language model's own, and unlike them in all that was not asked.
 */
export async function namingObjective(model: VisionLanguageModel) {
  const { device, language } = model;
  const width = language.config.hiddenSize;
  const rowsOf = async (ids: readonly number[]) => {
    using rows = device.inference(() =>
      language.embed(device.tensor(Int32Array.from(ids), [ids.length], "i32")),
    );
    return Float32Array.from((await rows.data()) as Float32Array);
  };
  const table = await rowsOf(WORD_IDS);
  const filler = await rowsOf(worldIds(FILLER));
  for (const [name, token] of Object.entries(BETWEEN)) {
    if (model.parameters.has(name)) model.parameters.get(name).set(await rowsOf(worldIds(token)));
  }
  return (trained: VisionLanguageModel, { batch, pixels, words }: NamingBatch) => {
    const side = trained.imageSize;
    const tokens = trained.encodeViews(device.tensor(pixels, [batch, side, side, 3])); // [batch, N, d]
    const [, N] = tokens.shape;
    const labels = joinedWords(words, batch, Math.sqrt(N));
    const wanted = new Float32Array(batch * N * width);
    for (let token = 0; token < batch * N; token++) {
      const row = wanted.subarray(token * width, (token + 1) * width);
      let named = false;
      for (let word = 0; word < WORDS; word++) {
        if (!labels[token * WORDS + word]) continue;
        named = true;
        for (let i = 0; i < width; i++) row[i] += table[word * width + i];
      }
      if (!named) row.set(filler);
    }
    return { loss: scale(meanSquaredError(tokens, device.tensor(wanted, tokens.shape)), width) };
  };
}
