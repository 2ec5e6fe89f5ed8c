/** How an operation tells the tape what it did: `record`, called by every op that has a gradient. */
import type { Backward, Tensor } from "./tensor.ts";

/** Records `outputs` as computed from `inputs` if a tape records and an input needs a gradient. */
export function record(outputs: readonly Tensor[], inputs: readonly Tensor[], backward: Backward): void {
  const { tape } = outputs[0].device;
  if (tape !== null && inputs.some((input) => input.requiresGrad)) tape.push(outputs, inputs, backward);
}
