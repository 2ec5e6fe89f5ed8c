/**
 * DeepSeek-VL and DeepSeek-VL2: a tower sees, a projector makes its tokens those of the language model, and they stand in
 * the prompt in place of ids. The language model is a `CausalLM` of its own, which engines and conversations run.
 */
import { checkNames } from "../nn/check-names.ts";
import type { Capture } from "../nn/context.ts";
import { unlessFrozen } from "../nn/frozen.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import { describeModule, type ParameterScope } from "../nn/scope.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { ShapeError } from "../tensor/errors.ts";
import { embedding } from "../tensor/ops/embedding.ts";
import { concat, reshape, split } from "../tensor/ops/reshape.ts";
import { type Device, disposeAll, type Tensor } from "../tensor/tensor.ts";
import { contentHash } from "../vision/content-hash.ts";
import { HybridTower } from "../vision/hybrid.ts";
import { Projector } from "../vision/projector.ts";
import { SiglipTower } from "../vision/siglip.ts";
import { TileLayout } from "../vision/tile-layout.ts";
import { imageTokens } from "../vision/tiles.ts";
import { projectedSide, towerSide } from "../vision/tower-config.ts";
import { CausalLM } from "./causal-lm.ts";
import { CodeGeneration } from "./janus/generation.ts";
import { FlowGeneration } from "./janusflow/generation.ts";
import type { LanguageConfig } from "./language-config.ts";
import { visionArchitecture } from "./vision-architectures.ts";
import type { GenerationConfig, VisionLanguageConfig } from "./vision-config.ts";

/** The views of images, as a processor makes them. */
export interface ImageViews {
  /** `[views, side, side, 3]` f32: of each image its one view, or the whole view and its tiles. */
  readonly pixels: Float32Array;
  /** Tiles of each image across and down; for models without tiles `[0, 0]` each. */
  readonly tiles: readonly (readonly [across: number, down: number])[];
}

/** An image as the language model reads it. */
export interface EncodedImage extends Disposable {
  /** `[n, d]`, the caller's to free. */
  readonly embeddings: Tensor;
  /** Names the content: SHA-256 of its pixels and tiles. */
  readonly hash: string;
}

export interface VisionModelOptions {
  /** Whether a model that draws has what it draws with, which nothing else needs; default true. */
  readonly drawing?: boolean;
}

export class VisionLanguageModel implements Disposable {
  readonly config: VisionLanguageConfig;
  readonly tower: SiglipTower | HybridTower;
  readonly projector: Projector;
  /** Null where an image has one view. */
  readonly tiles: TileLayout | null;
  readonly language: CausalLM;
  /** What draws; null for models that only see, and where it was left out. */
  readonly generation: CodeGeneration | FlowGeneration | null;
  readonly parameters: Parameters;
  /** Official names and keys of what was left out. */
  readonly #leftOut: ReadonlySet<string>;
  /** What stands before the tokens of each image, where the model learned one. */
  readonly #begin: ParameterGroup | null;

  /**
   * Declares the parameters in `scope` under the official names. @param drawing whether it has what it draws with
   * @throws ConfigError on counts beyond reason
   */
  constructor(
    scope: ParameterScope,
    config: VisionLanguageConfig,
    { drawing = true }: VisionModelOptions = {},
  ) {
    const { tower, projector, tiling, language, generation } = config;
    const { parts } = visionArchitecture(config);
    const whole = scope.part();
    this.config = config;
    const seeing = whole.part("vision");
    this.tower =
      tower.kind === "hybrid"
        ? new HybridTower(seeing.child(parts.tower), tower)
        : new SiglipTower(seeing.child(tiling === null ? `${parts.tower}.vision_tower` : parts.tower), tower);
    this.projector = new Projector(seeing.child(parts.projector), projector);
    this.tiles = tiling && new TileLayout(whole, language.hiddenSize, tiling.globalFirst);
    this.#begin =
      generation?.kind === "flow"
        ? seeing.matrix("beg_of_und_embed", 1, language.hiddenSize, { alwaysF32: true, unquantizable: true })
        : null;
    this.generation = drawing && generation ? generationOf(whole, generation, language) : null;
    this.#leftOut = drawing ? new Set() : namesOf(config);
    this.language = new CausalLM(whole.child(parts.language), language);
    this.parameters = whole.parameters;
  }

