/**
 * Less memory for more time: what a part of a model makes on its way is freed at once, and made again in the backward pass
 * (gradient checkpointing, arXiv 1604.06174).
 */
import { Tape } from "./tape.ts";
import type { Recorder, Tensor } from "./tensor.ts";

/**
 * What `body` makes of x, of which only x and the result are kept for the backward pass. It runs twice with the same bits, so
 * it must depend on nothing that changes between; gradients reach x and the parameters that it reads. Without a tape it is a
 * plain call.
 */
export function recomputed(x: Tensor, body: (x: Tensor) => readonly Tensor[]): readonly Tensor[] {
  const { device } = x;
  const outer = device.tape;
  if (outer === null) return body(x);
  const outputs = forgotten(outer, x, body);
  const made = outputs.flatMap((output, i) => (output.requiresGrad ? [i] : []));
  if (made.length === 0) return outputs;
  outer.push(
    made.map((i) => outputs[i]),
    [x],
    (gradients, grads) => {
      using tape = new Tape(device);
      const input = x.view(x.shape);
      // Made on this tape as far as it can see, so that its gradient is passed on and stored nowhere.
      if (grads.wants(0)) tape.push([input], [], ([dx]) => dx && grads.add(0, dx));
      const again = body(input);
      const reached = made.flatMap((i, at) => {
        const gradient = gradients[at];
        return gradient === null ? [] : [{ output: again[i], gradient }];
      });
      tape.backwardFrom(
        reached.map(({ output }) => output),
        reached.map(({ gradient }) => gradient),
      );
    },
  );
  return outputs;
}

/** The result of `body`, recorded in the same way on a tape that is given up. */
function forgotten(outer: Recorder, x: Tensor, body: (x: Tensor) => readonly Tensor[]): readonly Tensor[] {
  const { device } = x;
  device.tape = null;
  try {
    using tape = new Tape(device);
    const outputs = body(x);
    for (const output of outputs) tape.keep(output);
    tape.handOver();
    return outputs;
  } finally {
    device.tape = outer;
  }
}
