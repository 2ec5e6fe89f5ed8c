/**
 * AdamW over a model's parameter groups, in place, with global-norm clipping on the device. Weight decay reaches
 * official tensors of two axes only.
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
import { ConfigError } from "../tensor/errors.ts";
import { adamw, clipScale, squaredNorm } from "../tensor/ops/optimizer.ts";
import type { Tensor } from "../tensor/tensor.ts";

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
}

export class AdamW implements Disposable {
  readonly options: Required<AdamWOptions>;
  readonly #parameters: Parameters;
  readonly #slots: Slot[] = [];
  /** Updates made so far. */
  steps = 0;

  /** @throws ConfigError if an option is out of range or trainable weights are not f32 */
  constructor(parameters: Parameters, options: AdamWOptions = {}) {
    checkAdamW({ where: "AdamW" }, "options", options);
    this.options = {
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0.1,
      clipNorm: 1,
      momentDType: "f32",
      // An option that is there and undefined counts as left out.
      ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    };
    this.#parameters = parameters;
    const dtype: DType = this.options.momentDType;
    for (const group of parameters.groups()) {
      if (!group.trained) continue;
      const { tensor } = group;
      if (tensor.dtype !== "f32") {
        throw new ConfigError("trained weights must be f32", {
          where: "AdamW",
          name: group.key,
          expected: "f32",
          found: tensor.dtype,
          hint: "Create the model with dtype f32.",
        });
      }
      const { device } = tensor;
      const [m, v] = device.unscoped(() => [
        device.zeros(tensor.shape, dtype, true),
        device.zeros(tensor.shape, dtype, true),
      ]);
      this.#slots.push({ group, m, v });
    }
  }

  /** Squared global norm of the gradients of the last backward pass, before clipping: a scalar that the caller owns. */
  squaredNorm(): Tensor {
    const gradients = this.#slots.flatMap(({ group }) => group.tensor.grad ?? []);
    return squaredNorm(gradients);
  }

  /**
   * One update from the gradients of the last backward pass, which it frees. `squared` is what `squaredNorm` returned
   * for them.
   */
  step(learningRate: number, squared: Tensor): void {
    const { device } = this.#slots[0].group.tensor;
    device.tidy(() => this.#step(learningRate, squared));
  }

  #step(learningRate: number, squared: Tensor): void {
    const { beta1, beta2, epsilon, weightDecay, clipNorm } = this.options;
    const scale = clipNorm > 0 ? clipScale(squared, clipNorm) : null;
    this.steps++;
    for (const { group, m, v } of this.#slots) {
      const decay = group.decay ? weightDecay : 0;
      const settings = { learningRate, beta1, beta2, epsilon, weightDecay: decay, step: this.steps };
      adamw(group.tensor, group.tensor.grad, m, v, settings, scale);
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

  /** Bytes of the moments. */
  get bytes(): number {
    let bytes = 0;
    for (const { m } of this.#slots) bytes += 2 * m.size * (m.dtype === "f32" ? 4 : 2);
    return bytes;
  }

  [Symbol.dispose](): void {
    for (const { m, v } of this.#slots) {
      m.dispose();
      v.dispose();
    }
  }
}
