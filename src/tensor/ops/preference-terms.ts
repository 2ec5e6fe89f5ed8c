/**
 * Losses of preferences between two sequences from the log-probabilities of their tokens: DPO (arXiv 2305.18290 equation 7),
 * conservative with label smoothing, the hinge of SLiC (arXiv 2305.10425), and IPO (arXiv 2310.12036 equation 17).
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { multiply } from "./multiply.ts";
import { sumAll } from "./reduce.ts";

export const PREFERENCE_LOSSES = ["sigmoid", "hinge", "ipo"] as const;

const kernel = defineKernel({
  name: "preference_terms",
  operands: {
    logp: "in f32",
    reference: "in f32",
    starts: "in i32",
    losses: "out f32",
    slopes: "out f32",
    preferred: "out f32",
    other: "out f32",
    correct: "out f32",
  },
  ints: ["pairs", "kind", "normalized"],
  floats: ["beta", "smoothing", "factor"],
  // Sizes are not among the integers: a pair counts as some hundred tokens.
  work: ({ pairs }) => 1024 * pairs,
  reference: (operands, { pairs, kind, normalized }, { beta, smoothing, factor }) => {
    const { logp, reference, starts, losses, slopes, preferred, other, correct } = operands;
    const lengthOf = (s: number) => (normalized ? starts[s + 1] - starts[s] : 1);
    const distance = (s: number) => {
      const sum = logp.subarray(starts[s], starts[s + 1]).reduce((a, x) => a + x, 0);
      return (sum - reference[s]) / lengthOf(s);
    };
    for (let p = 0; p < pairs; p++) {
      const [better, worse] = [distance(2 * p), distance(2 * p + 1)];
      const h = better - worse;
      const x = beta * h;
      const softplus = (z: number) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
      const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
      let loss = (h - 1 / (2 * beta)) ** 2;
      let slope = 2 * (h - 1 / (2 * beta));
      if (kind === 0) {
        loss = (1 - smoothing) * softplus(-x) + smoothing * softplus(x);
        slope = beta * (smoothing * sigmoid(x) - (1 - smoothing) * sigmoid(-x));
      } else if (kind === 1) {
        loss = Math.max(0, 1 - x);
        slope = x < 1 ? -beta : 0;
      }
      losses[p] = factor * loss;
      preferred[p] = beta * better;
      other[p] = beta * worse;
      correct[p] = h > 0 ? 1 : 0;
      slopes.fill((factor * slope) / lengthOf(2 * p), starts[2 * p], starts[2 * p + 1]);
      slopes.fill((-factor * slope) / lengthOf(2 * p + 1), starts[2 * p + 1], starts[2 * p + 2]);
    }
  },
});

export interface PreferenceTermsOptions {
  /** Default `sigmoid`. */
  readonly loss?: (typeof PREFERENCE_LOSSES)[number];
  /** How much a difference of log-probabilities counts; default 0.1. */
  readonly beta?: number;
  /** For `sigmoid`: share of pairs taken for labeled the wrong way round; default 0. */
  readonly labelSmoothing?: number;
  /** Whether log-probabilities of a sequence are divided by its length; default: for `ipo`. */
  readonly normalize?: boolean;
  /** What the sum over pairs is divided by; default: their number. */
  readonly denominator?: number;
}

export interface PreferenceTerms {
  /** Sum over pairs / denominator, `[1]`, of which gradients flow to `logp`. */
  readonly loss: Tensor;
  /** Implicit rewards, beta times the difference to the reference, `[pairs]` each; no gradient. */
  readonly preferred: Tensor;
  readonly other: Tensor;
  /** 1 where the preferred one has the larger reward, else 0, `[pairs]`; no gradient. */
  readonly correct: Tensor;
}

/**
 * Loss of pairs: sequence 2p, whose tokens begin at `starts[2p]` of `logp: [N]`, is preferred to sequence 2p + 1.
 * `reference: [2 pairs]` holds the sums of their log-probabilities under the reference. @throws ShapeError
 */
export function preferenceTerms(
  logp: Tensor,
  reference: Tensor,
  starts: readonly number[],
  options: PreferenceTermsOptions = {},
): PreferenceTerms {
  const where = "preferenceTerms";
  const { loss: name = "sigmoid", beta = 0.1, labelSmoothing = 0 } = options;
  const sequences = starts.length - 1;
  const pairs = sequences / 2;
  const { normalize = name === "ipo", denominator = pairs } = options;
  const kind = PREFERENCE_LOSSES.indexOf(name);
  if (kind < 0) throw new ShapeError("unknown loss", { where, expected: PREFERENCE_LOSSES, found: name });
  if (!Number.isInteger(pairs) || pairs < 1 || reference.size !== sequences) {
    throw new ShapeError("sequences do not come in pairs with a reference each", {
      ...{ where, expected: `an even number, and ${sequences} references` },
      found: `${sequences} sequences and ${reference.size} references`,
    });
  }
  if (
    starts[0] !== 0 ||
    starts[sequences] !== logp.size ||
    starts.some((s, i) => i > 0 && !(s > starts[i - 1]))
  ) {
    throw new ShapeError("sequences do not cover the tokens, or one is empty", {
      ...{ where, name: "starts", expected: `from 0 upwards to ${logp.size}`, found: starts },
    });
  }
  const { device } = logp;
  const [losses, preferred, other, correct] = [pairs, pairs, pairs, pairs].map((n) => device.empty([n]));
  const slopes = device.empty([logp.size]);
  using begins = device.unscoped(() => device.tensor(Int32Array.from(starts), [starts.length], "i32"));
  kernel.run(
    device,
    { logp, reference, starts: begins, losses, slopes, preferred, other, correct },
    { pairs, kind, normalized: normalize ? 1 : 0 },
    { beta, smoothing: labelSmoothing, factor: 1 / denominator },
  );
  // A gradient for each token from the sum of pairs: one factor for all.
  const loss = sumAll(losses);
  record([loss], [logp], ([dy], grads) => grads.add(0, multiply(slopes, dy!)));
  losses.dispose();
  if (!loss.requiresGrad) slopes.dispose();
  return { loss, preferred, other, correct };
}
