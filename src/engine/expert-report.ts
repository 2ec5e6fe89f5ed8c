/** Which experts the tokens of one pass took, if a request asks for it: the routers' choices, read once. */
import { routerTensors } from "../models/block.ts";
import type { RouterOutput } from "../nn/moe.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";

/**
 * The experts that one token took in every layer that has experts, in order: `[layers][topK]` ids, ascending in each
 * layer. Shared experts and prediction modules are not part of it.
 */
export type TokenExperts = readonly (readonly number[])[];

/** The same with the weights of their outputs, in flat arrays. */
export interface WeightedExperts {
  /** Experts that a token takes in a layer. */
  readonly topK: number;
  /** `[layers, topK]`: in each layer the largest weight first; the lowest id first of equals. As narrow as ids can be. */
  readonly ids: Uint8Array | Uint16Array | Uint32Array;
  /** `[layers, topK]`, final: renormalized if the model does so, and scaled. */
  readonly weights: Float32Array;
}

/** The narrowest array for ids of so many experts. */
function idArray(experts: number, length: number): WeightedExperts["ids"] {
  if (experts <= 2 ** 8) return new Uint8Array(length);
  return experts <= 2 ** 16 ? new Uint16Array(length) : new Uint32Array(length);
}

export class ExpertReport implements Disposable {
  readonly #experts: number;
  readonly #weighted: boolean;
  /** Of each layer, `[N, topK]` i32, and if they are wanted f32. */
  readonly #ids: Tensor[] = [];
  readonly #weights: Tensor[] = [];
  #layers: readonly ArrayLike<number>[] = [];
  #layerWeights: readonly ArrayLike<number>[] = [];

  /** @param experts of each layer @param weighted whether `weightedAt` will be asked for */
  constructor(experts: number, weighted: boolean) {
    this.#experts = experts;
    this.#weighted = weighted;
  }

  /** Takes what routers collected in a pass, and frees it but for the ids and weights. */
  take(routers: readonly RouterOutput[]): void {
    for (const { ids, weights } of routers) {
      this.#ids.push(ids.device.unscoped(() => ids.view(ids.shape)));
      if (this.#weighted) this.#weights.push(ids.device.unscoped(() => weights.view(weights.shape)));
    }
    disposeAll(routers.map(routerTensors));
  }

  /** Reads the ids and weights, after which `at` and `weightedAt` give them. */
  async read(): Promise<void> {
    const read = (tensors: readonly Tensor[]) => Promise.all(tensors.map((tensor) => tensor.data()));
    [this.#layers, this.#layerWeights] = await Promise.all([read(this.#ids), read(this.#weights)]);
  }

  /** The experts of the token at row `row` of the pass. */
  at(row: number): TokenExperts {
    return this.#layers.map((chosen, i) => {
      const topK = this.#ids[i].shape[1];
      return Array.from({ length: topK }, (_, k) => chosen[row * topK + k]);
    });
  }

  /** The same with their weights, which were asked for. */
  weightedAt(row: number): WeightedExperts {
    // A model may have experts by its configuration, and no layer that has some.
    const topK = this.#ids[0]?.shape[1] ?? 0;
    const ids = idArray(this.#experts, this.#layers.length * topK);
    const weights = new Float32Array(ids.length);
    for (const [layer, chosen] of this.#layers.entries()) {
      const weight = this.#layerWeights[layer];
      const begin = layer * topK;
      for (let k = 0; k < topK; k++) {
        const value = weight[row * topK + k];
        let at = begin + k;
        for (; at > begin && value > weights[at - 1]; at--) {
          weights[at] = weights[at - 1];
          ids[at] = ids[at - 1];
        }
        weights[at] = value;
        ids[at] = chosen[row * topK + k];
      }
    }
    return { topK, ids, weights };
  }

  [Symbol.dispose](): void {
    for (const tensor of [...this.#ids, ...this.#weights]) tensor.dispose();
  }
}
