/** The linear layer `activation(x W^T + b)`: one official matrix, or several with the same input stored as one. */
import { type Activation, gelu } from "../tensor/ops/gelu.ts";
import { linear } from "../tensor/ops/linear.ts";
import { addLowRank } from "../tensor/ops/low-rank.ts";
import { roundedLinear } from "../tensor/ops/rounded.ts";
import type { Weight } from "../tensor/quantized.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { MatrixRole, ParameterGroup } from "./parameter-group.ts";
import type { FusedPart, ParameterScope } from "./scope.ts";

export interface LinearOptions {
  /** Whether there is a bias; default false. It is trained, without weight decay. */
  readonly bias?: boolean;
  readonly role?: MatrixRole;
  /** Applied to the result by the product itself; default none. */
  readonly activation?: Activation;
}

/** Layers with the same input whose outputs lie one after another: stored as `KEY_proj` and `KEY_bias`. */
export interface FusedOutputs {
  readonly key: string;
  readonly parts: readonly FusedPart[];
}

export class Linear {
  /** The matrix, `[outputs, inputs]`. */
  readonly matrix: ParameterGroup;
  readonly #bias: ParameterGroup | null;
  readonly #activation: Activation | null;

  /**
   * Declares `weight` and `bias` of the scope, or those of each fused part, `NAME.weight` and `NAME.bias`.
   * @param inputs width of `x` @param outputs width of the result, or the parts that it consists of
   */
  constructor(
    scope: ParameterScope,
    inputs: number,
    outputs: number | FusedOutputs,
    { bias = false, role, activation }: LinearOptions = {},
  ) {
    this.#activation = activation ?? null;
    if (typeof outputs === "number") {
      this.matrix = scope.matrix("weight", outputs, inputs, { role });
      this.#bias = bias ? scope.vector("bias", outputs, { initial: "zeros" }) : null;
      return;
    }
    const named = (what: string) =>
      outputs.parts.map((part): FusedPart => ({ ...part, name: `${part.name}.${what}` }));
    this.matrix = scope.fused(`${outputs.key}_proj`, inputs, named("weight"), { role });
    this.#bias = bias ? scope.fusedBias(`${outputs.key}_bias`, named("bias")) : null;
  }

  get weight(): Weight {
    return this.matrix.weight;
  }

  /** The bias, `[outputs]`; null if there is none. */
  get bias(): Tensor | null {
    return this.#bias?.tensor ?? null;
  }

  /** `x: [.., inputs]` to `[.., outputs]`. @throws ShapeError */
  forward(x: Tensor): Tensor {
    const { weight, adapter, rounding } = this.matrix;
    if (rounding !== null) {
      const y = roundedLinear(x, this.matrix.tensor, this.bias, rounding);
      return this.#activation ? gelu(y, this.#activation) : y;
    }
    if (adapter === null) return linear(x, weight, this.bias, this.#activation);
    const y = addLowRank(linear(x, weight, this.bias), x, adapter);
    return this.#activation ? gelu(y, this.#activation) : y;
  }
}
