/**
 * SigLIP's vision transformer in timm's layout, as DeepSeek-VL, Janus and DeepSeek-VL2 build it (`siglip_vit.py`): no class
 * token, learned positions, norms before attention and feed-forward layer, and one at the end.
 */
import { BidirectionalAttention } from "../nn/attention/bidirectional.ts";
import { type Capture, captured } from "../nn/context.ts";
import { Linear } from "../nn/linear.ts";
import { LayerNorm } from "../nn/norm.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { PatchEmbedding } from "./patch-embedding.ts";
import { PositionTable } from "./position-table.ts";
import { gridSide, type SiglipConfig } from "./tower-config.ts";

/** Of all norms of the towers. */
export const EPSILON = 1e-6;

/** A state, and its norm for the layer that reads it. */
export interface Normed {
  readonly sum: Tensor;
  readonly normalized: Tensor;
}

export class SiglipBlock {
  readonly norm1: LayerNorm;
  readonly #norm2: LayerNorm;
  readonly #attention: BidirectionalAttention;
  readonly #expand: Linear;
  readonly #contract: Linear;

  constructor(scope: ParameterScope, { width, heads, mlpWidth, activation }: SiglipConfig) {
    const bias = true;
    const linear = (name: string, inputs: number, outputs: number, options = {}) =>
      new Linear(scope.child(name), inputs, outputs, { bias, ...options });
    this.norm1 = new LayerNorm(scope.child("norm1"), width, EPSILON);
    this.#attention = new BidirectionalAttention(scope.child("attn"), width, { heads });
    this.#norm2 = new LayerNorm(scope.child("norm2"), width, EPSILON);
    this.#expand = linear("mlp.fc1", width, mlpWidth, { activation });
    this.#contract = linear("mlp.fc2", mlpWidth, width);
  }

  /**
   * The state after attention, and what the feed-forward layer adds to it, `[B, N, width]` each: the sum is left to the
   * norm that comes next. @param name what captured values are called, with a dot
   */
  forward({ sum, normalized }: Normed, capture: Capture | null, name: string) {
    const { device } = sum;
    return device.tidy(() => {
      captured(capture, `${name}norm1`, normalized);
      const attended = this.#attention.forward(normalized); // [B, N, width]
      captured(capture, `${name}attn`, attended);
      const half = this.#norm2.add(attended, sum); // [B, N, width] each
      const update = this.#contract.forward(this.#expand.forward(half.normalized)); // [B, N, width]
      captured(capture, `${name}mlp`, update);
      return { state: half.sum, update };
    });
  }
}

export class SiglipTower {
  readonly config: SiglipConfig;
  readonly parameters: Parameters;
  readonly blocks: readonly SiglipBlock[];
  readonly #patches: PatchEmbedding;
  readonly #positions: PositionTable;
  readonly norm: LayerNorm;

  /** Declares the tower's tensors under timm's names. */
  constructor(scope: ParameterScope, config: SiglipConfig) {
    const { patchSize, width, layers, mlpWidth } = config;
    const own = scope.part();
    this.config = config;
    this.#patches = new PatchEmbedding(own.child("patch_embed").child("proj"), patchSize, width);
    this.#positions = new PositionTable(own, [gridSide(config) ** 2], width);
    this.blocks = Array.from(
      { length: layers },
      (_, block) => new SiglipBlock(own.child("blocks").child(`${block}`), config),
    );
    this.norm = new LayerNorm(own.child("norm"), width, EPSILON);
    if (config.pool) declareAttentionPool(own.child("attn_pool"), width, mlpWidth);
    this.parameters = own.parameters;
  }

  /** States after each of the first blocks, before any final norm: `[B, imageSize, imageSize, 3]` to `[B, N, width]` each. */
  firstStates(pixels: Tensor, blocks: number): Tensor[] {
    return pixels.device.tidy(() => {
      const patches = this.#patches.forward(pixels); // [B, N, width]
      let normed: Normed = this.blocks[0].norm1.add(patches, this.#positions.forward(patches.shape[0]));
      return this.blocks.slice(0, blocks).map((block, index) => {
        const { state, update } = block.forward(normed, null, "");
        normed = (this.blocks[index + 1]?.norm1 ?? this.norm).add(update, state); // [B, N, width] each
        return normed.sum;
      });
    });
  }

  /** `forward` without gradients, with a pause before each layer; the result is the caller's. @throws ShapeError */
  *forwardByLayer(pixels: Tensor): Generator<void, Tensor, void> {
    const { device } = pixels;
    let normed: Normed = device.inference(() => {
      const patches = this.#patches.forward(pixels); // [B, N, width]
      return this.blocks[0].norm1.add(patches, this.#positions.forward(patches.shape[0]));
    });
    try {
      for (const [index, block] of this.blocks.entries()) {
        yield;
        const next = device.inference(() => {
          const { state, update } = block.forward(normed, null, "");
          return (this.blocks[index + 1]?.norm1 ?? this.norm).add(update, state); // [B, N, width] each
        });
        disposeAll(normed);
        normed = next;
      }
      return device.unscoped(() => normed.normalized.view(normed.normalized.shape));
    } finally {
      disposeAll(normed);
    }
  }

  /** pixels `[B, imageSize, imageSize, 3]`, normalized, to `[B, N, width]`, row by row. @throws ShapeError */
  forward(pixels: Tensor, capture: Capture | null = null): Tensor {
    const { device } = pixels;
    return device.tidy(() => {
      const patches = this.#patches.forward(pixels); // [B, N, width]
      captured(capture, "patch_embed", patches);
      let normed: Normed = this.blocks[0].norm1.add(patches, this.#positions.forward(patches.shape[0]));
      this.blocks.forEach((block, index) => {
        const before = normed;
        const { state, update } = block.forward(before, capture, `block${index}.`);
        normed = (this.blocks[index + 1]?.norm1 ?? this.norm).add(update, state); // [B, N, width] each
        for (const each of [before.sum, before.normalized, state, update]) device.release(each);
        captured(capture, `block${index}`, normed.sum);
      });
      return normed.normalized;
    });
  }
}

/** The attention pool, which checkpoints have and no DeepSeek model runs: it is kept, not trained. */
function declareAttentionPool(scope: ParameterScope, width: number, mlpWidth: number): void {
  const matrix = (name: string, rows: number, columns: number) => {
    scope.matrix(`${name}.weight`, rows, columns, { trained: false });
    scope.vector(`${name}.bias`, rows, { initial: "zeros", trained: false });
  };
  scope.declare({
    key: "latent",
    shape: [width],
    parts: [{ name: "latent", shape: [1, 1, width], offset: 0 }],
    ...{ trained: false, decay: false, alwaysF32: true },
  });
  matrix("q", width, width);
  matrix("kv", 2 * width, width);
  matrix("proj", width, width);
  scope.vector("norm.weight", width, { initial: "ones", trained: false });
  scope.vector("norm.bias", width, { initial: "zeros", trained: false });
  matrix("mlp.fc1", mlpWidth, width);
  matrix("mlp.fc2", width, mlpWidth);
}
