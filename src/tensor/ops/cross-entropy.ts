/**
 * Cross entropy of logits against token ids. The forward pass keeps two numbers per row (maximum and sum); the
 * gradient recomputes probabilities from the logits, in their place if the caller allows it, so that no second
 * [N, V] array of probabilities exists. No label smoothing, no class weights.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

const crossEntropyKernel = defineKernel({
  name: "cross_entropy",
  operands: { logits: "in f32", targets: "in i32", stats: "out f32?", losses: "out f32" },
  ints: ["rows", "n"],
  work: ({ rows, n }) => 4 * rows * n,
  reference: ({ logits, targets, stats, losses }, { rows, n }) => {
    for (let r = 0; r < rows; r++) {
      if (targets[r] < 0) {
        losses[r] = 0;
        continue;
      }
      let max = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < n; i++) if (logits[r * n + i] > max) max = logits[r * n + i];
      const shift = max === Number.NEGATIVE_INFINITY ? 0 : max;
      let sum = 0;
      for (let i = 0; i < n; i++) sum += Math.exp(logits[r * n + i] - shift);
      if (stats) {
        stats[2 * r] = shift;
        stats[2 * r + 1] = sum;
      }
      losses[r] = targets[r] < n ? Math.log(sum) - (logits[r * n + targets[r]] - shift) : Number.NaN;
    }
  },
});

const totalKernel = defineKernel({
  name: "cross_entropy_total",
  operands: { losses: "in f32", targets: "in i32", loss: "out f32", inverse: "out f32" },
  ints: ["rows"],
  floats: ["denominator"],
  work: () => 0,
  reference: ({ losses, targets, loss, inverse }, { rows }, { denominator }) => {
    let sum = 0;
    let valid = 0;
    for (let r = 0; r < rows; r++) {
      sum += losses[r];
      if (targets[r] >= 0) valid++;
    }
    const by = denominator === 0 ? Math.max(1, valid) : denominator;
    loss[0] = sum / by;
    inverse[0] = 1 / by;
  },
});

const crossEntropyGradKernel = defineKernel({
  name: "cross_entropy_grad",
  operands: {
    logits: "in f32",
    targets: "in i32",
    stats: "in f32",
    inverse: "in f32",
    dy: "in f32",
    dx: "inout f32",
  },
  ints: ["rows", "n", "accumulate"],
  work: ({ rows, n }) => 4 * rows * n,
  reference: ({ logits, targets, stats, inverse, dy, dx }, { rows, n, accumulate }) => {
    const factor = dy[0] * inverse[0];
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < n; i++) {
        const at = r * n + i;
        let value = 0;
        if (targets[r] >= n) value = Number.NaN;
        else if (targets[r] >= 0) {
          const probability = Math.exp(logits[at] - stats[2 * r]) / stats[2 * r + 1];
          value = factor * (probability - (targets[r] === i ? 1 : 0));
        }
        dx[at] = accumulate ? dx[at] + value : value;
      }
    }
  },
});

export interface CrossEntropyOptions {
  /** What the sum of losses is divided by; default: the number of targets that are not ignored (at least 1). */
  readonly denominator?: number;
  /**
   * Lets the backward pass write the gradient over the logits, which saves an [N, V] array. Only if nothing
   * else reads the logits after this op: not for a leaf, nor if another op uses them as its saved input.
   */
  readonly consumeLogits?: boolean;
}

function rowsOf(where: string, logits: Tensor, targets: Tensor): { rows: number; n: number } {
  const n = logits.shape.at(-1) ?? 0;
  const rows = n === 0 ? 0 : logits.size / n;
  if (n === 0 || targets.size !== rows) {
    throw new ShapeError("targets and rows of logits differ in number", {
      where,
      expected: `${rows} targets for logits [${logits.shape}]`,
      found: targets.shape,
    });
  }
  return { rows, n };
}

/**
 * Mean (or sum / denominator) of -log softmax(logits)[target]: [N, V] (or [.., V]), i32 [N] -> [1]. A negative
 * target is ignored; all ignored gives 0. A target past V - 1 gives NaN. @throws ShapeError
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const { denominator = 0, consumeLogits = false } = options;
  const { rows, n } = rowsOf("crossEntropy", logits, targets);
  if (!(denominator >= 0 && denominator < Number.POSITIVE_INFINITY)) {
    throw new ShapeError("denominator must be positive", { where: "crossEntropy", found: denominator });
  }
  const { device } = logits;
  const loss = device.empty([1]);
  const inverse = device.empty([1]);
  const stats = device.empty([rows, 2]);
  const losses = device.empty([rows]);
  crossEntropyKernel.run(device, { logits, targets, stats, losses }, { rows, n });
  totalKernel.run(device, { losses, targets, loss, inverse }, { rows }, { denominator });
  losses.dispose();
  record([loss], [logits], ([dy], grads) => {
    const inPlace = consumeLogits ? logits.view(logits.shape) : null;
    const { tensor: dx, accumulate } = inPlace ? { tensor: inPlace, accumulate: 0 } : grads.target(0);
    crossEntropyGradKernel.run(
      device,
      { logits, targets, stats, inverse, dy: dy!, dx },
      { rows, n, accumulate },
    );
    if (inPlace) grads.add(0, inPlace);
  });
  if (!loss.requiresGrad) {
    stats.dispose();
    inverse.dispose();
  }
  return loss;
}

/**
 * -log softmax(logits)[target] of every row, 0 if the target is negative: [N, V] (or [.., V]), i32 [N] -> [N].
 * No gradient. @throws ShapeError
 */
export function tokenLosses(logits: Tensor, targets: Tensor): Tensor {
  const { rows, n } = rowsOf("tokenLosses", logits, targets);
  const losses = logits.device.empty([rows]);
  crossEntropyKernel.run(logits.device, { logits, targets, stats: null, losses }, { rows, n });
  return losses;
}
