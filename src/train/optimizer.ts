/**
 * AdamW over a model's parameter groups, in place, with global-norm clipping on the device. Weight decay reaches
 * official tensors of two axes only. Each group has its own multiplier of the learning rate; those of 0 are frozen, and
 * have no moments.
 */
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  type Range,
} from "../tensor/check-value.ts";
import type { DType } from "../tensor/dtype.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { adamw, clipScale, squaredNorm } from "../tensor/ops/optimizer.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";

export interface AdamWOptions {
  /** Decay rates of the moments; DeepSeek uses 0.9 and 0.95. */
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** Gradients are scaled so that their global norm is at most this; 0 for no clipping. */
  readonly clipNorm?: number;
  /** Storage of the moments; DeepSeek-V3 keeps them in bf16. */
  readonly momentDType?: "f32" | "bf16";
}

/** @throws ConfigError */
export function checkAdamW(place: Place, name: string, value: unknown): asserts value is AdamWOptions {
  const { fields, at } = checkSection(place, name, value);
  const ranges: Record<string, Range> = {
    beta1: { min: 0, below: 1 },
    beta2: { min: 0, below: 1 },
    epsilon: { above: 0, max: 1 },
    weightDecay: { min: 0, max: 100 },
    clipNorm: { min: 0 },
  };
  checkKeys(at, fields, [...Object.keys(ranges), "momentDType"]);
  for (const [key, range] of Object.entries(ranges)) {
    if (fields[key] !== undefined) checkNumber(at, key, fields[key], range);
  }
  if (fields.momentDType !== undefined) checkChoice(at, "momentDType", fields.momentDType, ["f32", "bf16"]);
}

interface Slot {
  readonly group: ParameterGroup;
  readonly m: Tensor;
  readonly v: Tensor;
  /** Multiplier of the learning rate. */
  rate: number;
  /** Updates of its moments. */
  updates: number;
}

/** Multiplier of the learning rate of a group; 0 freezes it. */
export type GroupRates = (group: ParameterGroup) => number;

function withDefaults(options: AdamWOptions): Required<AdamWOptions> {
  return {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 1,
    momentDType: "f32",
    // An option that is there and undefined counts as left out.
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  };
}

/** @throws ConfigError if the optimizer cannot change the group's weights */
function checkTrained({ key, weight }: ParameterGroup): void {
  const dtype = isQuantized(weight) ? weight.format : weight.dtype;
  if (dtype === "f32") return;
  throw new ConfigError("trained weights must be f32", {
    where: "AdamW",
    name: key,
    expected: "f32",
    found: dtype,
    hint: "Create the model with dtype f32, or freeze the part.",
  });
}

export class AdamW implements Disposable {
  #options: Required<AdamWOptions>;
  readonly #parameters: Parameters;
  #slots: readonly Slot[] = [];
  /** Updates made so far. */
  steps = 0;

  /**
   * @param rates multiplier of the learning rate of each group; default 1. The groups of 0 are frozen until the optimizer
   * is disposed @throws ConfigError if an option is out of range, trained weights are not f32, or nothing is trained
   */
  constructor(parameters: Parameters, options: AdamWOptions = {}, rates: GroupRates = () => 1) {
    checkAdamW({ where: "AdamW" }, "options", options);
    this.#options = withDefaults(options);
    this.#parameters = parameters;
    this.#begin(rates, []);
  }

  get options(): Required<AdamWOptions> {
    return this.#options;
  }

  /**
   * Other multipliers and options from the next step on. Groups that were trained before keep their moments, unless these
   * are stored in another way; those that are trained anew begin with fresh ones, and those that no longer are give
   * theirs up. @throws ConfigError as the constructor
   */
  train(rates: GroupRates, options: AdamWOptions = {}): void {
    checkAdamW({ where: "AdamW" }, "options", options);
    const before = this.#options;
    this.#options = withDefaults(options);
    try {
      this.#begin(rates, before.momentDType === this.#options.momentDType ? this.#slots : []);
    } catch (error) {
      this.#options = before;
      throw error;
    }
  }

