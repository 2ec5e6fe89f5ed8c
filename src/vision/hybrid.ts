/**
 * The two towers of DeepSeek-VL 7B (`HybridVisionTower`): SAM sees the image, SigLIP a smaller copy that is made here; their
 * tokens lie one to one.
 */
import { type Capture, captured } from "../nn/context.ts";
import { unlessFrozen } from "../nn/frozen.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { linear } from "../tensor/ops/linear.ts";
import { resize } from "../tensor/ops/resize.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { SamTower } from "./sam.ts";
import { SiglipTower } from "./siglip.ts";
import type { HybridConfig, MeanAndStd } from "./tower-config.ts";

/** `(x - mean) / std` by channel, `[.., 3]`, as the product with a diagonal. */
function normalized(x: Tensor, { mean, std }: MeanAndStd): Tensor {
  const { device } = x;
  const diagonal = Float32Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? 1 / std[i / 4] : 0));
  const offset = Float32Array.from(mean, (m, i) => -m / std[i]);
  return linear(x, device.tensor(diagonal, [3, 3]), device.tensor(offset, [3]));
}

/** Names of a tower's values as seen from outside. */
const inside = (capture: Capture | null, name: string): Capture | null =>
  capture === null ? null : (inner, tensor) => capture(`${name}.${inner}`, tensor);

export class HybridTower {
  readonly config: HybridConfig;
  readonly parameters: Parameters;
  readonly high: SamTower;
  readonly low: SiglipTower;

  /** Declares both towers' tensors, and the norms after them that no model runs. */
  constructor(scope: ParameterScope, config: HybridConfig) {
    const own = scope.part();
    this.config = config;
    this.high = new SamTower(own.child("vision_tower_high").child("vision_tower"), config.high);
    this.low = new SiglipTower(own.child("vision_tower_low").child("vision_tower"), config.low);
    if (config.norms) {
      for (const name of ["high_layer_norm", "low_layer_norm"]) {
        const norm = own.child(name);
        norm.vector("weight", config.low.width, { initial: "ones", trained: false });
        norm.vector("bias", config.low.width, { initial: "zeros", trained: false });
      }
    }
    this.parameters = own.parameters;
  }

  /** The small copy of an image, `[B, size, size, 3]` in [0, 1]. */
  lowImage(pixels: Tensor): Tensor {
    const { imageSize } = this.config.low;
    return resize(pixels, [imageSize, imageSize], "bilinear_antialias");
  }

  /** pixels `[B, imageSize, imageSize, 3]` in [0, 1] to the tokens of both towers, `[B, 576, width]` each. @throws ShapeError */
  forward(pixels: Tensor, capture: Capture | null = null) {
    return pixels.device.tidy(() => {
      const small = this.lowImage(pixels);
      captured(capture, "low_image", small);
      const { highPixels, lowPixels } = this.config;
      return this.encode(normalized(pixels, highPixels), normalized(small, lowPixels), capture);
    });
  }

  /** `forward` without gradients, with a pause before each layer; the result is the caller's. @throws ShapeError */
  *forwardByLayer(pixels: Tensor): Generator<void, { readonly high: Tensor; readonly low: Tensor }, void> {
    const { highPixels, lowPixels } = this.config;
    const inputs = pixels.device.inference(() => ({
      high: normalized(pixels, highPixels),
      low: normalized(this.lowImage(pixels), lowPixels),
    }));
    let high: Tensor | null = null;
    try {
      high = yield* this.high.forwardByLayer(inputs.high);
      const low = yield* this.low.forwardByLayer(inputs.low);
      const tokens = { high, low };
      high = null;
      return tokens;
    } finally {
      disposeAll([inputs, high]);
    }
  }

  /** As `forward`, of the two images that the towers read, both normalized. */
  encode(high: Tensor, low: Tensor, capture: Capture | null = null) {
    // In training one of them may be frozen and the other not.
    const see = (tower: SamTower | SiglipTower, pixels: Tensor, name: string) =>
      unlessFrozen(tower.parameters, pixels, () => tower.forward(pixels, inside(capture, name)));
    const tokens = { high: see(this.high, high, "sam"), low: see(this.low, low, "siglip") };
    captured(capture, "high", tokens.high);
    captured(capture, "low", tokens.low);
    return tokens;
  }
}
