/**
 * Representation alignment in training (Yu et al. 2024, arXiv 2410.06940, as in arXiv 2411.07975 section 3.3): a head on states
 * inside the language model comes near the understanding tower's features of the clean image. It is no part of released
 * checkpoints; widths and activation are not in the paper.
 */
import { Linear } from "../../nn/linear.ts";
import type { Parameters } from "../../nn/parameters.ts";
import type { ParameterScope } from "../../nn/scope.ts";
import { cosineSimilarity } from "../../tensor/ops/cosine.ts";
import { scale } from "../../tensor/ops/elementwise.ts";
import { meanAll } from "../../tensor/ops/reduce.ts";
import { silu } from "../../tensor/ops/silu.ts";
import type { Tensor } from "../../tensor/tensor.ts";

export interface AlignmentConfig {
  /** Widths of states and features, and between them. */
  readonly inputs: number;
  readonly hidden: readonly number[];
  readonly outputs: number;
}

export class AlignmentHead {
  readonly parameters: Parameters;
  readonly #layers: readonly Linear[];

  /** Declares the layers under their places in a sequence with activations between. */
  constructor(scope: ParameterScope, { inputs, hidden, outputs }: AlignmentConfig) {
    const own = scope.part();
    const widths = [inputs, ...hidden, outputs];
    this.#layers = widths
      .slice(1)
      .map((width, i) => new Linear(own.child(`${2 * i}`), widths[i], width, { bias: true }));
    this.parameters = own.parameters;
  }

  /** States `[B, N, inputs]` to `[B, N, outputs]`. */
  forward(states: Tensor): Tensor {
    return states.device.tidy(() =>
      this.#layers.reduce((x, layer, i) => layer.forward(i === 0 ? x : silu(x)), states),
    );
  }
}

/** Minus the mean cosine of features `[B, N, n]` and what the head makes of states; features get no gradient. `[1]` */
export function alignmentLoss(projected: Tensor, features: Tensor): Tensor {
  const { device } = projected;
  return device.tidy(() => {
    const fixed = device.noGrad(() => features.view(features.shape));
    return scale(meanAll(cosineSimilarity(projected, fixed)), -1);
  });
}