  #begin(rates: GroupRates, kept: readonly Slot[]): void {
    const dtype: DType = this.#options.momentDType;
    const chosen = [...this.#parameters.groups()].flatMap((group) => {
      const rate = group.trained ? rates(group) : 0;
      if (rate > 0) checkTrained(group);
      return rate > 0 ? [{ group, rate }] : [];
    });
    if (chosen.length === 0) {
      throw new ConfigError("nothing is trained", { where: "AdamW", expected: "a part that is not frozen" });
    }
    const before = new Map(kept.map((slot) => [slot.group, slot]));
    const left = new Set(this.#slots);
    this.#slots = chosen.map(({ group, rate }) => {
      const own = before.get(group);
      if (own !== undefined) {
        left.delete(own);
        return { ...own, rate };
      }
      const { tensor } = group;
      const { device } = tensor;
      const [m, v] = device.unscoped(() => [
        device.zeros(tensor.shape, dtype, true),
        device.zeros(tensor.shape, dtype, true),
      ]);
      return { group, m, v, rate, updates: 0 };
    });
    for (const { m, v } of left) disposeAll([m, v]);
    this.#parameters.freeze((group) => rates(group) === 0);
  }

  /** What is trained. */
  get groups(): readonly ParameterGroup[] {
    return this.#slots.map(({ group }) => group);
  }

  /** Whether anything trained took part in the last backward pass. */
  get hasGradients(): boolean {
    return this.#slots.some(({ group }) => group.tensor.grad !== null);
  }

  /** Squared global norm of the gradients of the last backward pass, before clipping: a scalar that the caller owns. */
  squaredNorm(): Tensor {
    const gradients = this.#slots.flatMap(({ group }) => group.tensor.grad ?? []);
    return squaredNorm(gradients);
  }

  /**
   * One update from the gradients of the last backward pass, which it frees. What took no part in the pass stays as it
   * is, moments included. `squared` is what `squaredNorm` returned for the gradients.
   */
  step(learningRate: number, squared: Tensor): void {
    const { device } = this.#slots[0].group.tensor;
    device.tidy(() => this.#step(learningRate, squared));
  }

  #step(learningRate: number, squared: Tensor): void {
    const { beta1, beta2, epsilon, weightDecay, clipNorm } = this.#options;
    const scale = clipNorm > 0 ? clipScale(squared, clipNorm) : null;
    this.steps++;
    for (const slot of this.#slots) {
      const { group, m, v, rate } = slot;
      const { grad } = group.tensor;
      if (grad === null) continue;
      slot.updates++;
      const decay = group.decay ? weightDecay : 0;
      const own = { learningRate: rate * learningRate, step: slot.updates };
      adamw(group.tensor, grad, m, v, { ...own, beta1, beta2, epsilon, weightDecay: decay }, scale);
    }
    this.clearGradients();
  }

  /** Frees the gradients of the last backward pass. */
  clearGradients(): void {
    this.#parameters.clearGradients();
  }

  /** Moments by name, for saving and loading: `m.<group>` and `v.<group>`. */
  *state(): Iterable<{ name: string; tensor: Tensor }> {
    for (const { group, m, v } of this.#slots) {
      yield { name: `m.${group.key}`, tensor: m };
      yield { name: `v.${group.key}`, tensor: v };
    }
  }

  /** Updates of each group's moments, where they are not as many as `steps`. */
  get fewer(): Readonly<Record<string, number>> {
    const late = this.#slots.filter(({ updates }) => updates !== this.steps);
    return Object.fromEntries(late.map(({ group, updates }) => [group.key, updates]));
  }

  /** `steps` and `fewer` as they were saved. @throws FormatError for a group that is not trained */
  restore(steps: number, fewer: Readonly<Record<string, number>>): void {
    const slots = new Map(this.#slots.map((slot) => [slot.group.key, slot]));
    for (const [key, value] of Object.entries(fewer)) {
      if (slots.has(key) && Number.isSafeInteger(value) && value >= 0 && value <= steps) continue;
      throw new FormatError("damaged state", {
        where: "optimizer",
        name: key,
        expected: `a trained group, and 0 to ${steps} updates`,
        found: value,
      });
    }
    this.steps = steps;
    for (const [key, slot] of slots) slot.updates = fewer[key] ?? steps;
  }

  /** Bytes of the moments. */
  get bytes(): number {
    let bytes = 0;
    for (const { m } of this.#slots) bytes += 2 * m.size * (m.dtype === "f32" ? 4 : 2);
    return bytes;
  }

  [Symbol.dispose](): void {
    for (const { m, v } of this.#slots) disposeAll([m, v]);
    this.#slots = [];
    this.#parameters.freeze(() => false);
  }
}
