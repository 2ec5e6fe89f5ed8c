/** The table of token embeddings, which may serve as the output head too. */
import { embedding } from "../tensor/ops/embedding.ts";
import { linear } from "../tensor/ops/linear.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import type { ParameterScope } from "./scope.ts";

export class Embedding {
  readonly #weight: ParameterGroup;

  /** Declares `weight`, `[entries, width]`. */
  constructor(scope: ParameterScope, entries: number, width: number) {
    this.#weight = scope.matrix("weight", entries, width, { role: "embedding" });
  }

  /** Rows of the table: ids `[..]` i32 to `[.., width]`. */
  forward(ids: Tensor): Tensor {
    return embedding(this.#weight.weight, ids);
  }

  /** The product with every row, for heads tied to the table: `[.., width]` to `[.., entries]`. */
  logits(x: Tensor): Tensor {
    return linear(x, this.#weight.weight);
  }
}