  /** @throws ConfigError if the model is only described */
  get device(): Device {
    return this.language.device;
  }

  /** What training may name: towers, projector with the tokens between views, language model. */
  get parts(): Readonly<Record<string, readonly string[]>> {
    const { tower, projector, language } = visionArchitecture(this.config).parts;
    const between = this.tiles === null ? [] : [...this.tiles.parameters.named()].map(({ name }) => name);
    const towers = this.config.tower.kind === "hybrid" ? ["high", "low"] : [];
    const each = towers.map((name) => [`vision.${name}`, [`${tower}.vision_tower_${name}`]]);
    const joining = [projector, ...between, ...(this.#begin === null ? [] : ["beg_of_und_embed"])];
    return {
      vision: [tower],
      ...Object.fromEntries(each),
      projector: joining,
      aligner: joining,
      language: [language],
      ...(this.generation !== null && {
        generation: [...this.generation.parameters.named()].map(({ name }) => name),
      }),
    };
  }

  /** Side of a view, in pixels. */
  get imageSize(): number {
    const { tower } = this.config;
    return tower.kind === "hybrid" ? tower.high.imageSize : tower.imageSize;
  }

  /** Tokens along each side of a view. */
  get #viewSide(): number {
    const { tower, projector } = this.config;
    return projectedSide(projector, towerSide(tower));
  }

  /** Tokens of a view, without what stands around them. */
  get viewTokens(): number {
    return this.#viewSide ** 2;
  }

  /** Tokens of an image of so many tiles. */
  imageTokens(tiles: readonly [across: number, down: number]): number {
    const side = this.#viewSide;
    if (this.tiles === null) return this.viewTokens + (this.#begin === null ? 0 : 1);
    return imageTokens({ tileSize: side, patchSize: 1, downsampleRatio: 1 }, tiles);
  }

  /** pixels `[views, side, side, 3]` to tokens of each view, `[views, N, d]`. @throws ShapeError */
  encodeViews(pixels: Tensor, capture: Capture | null = null): Tensor {
    this.#checkViews(pixels);
    return pixels.device.tidy(() => {
      const { tower } = this;
      // A tower inside a hybrid one may be frozen alone: it looks after itself.
      const seen = unlessFrozen(tower.parameters, pixels, () => tower.forward(pixels, capture));
      return this.projector.forward(seen, capture);
    });
  }

  #checkViews({ shape }: Tensor): void {
    const side = this.imageSize;
    const [, height, width, channels] = shape;
    if (shape.length === 4 && height === side && width === side && channels === 3) return;
    throw new ShapeError("views of another size", {
      where: "VisionLanguageModel",
      expected: `[views, ${side}, ${side}, 3]`,
      found: shape,
    });
  }

  /** `encodeViews` without gradients, with a pause before each layer; the result is the caller's. @throws ShapeError */
  *encodeViewsByLayer(pixels: Tensor): Generator<void, Tensor, void> {
    this.#checkViews(pixels);
    const seen = yield* this.tower.forwardByLayer(pixels);
    try {
      return pixels.device.inference(() => this.projector.forward(seen)); // [views, N, d]
    } finally {
      disposeAll(seen);
    }
  }

  /**
   * Tokens of images in order, `[n, d]` each, from those of their views, `[views, N, d]`. @throws ShapeError
   */
  arrange(views: Tensor, tiles: ImageViews["tiles"]): Tensor[] {
    const [count, tokens, width] = views.shape;
    const counts = tiles.map(([across, down]) => 1 + across * down);
    const total = counts.reduce((sum, each) => sum + each, 0);
    if (total !== count) {
      throw new ShapeError("the views of other images", {
        where: "VisionLanguageModel",
        expected: `${total} views of ${tiles.length} images`,
        found: count,
      });
    }
    const { tiles: layout } = this;
    const begin = this.#begin;
    return views.device.tidy(() => {
      const flat = reshape(views, [1, count * tokens * width]);
      const parts = split(
        flat,
        counts.map((each) => each * tokens * width),
      );
      return parts.map((part, i) => {
        if (layout === null && begin !== null) {
          const both = concat([reshape(begin.tensor, [1, width]), reshape(part, [1, tokens * width])]);
          return reshape(both, [1 + tokens, width]);
        }
        if (layout === null) return reshape(part, [tokens, width]);
        return layout.forward(reshape(part, [counts[i], tokens, width]), tiles[i]);
      });
    });
  }

  /** Encodes images one at a time, without gradients. The results are the caller's. @throws ShapeError, ConfigError */
  async encodeImages({ pixels, tiles }: ImageViews): Promise<EncodedImage[]> {
    const { device, imageSize: side } = this;
    const area = side ** 2 * 3;
    const encoded: EncodedImage[] = [];
    let start = 0;
    for (const each of tiles) {
      const views = 1 + each[0] * each[1];
      const own = pixels.subarray(start * area, (start + views) * area);
      start += views;
      if (own.length !== views * area) {
        throw new ShapeError("pixels of fewer views", {
          where: "encodeImages",
          expected: `${start} views of ${side} x ${side} pixels`,
          found: `${pixels.length} values`,
        });
      }
      const bytes = new Uint8Array(own.buffer, own.byteOffset, own.byteLength);
      const hash = await contentHash([...each, own.length], bytes);
      const embeddings = device.inference(() => {
        const tokens = this.encodeViews(device.tensor(own, [views, side, side, 3]));
        return this.arrange(tokens, [each])[0];
      });
      encoded.push({ embeddings, hash, [Symbol.dispose]: () => embeddings.dispose() });
    }
    return encoded;
  }

  /**
   * What the language model reads: rows of its table, and where `ids` say `imageId` the images' tokens, in order.
   * ids `[B, T]` i32 known on the host, images `[n, d]` each -> `[B, T, d]`, differentiable.
   * @throws ShapeError if images and places differ in number
   */
  inputs(
    ids: ArrayLike<number>,
    shape: readonly [number, number],
    images: readonly Tensor[],
    imageId: number,
  ) {
    const { device } = this;
    const width = this.config.language.hiddenSize;
    const [sequences, tokens] = shape;
    const places = Array.from(ids).filter((id) => id === imageId).length;
    const given = images.reduce((sum, { shape: [n] }) => sum + n, 0);
    if (places !== given) {
      throw new ShapeError("as many places as tokens of images", {
        where: "VisionLanguageModel.inputs",
        expected: `${given} places for ${images.length} image${images.length === 1 ? "" : "s"}`,
        found: `${places} places`,
      });
    }
    return device.tidy(() => {
      const text = this.language.embed(device.tensor(Int32Array.from(ids), [...shape], "i32")); // [B, T, d]
      if (images.length === 0) return text;
      const rows = sequences * tokens;
      const parts = [
        reshape(text, [1, rows * width]),
        ...images.map((each) => reshape(each, [1, each.size])),
      ];
      const table = reshape(concat(parts), [rows + given, width]);
      let next = rows;
      const order = Int32Array.from(ids, (id, i) => (id === imageId ? next++ : i));
      return embedding(table, device.tensor(order, [sequences, tokens], "i32")); // [B, T, d]
    });
  }

  /** Whether a checkpoint may hold this tensor though the model does not read it. */
  ignores(name: string): boolean {
    // The codes that training had used, and the head of representation alignment, draw nothing.
    const unread = /^gen_vision_model\.quantize\.codebook_used$|^repa_head\./;
    const draws = this.config.generation !== null;
    return (draws && unread.test(name)) || this.#leftOut.has(name) || this.language.ignores(name);
  }

  /** Reads all parameters from a checkpoint with official names. @throws FormatError, ShapeError naming the tensor */
  async load(source: WeightSource, progress?: (group: ParameterGroup) => void): Promise<void> {
    checkNames([this], source);
    await this.parameters.load(source, progress);
  }

  [Symbol.dispose](): void {
    this.language[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
  }
}

function generationOf(scope: ParameterScope, config: GenerationConfig, language: LanguageConfig) {
  if (config.kind === "codes") return new CodeGeneration(scope, config, language.hiddenSize);
  return new FlowGeneration(scope, config, language);
}

/** What a checkpoint calls that which a model draws with, quantized or not. */
function namesOf({ generation, language }: VisionLanguageConfig): Set<string> {
  if (generation === null) return new Set();
  const { parameters } = describeModule((scope) => generationOf(scope, generation, language));
  const names = new Set<string>();
  for (const { key, parts, layout } of parameters.groups()) {
    const keys = [key, ...(layout?.pieces ?? []).map((piece) => piece.key)];
    for (const name of [...keys, ...parts.map((part) => part.name)]) names.add(name);
  }
  return names;
}
