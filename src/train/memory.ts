/** What training takes on the device. */
import { AdaptedModel } from "../models/adapted-model.ts";
import type { Trainable } from "./objectives/objective.ts";
import type { Trainer } from "./trainer.ts";

/** Bytes; `peak` is the sum of the others. */
export interface TrainingMemory {
  readonly peak: number;
  /** With those below adapters. */
  readonly weights: number;
  /** Of what is trained and not frozen. */
  readonly gradients: number;
  /** With averages of weights, where they are kept. */
  readonly moments: number;
  /** Activations, and what passes for a moment between them. */
  readonly activations: number;
}

/** Bytes on the device: the most there ever were, and the parts of it that do not change from step to step. */
export function trainingMemory({
  model,
  optimizer,
  average,
}: Pick<Trainer<Trainable, never>, "model" | "optimizer" | "average">): TrainingMemory {
  const below = model instanceof AdaptedModel ? model.base.parameters.bytes : 0;
  const weights = below + model.parameters.bytes;
  let gradients = 0;
  for (const { trained, frozen, shape } of model.parameters.groups()) {
    if (trained && !frozen) gradients += 4 * shape.reduce((a, b) => a * b, 1);
  }
  const moments = optimizer.bytes + (average?.bytes ?? 0);
  const { peakBytes } = model.device.backend.memory();
  const activations = Math.max(0, peakBytes - weights - gradients - moments);
  return { peak: peakBytes, weights, gradients, moments, activations };
}
