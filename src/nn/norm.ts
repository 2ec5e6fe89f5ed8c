/** Normalization layers. */
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
