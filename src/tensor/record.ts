/** How an operation tells the tape what it did: `record`, called by every op that has a gradient. */
import type { Tensor } from "./tensor.ts";

/** Where an operation's gradient function puts the gradients of its inputs. */
export interface Gradients {
  /** Whether input `i` needs a gradient at all. */
  wants(i: number): boolean;
  /**
   * Where to put input `i`'s gradient (f32, the input's shape): overwrite `tensor` where `accumulate` is 0, add to
   * it where it is 1.
   */
  target(i: number): { tensor: Tensor; accumulate: 0 | 1 };
  /** Adds a gradient that is already computed; it may share memory with others and is not changed. */
  add(i: number, gradient: Tensor): void;
}

/** Computes input gradients from output gradients (null for outputs that got none). */
export type Backward = (outputGradients: readonly (Tensor | null)[], gradients: Gradients) => void;

/** What a device keeps of the tape that records on it. */
export interface Recorder {
  /** Keeps a tensor readable until the tape ends. */
  keep<T extends Tensor>(tensor: T): T;
  push(outputs: readonly Tensor[], inputs: readonly Tensor[], backward: Backward): void;
}

/** Records `outputs` as computed from `inputs` where a tape records and an input needs a gradient. */
export function record(outputs: readonly Tensor[], inputs: readonly Tensor[], backward: Backward): void {
  const { tape } = outputs[0].device;
  if (tape !== null && inputs.some((input) => input.requiresGrad)) tape.push(outputs, inputs, backward);
}
