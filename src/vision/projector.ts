/**
 * What stands between a tower and the language model (`MlpProjector` of deepseek-ai/DeepSeek-VL and DeepSeek-VL2): linear
 * layers with GELU between them, after joining neighboring tokens or the tokens of two towers.
 */
import { type Capture, captured } from "../nn/context.ts";
import { Linear } from "../nn/linear.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { ShapeError } from "../tensor/errors.ts";
import { gelu } from "../tensor/ops/gelu.ts";
import { unfold } from "../tensor/ops/pixel-shuffle.ts";
import { concat, reshape } from "../tensor/ops/reshape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ProjectorConfig } from "./tower-config.ts";

/** The tokens of a tower, or of the two of a hybrid one, `[B, N, width]` each. */
export type TowerOutput = Tensor | { readonly high: Tensor; readonly low: Tensor };

/** Tokens of a square grid, `size` x `size` of them joined to one: `[B, n^2, C]` to `[B, ceil(n / size)^2, C size^2]`. */
function joinTokens(x: Tensor, size: number): Tensor {
  const [B, N, width] = x.shape;
  const side = Math.sqrt(N);
  if (!Number.isInteger(side)) {
    throw new ShapeError("tokens of a square grid", { where: "Projector", expected: "n x n", found: N });
  }
  const joined = unfold(reshape(x, [B, side, side, width]), size);
  const [, rows, columns, deep] = joined.shape;
  return reshape(joined, [B, rows * columns, deep]);
}

export class Projector {
  readonly config: ProjectorConfig;
  readonly parameters: Parameters;
  readonly #high: Linear | null = null;
  readonly #low: Linear | null = null;
  readonly #pool: Linear | null = null;
  readonly #layers: readonly Linear[];

  /** Declares the layers under their names inside the `nn.Sequential` of the reference, where GELUs count. */
  constructor(scope: ParameterScope, config: ProjectorConfig) {
    const own = scope.part();
    const bias = true;
    const { inputs, outputs } = config;
    this.config = config;
    const layers = own.child("layers");
    const chain = (count: number, first: number, widths: (layer: number) => readonly [number, number]) =>
      Array.from({ length: count }, (_, layer) => {
        const activation = layer < count - 1 ? ("gelu" as const) : undefined;
        return new Linear(layers.child(`${first + 2 * layer}`), ...widths(layer), { bias, activation });
      });
    const square = [outputs, outputs] as const;
    switch (config.kind) {
      case "identity":
        this.#layers = [];
        break;
      case "linear":
        this.#layers = [new Linear(config.bare === true ? own : layers, inputs, outputs, { bias })];
        break;
      case "mlp_gelu":
        this.#layers = chain(config.depth, 0, (layer) => (layer === 0 ? [inputs, outputs] : square));
        break;
      case "downsample_mlp_gelu": {
        const { depth, ratio, mlpRatio } = config;
        const inner = outputs * mlpRatio;
        this.#layers = chain(depth, 0, (layer) => [
          layer === 0 ? inputs * ratio ** 2 : inner,
          layer === depth - 1 ? outputs : inner,
        ]);
        break;
      }
      case "low_high_hybrid_split_mlp_gelu":
        this.#high = new Linear(own.child("high_up_proj"), inputs, outputs / 2, { bias });
        this.#low = new Linear(own.child("low_up_proj"), inputs, outputs / 2, { bias });
        // The first GELU is the first of the sequence.
        this.#layers = chain(config.depth - 1, 1, () => square);
        break;
    }
    if ("pooled" in config && config.pooled) {
      this.#pool = new Linear(own.child("token_pooling_layer"), 4 * inputs, inputs, { bias });
    }
    this.parameters = own.parameters;
  }

  /** Tokens `[B, N, inputs]` to `[B, M, outputs]`. @throws ShapeError for the output of another kind of tower */
  forward(x: TowerOutput, capture: Capture | null = null): Tensor {
    const hybrid = "high" in x;
    if (hybrid !== (this.#high !== null)) {
      throw new ShapeError("the output of another kind of tower", {
        where: "Projector",
        name: this.config.kind,
        expected: hybrid ? "the tokens of one tower" : "high and low",
      });
    }
    const { device } = hybrid ? x.high : x;
    return device.tidy(() => {
      const first = hybrid ? this.#fuse(x.high, x.low, capture) : this.#join(x, capture);
      return this.#layers.reduce((y, layer) => layer.forward(y), first);
    });
  }

  /** Both towers' tokens side by side, high resolution first. */
  #fuse(high: Tensor, low: Tensor, capture: Capture | null): Tensor {
    const up = this.#high!.forward(high); // [B, N, outputs / 2]
    captured(capture, "high_up", up);
    const both = concat([up, this.#low!.forward(low)]); // [B, N, outputs]
    return this.#layers.length === 0 ? both : gelu(both);
  }

  #join(x: Tensor, capture: Capture | null): Tensor {
    const { config } = this;
    if (this.#pool !== null) return this.#pool.forward(joinTokens(x, 2));
    if (config.kind !== "downsample_mlp_gelu") return x;
    const joined = joinTokens(x, config.ratio);
    captured(capture, "unfolded", joined);
    return joined;
  }
}
