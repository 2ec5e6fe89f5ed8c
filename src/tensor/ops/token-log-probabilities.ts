/**
 * Log-probabilities of chosen tokens, each with its own gradient: what objectives on policies and preferences are made of.
 * As in `crossEntropy`, the forward pass keeps two numbers per row, and the gradient computes probabilities again, in place
 * of the logits if the caller allows it.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

const forwardKernel = defineKernel({
  name: "token_log_probabilities",
  operands: {
    logits: "in f32",
    targets: "in i32",
    stats: "out f32?",
    logp: "out f32",
    entropy: "out f32?",
  },
  ints: ["rows", "n"],
  floats: ["scale"],
  work: ({ rows, n }) => 4 * rows * n,
  reference: ({ logits, targets, stats, logp, entropy }, { rows, n }, { scale }) => {
    for (let r = 0; r < rows; r++) {
      if (targets[r] < 0) {
        logp[r] = 0;
        if (entropy) entropy[r] = 0;
        stats?.set([0, 1], 2 * r);
        continue;
      }
      const row = logits.subarray(r * n, (r + 1) * n);
      const largest = row.reduce((a, x) => Math.max(a, x), Number.NEGATIVE_INFINITY);
      let sum = 0;
      let weighted = 0;
      for (const x of row) {
        const z = scale * (x - largest);
        const e = Math.exp(z);
        sum += e;
        if (e > 0) weighted += e * z;
      }
      stats?.set([largest, sum], 2 * r);
      logp[r] = targets[r] < n ? scale * (row[targets[r]] - largest) - Math.log(sum) : Number.NaN;
      if (entropy) entropy[r] = Math.log(sum) - weighted / sum;
    }
  },
});

const gradKernel = defineKernel({
  name: "token_log_probabilities_grad",
  operands: { logits: "in f32", targets: "in i32", stats: "in f32", dy: "in f32", dx: "inout f32" },
  ints: ["rows", "n", "accumulate"],
  floats: ["scale"],
  work: ({ rows, n }) => 4 * rows * n,
  reference: ({ logits, targets, stats, dy, dx }, { rows, n, accumulate }, { scale }) => {
    for (let r = 0; r < rows; r++) {
      const factor = scale * dy[r];
      for (let i = 0; i < n; i++) {
        const at = r * n + i;
        let value = 0;
        if (targets[r] >= n) value = Number.NaN;
        else if (targets[r] >= 0) {
          const probability = Math.exp(scale * (logits[at] - stats[2 * r])) / stats[2 * r + 1];
          value = factor * ((targets[r] === i ? 1 : 0) - probability);
        }
        dx[at] = accumulate ? dx[at] + value : value;
      }
    }
  },
});

export interface TokenLogProbabilityOptions {
  /** The logits are divided by it before the softmax, as a sampler does; default 1. */
  readonly temperature?: number;
  /** Lets the backward pass write the gradient over the logits, on the conditions of `crossEntropy`. */
  readonly consumeLogits?: boolean;
}

export interface TokenLogProbabilities {
  /** `[N]`, of which gradients flow to the logits. */
  readonly logp: Tensor;
  /** Entropy of each row's distribution in nats, `[N]`; no gradient. */
  readonly entropy: Tensor;
}

/**
 * log softmax(logits / temperature)[target] of every row, with the distribution's entropy: `[N, V]` (or `[.., V]`), i32 `[N]`
 * to `[N]` each. A negative target gives 0 for both and no gradient, one past V - 1 NaN. @throws ShapeError
 */
export function tokenLogProbabilities(
  logits: Tensor,
  targets: Tensor,
  options: TokenLogProbabilityOptions = {},
): TokenLogProbabilities {
  const where = "tokenLogProbabilities";
  const { temperature = 1, consumeLogits = false } = options;
  const n = logits.shape.at(-1) ?? 0;
  const rows = n === 0 ? 0 : logits.size / n;
  if (n === 0 || targets.size !== rows) {
    throw new ShapeError("targets and rows of logits differ in number", {
      where,
      expected: `${rows} targets for logits [${logits.shape}]`,
      found: targets.shape,
    });
  }
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw new ShapeError("temperature must be positive", { where, found: temperature });
  }
  const { device } = logits;
  const scale = 1 / temperature;
  const logp = device.empty([rows]);
  const entropy = device.empty([rows]);
  const tracked = device.tape !== null && logits.requiresGrad;
  const stats = tracked ? device.empty([rows, 2]) : null;
  forwardKernel.run(device, { logits, targets, stats, logp, entropy }, { rows, n }, { scale });
  record([logp], [logits], ([dy], grads) => {
    const inPlace = consumeLogits ? logits.view(logits.shape) : null;
    const { tensor: dx, accumulate } = inPlace ? { tensor: inPlace, accumulate: 0 } : grads.target(0);
    const operands = { logits, targets, stats: stats!, dy: dy!, dx };
    gradKernel.run(device, operands, { rows, n, accumulate }, { scale });
    if (inPlace) grads.add(0, inPlace);
  });
  return { logp, entropy };
}
