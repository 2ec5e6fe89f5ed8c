/** Normalization layers. */
import { addLayerNorm, layerNorm } from "../tensor/ops/layer-norm.ts";
import { rmsNorm } from "../tensor/ops/rms-norm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import type { ParameterScope } from "./scope.ts";

/** Root-mean-square norm with one trained factor for each channel (arXiv 1910.07467). */
export class RmsNorm {
  readonly #weight: ParameterGroup;
  readonly #epsilon: number;

  /** Declares `weight`. */
  constructor(scope: ParameterScope, width: number, epsilon: number) {
    this.#weight = scope.vector("weight", width, { initial: "ones" });
    this.#epsilon = epsilon;
  }

  /** `x: [.., width]` to the same shape. @throws ShapeError */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.#weight.tensor, this.#epsilon);
  }
}

/** Layer norm over the last axis with a trained factor and offset for each channel (arXiv 1607.06450). */
export class LayerNorm {
  readonly #weight: ParameterGroup;
  readonly #bias: ParameterGroup;
  readonly #epsilon: number;

  /** Declares `weight` and `bias`. */
  constructor(scope: ParameterScope, width: number, epsilon: number) {
    this.#weight = scope.vector("weight", width, { initial: "ones" });
    this.#bias = scope.vector("bias", width, { initial: "zeros" });
    this.#epsilon = epsilon;
  }

  /** `x: [.., width]` to the same shape. @throws ShapeError */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.#weight.tensor, this.#bias.tensor, this.#epsilon);
  }

  /** `x + residual` and its norm in one pass over memory, `[.., width]` each. @throws ShapeError */
  add(x: Tensor, residual: Tensor): { readonly sum: Tensor; readonly normalized: Tensor } {
    return addLayerNorm(x, residual, this.#weight.tensor, this.#bias.tensor, this.#epsilon);
  }
}
