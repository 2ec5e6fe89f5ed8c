/** The SiLU-gated feed-forward layer: `down(silu(gate x) * up x)`, gate and up stored as one matrix. */
import { passesGradient } from "../tensor/ops/frozen-weights.ts";
import { quantizedMlp } from "../tensor/ops/quantized-experts.ts";
import { swiglu } from "../tensor/ops/swiglu.ts";
import { isQuantized } from "../tensor/quantized.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Linear } from "./linear.ts";
import type { ParameterScope } from "./scope.ts";

export class GatedMlp {
  readonly #gateUp: Linear;
  readonly #down: Linear;

  /** @param hidden width of `x` and of the result @param width inner width */
  constructor(scope: ParameterScope, hidden: number, width: number) {
    const parts = ["gate_proj", "up_proj"].map((name) => ({ name, rows: width }));
    this.#gateUp = new Linear(scope, hidden, { key: "gate_up", parts });
    this.#down = new Linear(scope.child("down_proj"), width, hidden);
  }

  /** `x: [.., d]` to `[.., d]`. */
  forward(x: Tensor): Tensor {
    const { weight: gateUp, adapter: addsInside } = this.#gateUp.matrix;
    const { weight: down, adapter: addsOutside } = this.#down.matrix;
    const plain = addsInside === null && addsOutside === null && !passesGradient(x);
    if (plain && isQuantized(gateUp) && isQuantized(down)) return quantizedMlp(x, gateUp, down); // [.., d]
    return this.#down.forward(swiglu(this.#gateUp.forward(x))); // [.., d]
  }
}
