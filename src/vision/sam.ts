/**
 * SAM's image encoder as DeepSeek-VL ends it (`sam.py`, sam_b_downsample): windowed attention with relative positions,
 * some blocks that see the whole image, a neck of convolutions, and two more that halve the grid. The state after the
 * first block that sees everything goes through a neck of its own and is added as detail.
 */
import { BidirectionalAttention } from "../nn/attention/bidirectional.ts";
import { type Capture, captured } from "../nn/context.ts";
import { Conv2d } from "../nn/conv.ts";
import { Linear } from "../nn/linear.ts";
import { LayerNorm } from "../nn/norm.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { add } from "../tensor/ops/elementwise.ts";
import { multiply } from "../tensor/ops/multiply.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { resize } from "../tensor/ops/resize.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { PatchEmbedding } from "./patch-embedding.ts";
import { PositionTable } from "./position-table.ts";
import { EPSILON, type Normed } from "./siglip.ts";
import { gridSide, type SamConfig, samSide } from "./tower-config.ts";

class SamBlock {
  readonly norm1: LayerNorm;
  readonly #norm2: LayerNorm;
  readonly #attention: BidirectionalAttention;
  readonly #expand: Linear;
  readonly #contract: Linear;
  /** Side of the grid, in patches. */
  readonly #side: number;

  /** @param global whether tokens see the whole image */
  constructor(scope: ParameterScope, config: SamConfig, global: boolean) {
    const { width, heads, mlpWidth, windowSize } = config;
    const side = gridSide(config);
    const seen = global ? side : windowSize;
    const linear = (name: string, inputs: number, outputs: number, options = {}) =>
      new Linear(scope.child(name), inputs, outputs, { bias: true, ...options });
    this.#side = side;
    this.norm1 = new LayerNorm(scope.child("norm1"), width, EPSILON);
    this.#attention = new BidirectionalAttention(scope.child("attn"), width, {
      heads,
      ...(!global && { window: windowSize }),
      relative: [seen, seen],
    });
    this.#norm2 = new LayerNorm(scope.child("norm2"), width, EPSILON);
    this.#expand = linear("mlp.lin1", width, mlpWidth, { activation: "gelu" });
    this.#contract = linear("mlp.lin2", mlpWidth, width);
  }

  /** As `SiglipBlock.forward`. */
  forward({ sum, normalized }: Normed, capture: Capture | null, name: string) {
    const { device } = sum;
    return device.tidy(() => {
      const attended = this.#attention.forward(normalized, [this.#side, this.#side]); // [B, N, width]
      captured(capture, `${name}attn`, attended);
      const half = this.#norm2.add(attended, sum); // [B, N, width] each
      const update = this.#contract.forward(this.#expand.forward(half.normalized)); // [B, N, width]
      return { state: half.sum, update };
    });
  }
}

/** Convolutions that take a state to fewer channels, with a norm over channels after each. */
export class SamNeck {
  readonly #reduce: Conv2d;
  readonly #norm1: LayerNorm;
  readonly #mix: Conv2d;
  readonly #norm2: LayerNorm;

  constructor(scope: ParameterScope, width: number, channels: number) {
    this.#reduce = new Conv2d(scope.child("0"), width, channels, [1, 1], { bias: false });
    this.#norm1 = new LayerNorm(scope.child("1"), channels, EPSILON);
    this.#mix = new Conv2d(scope.child("2"), channels, channels, [3, 3], { bias: false, padding: 1 });
    this.#norm2 = new LayerNorm(scope.child("3"), channels, EPSILON);
  }

  /** `[B, height, width, channels]` of the blocks to those of the neck. */
  forward(x: Tensor): Tensor {
    return x.device.tidy(() =>
      this.#norm2.forward(this.#mix.forward(this.#norm1.forward(this.#reduce.forward(x)))),
    );
  }
}

export class SamTower {
  readonly config: SamConfig;
  readonly parameters: Parameters;
  readonly neck: SamNeck;
  readonly #patches: PatchEmbedding;
  readonly #positions: PositionTable;
  readonly #blocks: readonly SamBlock[];
  readonly #detailNeck: SamNeck;
  readonly #downsamples: readonly Conv2d[];
  readonly #detail: ParameterGroup;

