/** Which experts the tokens of one pass took, if a request asks for it: the routers' choices, read once. */
import { routerTensors } from "../models/block.ts";
import type { RouterOutput } from "../nn/moe.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";

/**
 * The experts that one token took in every layer that has experts, in order: `[layers][topK]` ids, ascending in each
 * layer. Shared experts and prediction modules are not part of it.
 */
export type TokenExperts = readonly (readonly number[])[];

export class ExpertReport implements Disposable {
  /** Of each layer, `[N, topK]` i32. */
  readonly #ids: Tensor[] = [];
  #layers: readonly ArrayLike<number>[] = [];

  /** Takes what routers collected in a pass, and frees it but for the ids. */
  take(routers: readonly RouterOutput[]): void {
    for (const { ids } of routers) this.#ids.push(ids.device.unscoped(() => ids.view(ids.shape)));
    disposeAll(routers.map(routerTensors));
  }

  /** Reads the ids, after which `at` gives them. */
  async read(): Promise<void> {
    this.#layers = await Promise.all(this.#ids.map((ids) => ids.data()));
  }

  /** The experts of the token at row `row` of the pass. */
  at(row: number): TokenExperts {
    return this.#layers.map((chosen, i) => {
      const topK = this.#ids[i].shape[1];
      return Array.from({ length: topK }, (_, k) => chosen[row * topK + k]);
    });
  }

  [Symbol.dispose](): void {
    for (const ids of this.#ids) ids.dispose();
  }
}
