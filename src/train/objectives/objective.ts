/** What is trained and what is minimized, as the loop sees them: it knows neither architecture nor batch. */
import type { TrainableModel } from "../../models/token-model.ts";
import type { Parameters } from "../../nn/parameters.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import { type Batch, inputsOf, type TokenBatch } from "../batches.ts";
import { type LossOptions, nextTokenLoss } from "./next-token.ts";

/** Anything with parameters: a language model, one that sees, a tower with a text encoder, a codec. */
export interface Trainable {
  readonly device: Device;
  readonly parameters: Parameters;
  /** Names for parts of the model, and what official names begin with in each: what `trained` and `rates` may say. */
  readonly parts?: Readonly<Record<string, readonly string[]>>;
}

/** All losses of a batch, `[1]` each, of which `loss` is differentiated. */
export interface Losses {
  readonly loss: Tensor;
  /** What is shown as the loss if not `loss`: without the weighted terms beside it. */
  readonly crossEntropy?: Tensor;
  readonly mtp?: Tensor | null;
  readonly balance?: readonly { readonly layer: number; readonly loss: Tensor }[];
  /** Tokens that each expert of each layer received, `[E]` i32, with the router bias that they may move. */
  readonly expertCounts?: readonly {
    readonly layer: number;
    readonly counts: Tensor;
    readonly bias: Tensor | null;
  }[];
  /** Further figures by name, for the log: terms of the loss, accuracies. */
  readonly terms?: Readonly<Record<string, Tensor>>;
}

/**
 * What a trainer minimizes. It runs while gradients are recorded and must not wait; what it makes is freed after the
 * step.
 */
export type Objective<M = TrainableModel, B extends Batch = TokenBatch> = (
  model: M,
  batch: B,
  options: LossOptions,
) => Losses;

/** The next token, with the predictions beyond it and balanced experts that the weights ask for. */
export const tokenObjective: Objective = (model, batch, options) =>
  nextTokenLoss(
    model,
    { sequences: batch.batch, ids: inputsOf(batch), targets: batch.targets, documents: batch.documents },
    options,
  );
