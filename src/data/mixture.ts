/**
 * Which samples a step takes: sources by weight, steps of one modality or mixed, a share of text that falls to its target.
 * Everything follows from seed, stage, step and how many samples of each source were taken before, so that a run goes on
 * exactly where it stood and no sample comes twice before all others came.
 */
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { mix32 } from "./hash.ts";
import { Permutation } from "./permutation.ts";

/** `drawing`: pictures that are drawn for their captions. */
export type Modality = "images" | "text" | "drawing";

/** Samples of one kind. */
export interface MixedSource {
  /** Names the source in the state of a run: another name, another count. */
  readonly key: string;
  readonly modality: Modality;
  /** Samples; null: without end. */
  readonly size: number | null;
}

export interface MixtureOptions {
  readonly seed: number;
  /** Number of the stage, which moves its draws. */
  readonly stage?: number;
  /** Weights of the sources in their order. */
  readonly weights: readonly number[];
  /** Whether each step takes one modality; default true. */
  readonly grouped?: boolean;
  /** Share of text in samples, or of steps where they are grouped; default: by the weights. */
  readonly textShare?: number;
  /** Fraction of the stage over which the share of text falls from 1 to its target; default 0. */
  readonly textWarmup?: number;
}

/** What of which source. */
export interface Drawn {
  readonly source: number;
  /** Of the source's samples; where they have no end, the count so far. */
  readonly index: number;
}

/** Samples taken of each source, by key. */
export type MixtureCounts = Readonly<Record<string, number>>;

export class Mixture {
  readonly #sources: readonly MixedSource[];
  readonly #options: MixtureOptions;
  readonly #permutations = new Map<string, Permutation>();
  #counts: Record<string, number>;
  #step: number;

  /** @throws ConfigError if the weights leave nothing, or text alone is asked for and there is none */
  constructor(
    sources: readonly MixedSource[],
    options: MixtureOptions,
    counts: MixtureCounts = {},
    step = 0,
  ) {
    this.#sources = sources;
    this.#options = options;
    this.#counts = { ...counts };
    this.#step = step;
    const { weights, textShare } = options;
    const where = "mixture";
    if (weights.length !== sources.length || !(weights.reduce((a, b) => a + b, 0) > 0)) {
      throw new ConfigError("no source has a weight", { where, found: weights });
    }
    const has = (kind: "text" | "images") =>
      sources.some((each, i) => (each.modality === "text") === (kind === "text") && weights[i] > 0);
    if (textShare !== undefined && textShare > 0 && !has("text")) {
      throw new ConfigError("no source of text alone", {
        where,
        name: "textShare",
        expected: 0,
        found: textShare,
      });
    }
    if (textShare !== undefined && textShare < 1 && !has("images")) {
      throw new ConfigError("no source of images", {
        where,
        name: "textShare",
        expected: 1,
        found: textShare,
      });
    }
    if ((options.textWarmup ?? 0) > 0 && !has("text")) {
      throw new ConfigError("no source of text alone to warm up with", { where, name: "textWarmup" });
    }
  }

  /** Steps drawn in this stage, and samples of each source in the run. */
  get state(): { readonly step: number; readonly counts: MixtureCounts } {
    return { step: this.#step, counts: { ...this.#counts } };
  }

  /** The share of text of step `step` of a stage of so many; null while that is not known. */
  textShare(step: number, steps: number | null): number {
    const { textWarmup = 0 } = this.#options;
    const [text, seeing, drawing] = (["text", "images", "drawing"] as const).map((each) =>
      this.#weightOf(each),
    );
    const target = this.#options.textShare ?? text / (text + seeing + drawing);
    const over = textWarmup * (steps ?? Number.POSITIVE_INFINITY);
    return step < over ? 1 - (1 - target) * (over === Number.POSITIVE_INFINITY ? 0 : step / over) : target;
  }

  #weightOf(modality: Modality): number {
    const { weights } = this.#options;
    return this.#sources.reduce((sum, each, i) => sum + (each.modality === modality ? weights[i] : 0), 0);
  }

  /** What the next step takes, of a stage of so many steps. */
  next(batch: number, steps: number | null): Drawn[] {
    const { seed, stage = 0, grouped = true } = this.#options;
    const random = new Random(mix32(mix32(seed ^ 0x51ed270b) ^ stage), this.#step);
    const share = this.textShare(this.#step, steps);
    this.#step++;
    const [drawing, seeing] = [this.#weightOf("drawing"), this.#weightOf("images")];
    const pictures = (): Modality => {
      if (drawing === 0 || seeing === 0) return drawing > 0 ? "drawing" : "images";
      return random.uniform() * (drawing + seeing) < drawing ? "drawing" : "images";
    };
    const modality = (): Modality => (random.uniform() < share ? "text" : pictures());
    const all = grouped ? modality() : null;
    return Array.from({ length: batch }, () => this.#draw(all ?? modality(), random));
  }

  #draw(modality: Modality, random: Random): Drawn {
    const { weights, seed } = this.#options;
    let at = random.uniform() * this.#weightOf(modality);
    let source = -1;
    for (const [i, each] of this.#sources.entries()) {
      if (each.modality !== modality || weights[i] === 0) continue;
      source = i;
      at -= weights[i];
      if (at < 0) break;
    }
    const { key, size } = this.#sources[source];
    const count = this.#counts[key] ?? 0;
    this.#counts[key] = count + 1;
    if (size === null) return { source, index: count };
    const epoch = Math.floor(count / size);
    const name = `${key} ${epoch}`;
    let order = this.#permutations.get(name);
    if (order === undefined) {
      let stream = epoch;
      for (let i = 0; i < key.length; i++) stream = mix32(stream ^ key.charCodeAt(i));
      order = new Permutation(size, seed, stream);
      this.#permutations.set(name, order);
      this.#permutations.delete(`${key} ${epoch - 1}`);
    }
    return { source, index: order.at(count % size) };
  }
}
