/** Normalization layers. */
import { groupNorm } from "../tensor/ops/group-norm.ts";
import { addLayerNorm, layerNorm } from "../tensor/ops/layer-norm.ts";
import { responseNorm } from "../tensor/ops/response-norm.ts";
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

/** Group norm of images with channels last (arXiv 1803.08494), with a trained factor and offset for each channel. */
export class GroupNorm {
  readonly #weight: ParameterGroup;
  readonly #bias: ParameterGroup;
  readonly #groups: number;
  readonly #epsilon: number;

  /** Declares `weight` and `bias`. @param groups a divisor of the width */
  constructor(scope: ParameterScope, width: number, groups: number, epsilon: number) {
    this.#weight = scope.vector("weight", width, { initial: "ones" });
    this.#bias = scope.vector("bias", width, { initial: "zeros" });
    this.#groups = groups;
    this.#epsilon = epsilon;
  }

  /** `x: [batch, .., width]` to the same shape, with SiLU in the same pass if it is asked for. @throws ShapeError */
  forward(x: Tensor, activation: "silu" | null = null): Tensor {
    const { tensor: weight } = this.#weight;
    return groupNorm(x, weight, this.#bias.tensor, this.#groups, this.#epsilon, activation);
  }
}

/** Global response norm of ConvNeXt V2 (arXiv 2301.00808), whose factor and offset begin at zero. */
export class ResponseNorm {
  readonly #weight: ParameterGroup;
  readonly #bias: ParameterGroup;

  /** Declares `weight` and `bias`, `[1, 1, 1, width]` in checkpoints. */
  constructor(scope: ParameterScope, width: number) {
    const vector = (name: string) =>
      scope.declare({
        key: name,
        shape: [width],
        parts: [{ name, shape: [1, 1, 1, width], offset: 0 }],
        ...({ initial: "zeros", decay: false, alwaysF32: true } as const),
      });
    this.#weight = vector("weight");
    this.#bias = vector("bias");
  }

  /** `x: [batch, .., width]` to the same shape. @throws ShapeError */
  forward(x: Tensor): Tensor {
    return responseNorm(x, this.#weight.tensor, this.#bias.tensor, 1e-6);
  }
}
