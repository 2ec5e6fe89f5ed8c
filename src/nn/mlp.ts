/** The SiLU-gated feed-forward layer: `down(silu(gate x) * up x)`, gate and up stored as one matrix. */
import { linear } from "../tensor/ops/linear.ts";
import { quantizedMlp } from "../tensor/ops/quantized-experts.ts";
import { swiglu } from "../tensor/ops/swiglu.ts";
import { isQuantized, type Weight } from "../tensor/quantized.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { fused, type GroupSpec, matrix, type Parameters } from "./parameters.ts";

/** Parameters of one layer of inner width `width`; `prefix` ends with a dot. */
export function mlpSpecs(prefix: string, hidden: number, width: number): GroupSpec[] {
  return [
    fused(`${prefix}gate_up_proj`, hidden, [
      [`${prefix}gate_proj.weight`, width],
      [`${prefix}up_proj.weight`, width],
    ]),
    matrix(`${prefix}down_proj.weight`, hidden, width),
  ];
}

export class Mlp {
  readonly #gateUp: Weight;
  readonly #down: Weight;

  constructor(parameters: Parameters, prefix: string) {
    this.#gateUp = parameters.group(`${prefix}gate_up_proj`).weight;
    this.#down = parameters.group(`${prefix}down_proj.weight`).weight;
  }

  /** `x: [.., d]` to `[.., d]`. */
  forward(x: Tensor): Tensor {
    if (isQuantized(this.#gateUp) && isQuantized(this.#down))
      return quantizedMlp(x, this.#gateUp, this.#down); // [.., d]
    return linear(swiglu(linear(x, this.#gateUp)), this.#down); // [.., d]
  }
}