  /** Declares the tower's tensors under the names of `ImageEncoderViT`. */
  constructor(scope: ParameterScope, config: SamConfig) {
    const { width, layers, patchSize, globalLayers, neckWidth, outputWidths } = config;
    const own = scope.part();
    const side = gridSide(config);
    this.config = config;
    this.#positions = new PositionTable(own, [side, side], width);
    this.#patches = new PatchEmbedding(own.child("patch_embed").child("proj"), patchSize, width);
    this.#blocks = Array.from({ length: layers }, (_, block) => {
      return new SamBlock(own.child("blocks").child(`${block}`), config, globalLayers.includes(block));
    });
    this.neck = new SamNeck(own.child("neck"), width, neckWidth);
    this.#detailNeck = new SamNeck(own.child("neck_hd"), width, neckWidth);
    const widths = [neckWidth, ...outputWidths];
    this.#downsamples = outputWidths.map((outputs, i) => {
      const options = { bias: false, stride: 2, padding: 1 };
      return new Conv2d(own.child("downsamples").child(`${i}`), widths[i], outputs, [3, 3], options);
    });
    this.#detail = own.vector("hd_alpha_downsamples", 1, { initial: "zeros" });
    this.parameters = own.parameters;
  }

  /** `forward` without gradients, with a pause before each layer; the result is the caller's. @throws ShapeError */
  *forwardByLayer(pixels: Tensor): Generator<void, Tensor, void> {
    const { device } = pixels;
    const [first] = this.config.globalLayers;
    let normed: { readonly sum: Tensor; readonly normalized: Tensor | null } = device.inference(() =>
      this.#blocks[0].norm1.add(this.#patches.forward(pixels), this.#positions.forward(pixels.shape[0])),
    );
    let detail: Tensor | null = null;
    try {
      for (const [index, block] of this.#blocks.entries()) {
        yield;
        const before = normed as Normed;
        const made = device.inference(() => {
          const { state, update } = block.forward(before, null, "");
          const next = this.#blocks[index + 1]?.norm1;
          // No norm follows the last block.
          return next ? next.add(update, state) : { sum: add(update, state), normalized: null };
        });
        disposeAll(before);
        normed = made;
        if (index === first) detail = device.unscoped(() => made.sum.view(made.sum.shape));
      }
      yield;
      return device.inference(() => {
        const main = this.#finish(this.neck, normed.sum, null, "");
        const finer = this.#finish(this.#detailNeck, detail!, null, "_hd");
        return add(main, multiply(finer, this.#detail.tensor)); // [B, N, channels]
      });
    } finally {
      disposeAll([normed, detail]);
    }
  }

  /** pixels `[B, imageSize, imageSize, 3]`, normalized, to `[B, N, channels]`, row by row: N is 576 in released models. @throws ShapeError */
  forward(pixels: Tensor, capture: Capture | null = null): Tensor {
    const { device } = pixels;
    const [first] = this.config.globalLayers;
    return device.tidy(() => {
      const patches = this.#patches.forward(pixels); // [B, N, width]
      const positions = this.#positions.forward(pixels.shape[0]);
      captured(capture, "patch_embed", patches);
      let normed: Normed = this.#blocks[0].norm1.add(patches, positions);
      let last: Tensor | null = null;
      let detail: Tensor | null = null;
      this.#blocks.forEach((block, index) => {
        const before = normed;
        const { state, update } = block.forward(before, capture, `block${index}.`);
        const next = this.#blocks[index + 1]?.norm1;
        // No norm follows the last block.
        if (next) normed = next.add(update, state);
        const sum = next ? normed.sum : add(update, state); // [B, N, width]
        for (const each of [state, update, before.normalized, before.sum]) {
          if (each !== detail) device.release(each);
        }
        captured(capture, `block${index}`, sum);
        if (index === first) detail = sum;
        last = sum;
      });
      const main = this.#finish(this.neck, last!, capture, "");
      const finer = this.#finish(this.#detailNeck, detail!, capture, "_hd");
      return add(main, multiply(finer, this.#detail.tensor)); // [B, N, channels]
    });
  }

  /** A state through a neck and the convolutions that both branches share. */
  #finish(neck: SamNeck, state: Tensor, capture: Capture | null, name: string): Tensor {
    const [B, N, width] = state.shape;
    const side = Math.sqrt(N);
    const narrow = neck.forward(reshape(state, [B, side, side, width]));
    captured(capture, `neck${name}`, narrow);
    const { resizedSide } = this.config;
    const sized = resize(narrow, [resizedSide, resizedSide], "bilinear");
    const small = this.#downsamples.reduce((x, convolution) => convolution.forward(x), sized);
    captured(capture, `downsamples${name}`, small);
    return reshape(small, [B, samSide(this.config) ** 2, small.shape[3]]);
  }
}
