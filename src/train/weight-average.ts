/**
 * The exponential moving average of trained weights, in which steps of a few samples cancel out: what drawing models are sampled
 * with (JanusFlow, arXiv 2411.07975 section 4: decay 0.99).
 */
import type { ParameterGroup } from "../nn/parameter-group.ts";
import { copy } from "../tensor/ops/memory.ts";
import { movingAverage } from "../tensor/ops/moving-average.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";

export class WeightAverage implements Disposable {
  #averages = new Map<ParameterGroup, Tensor>();
  #decay: number;

  /** Begins with the weights as they are. @param groups f32 each @param decay what is kept of the average in a step, 0 to 1 */
  constructor(groups: Iterable<ParameterGroup>, decay: number) {
    this.#decay = decay;
    this.follow(groups, decay);
  }

  /** Goes on with these groups: those that it had keep their averages, others begin with their weights. */
  follow(groups: Iterable<ParameterGroup>, decay: number): void {
    const before = this.#averages;
    this.#decay = decay;
    this.#averages = new Map();
    for (const group of groups) {
      this.#averages.set(group, before.get(group) ?? twin(group.tensor));
      before.delete(group);
    }
    disposeAll([...before.values()]);
  }

  /** Takes the weights of a step in. */
  update(): void {
    for (const [{ tensor }, average] of this.#averages) movingAverage(average, tensor, this.#decay);
  }

  /** Exchanges weights and averages: once to sample or save with the averages, again to go on. */
  exchange(): void {
    for (const [{ tensor }, average] of this.#averages) {
      using kept = twin(tensor);
      copy(average, tensor);
      copy(kept, average);
    }
  }

  /** Averages by name, for saving and loading: `average.<group>`. */
  *state(): Iterable<{ name: string; tensor: Tensor }> {
    for (const [{ key }, tensor] of this.#averages) yield { name: `average.${key}`, tensor };
  }

  get bytes(): number {
    let bytes = 0;
    for (const { size } of this.#averages.values()) bytes += 4 * size;
    return bytes;
  }

  [Symbol.dispose](): void {
    disposeAll([...this.#averages.values()]);
    this.#averages.clear();
  }
}

/** A copy that lives until it is disposed. */
function twin(tensor: Tensor): Tensor {
  const { device, shape } = tensor;
  return device.unscoped(() => copy(tensor, device.empty(shape)));
}
