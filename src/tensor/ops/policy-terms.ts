/**
 * The clipped surrogate of PPO (arXiv 1707.06347) with the penalty of GRPO (DeepSeekMath, arXiv 2402.03300 equations 3 and
 * 4), token by token: min(r A, clip(r, 1 - low, 1 + high) A) - beta k3, where r = exp(logp - old) and
 * k3 = exp(reference - logp) - (reference - logp) - 1.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { multiply } from "./multiply.ts";
import { sumAll } from "./reduce.ts";

const LEVELS = ["token", "sequence", "sequence-mean"] as const;

const kernel = defineKernel({
  name: "policy_terms",
  operands: {
    logp: "in f32",
    old: "in f32?",
    reference: "in f32?",
    advantages: "in f32",
    weights: "in f32",
    starts: "in i32",
    losses: "out f32",
    slopes: "out f32",
    kl: "out f32",
    clipped: "out f32",
  },
  ints: ["sequences", "level"],
  floats: ["low", "high", "dual", "beta", "bound"],
  // Sizes are not among the integers: a sequence counts as some hundred tokens.
  work: ({ sequences }) => 4096 * sequences,
  reference: (operands, { sequences, level }, { low, high, dual, beta, bound }) => {
    const { logp, old, reference, advantages, weights, starts, losses, slopes, kl, clipped } = operands;
    for (let s = 0; s < sequences; s++) {
      const [begin, end] = [starts[s], starts[s + 1]];
      let whole = 0;
      let pulled = 0;
      for (let t = begin; t < end; t++) {
        whole += old ? logp[t] - old[t] : 0;
        pulled += weights[t];
      }
      const share = level === 2 ? 1 / (end - begin) : 1;
      for (let t = begin; t < end; t++) {
        const own = old ? logp[t] - old[t] : 0;
        const ratio = Math.exp(level === 0 ? own : share * whole);
        const advantage = advantages[t];
        const free = ratio * advantage;
        const limit = (advantage < 0 ? low : high) * advantage;
        const floor = dual !== 0 && advantage < 0 ? dual * advantage : Number.NEGATIVE_INFINITY;
        const surrogate = free > limit ? limit : Math.max(free, floor);
        const cut = free > limit || free < floor;
        clipped[t] = cut ? 1 : 0;
        let [k3, k3Slope] = [0, 0];
        if (reference) {
          const d = reference[t] - logp[t];
          const held = bound === 0 ? d : Math.min(bound, Math.max(-bound, d));
          k3 = Math.expm1(held) - held;
          if (bound === 0 || Math.abs(d) < bound) k3Slope = -Math.expm1(d);
        }
        losses[t] = weights[t] * (beta * k3 - surrogate);
        const pull = level === 0 ? weights[t] : share * pulled;
        slopes[t] = weights[t] * beta * k3Slope - (cut ? 0 : pull * free);
        kl[t] = k3;
      }
    }
  },
});

export interface PolicyTokens {
  /** Of the tokens when they were sampled, `[N]`; null: of the policy itself, so that every ratio is 1. No gradient. */
  readonly old: Tensor | null;
  /** Of the tokens under the policy to stay near, `[N]`; null without penalty. No gradient. */
  readonly reference: Tensor | null;
  /** `[N]`; with a ratio of sequences the same for all tokens of one. */
  readonly advantages: Tensor;
  /** What each token's term is multiplied with before the sum, `[N]`: the average is in here. */
  readonly weights: Tensor;
  /** Where each sequence begins, and N at the end. */
  readonly starts: readonly number[];
}

export interface PolicyTermsOptions {
  /** Ratios are clipped below at 1 - `clipLow`; default 0.2. */
  readonly clipLow?: number;
  /** And above at 1 + `clipHigh`; default 0.2. Infinity: no clip. */
  readonly clipHigh?: number;
  /** Terms with a negative advantage are at least so many times it (dual clip); default: no bound. */
  readonly dualClip?: number;
  /** Weight of k3; default 0. */
  readonly beta?: number;
  /** Bound of |reference - logp| in k3; default: none. */
  readonly klBound?: number;
  /**
   * What has a ratio: a token (DeepSeekMath), a sequence with the product of its tokens (as DeepSeek-V2 and V3 write it), or
   * with their geometric mean (GSPO, arXiv 2507.18071). Default `token`.
   */
  readonly ratio?: (typeof LEVELS)[number];
}

export interface PolicyTerms {
  /** Sum of weight (beta k3 - surrogate), `[1]`, of which gradients flow to `logp`. */
  readonly loss: Tensor;
  /** k3 of every token, `[N]`; no gradient. */
  readonly kl: Tensor;
  /** 1 where a clip takes the gradient away, else 0, `[N]`; no gradient. */
  readonly clipped: Tensor;
}

/** Loss of a policy from log-probabilities `logp: [N]` of the tokens of several sequences. @throws ShapeError */
export function policyTerms(
  logp: Tensor,
  tokens: PolicyTokens,
  options: PolicyTermsOptions = {},
): PolicyTerms {
  const { old, reference, advantages, weights, starts } = tokens;
  const { clipLow = 0.2, clipHigh = 0.2, dualClip = 0, beta = 0, klBound = 0, ratio = "token" } = options;
  const where = "policyTerms";
  for (const [name, tensor] of Object.entries({ old, reference, advantages, weights })) {
    if (tensor !== null && tensor.size !== logp.size) {
      throw new ShapeError("tokens differ in number", {
        where,
        name,
        expected: logp.size,
        found: tensor.size,
      });
    }
  }
  if (
    starts[0] !== 0 ||
    starts.at(-1) !== logp.size ||
    starts.some((s, i) => i > 0 && !(s >= starts[i - 1]))
  ) {
    throw new ShapeError("sequences do not cover the tokens", {
      where,
      name: "starts",
      expected: `from 0 upwards to ${logp.size}`,
      found: starts,
    });
  }
  const level = LEVELS.indexOf(ratio);
  if (level < 0) throw new ShapeError("unknown ratio", { where, expected: LEVELS, found: ratio });
  const { device } = logp;
  const each = () => device.empty([logp.size]);
  const [losses, slopes, kl, clipped] = [each(), each(), each(), each()];
  using begins = device.unscoped(() => device.tensor(Int32Array.from(starts), [starts.length], "i32"));
  kernel.run(
    device,
    { logp, old, reference, advantages, weights, starts: begins, losses, slopes, kl, clipped },
    { sequences: starts.length - 1, level },
    { low: 1 - clipLow, high: 1 + clipHigh, dual: dualClip, beta, bound: klBound },
  );
  record([losses], [logp], ([dy], grads) => grads.add(0, multiply(dy!, slopes)));
  const loss = sumAll(losses);
  if (!loss.requiresGrad) {
    losses.dispose();
    slopes.dispose();
  }
  return { loss, kl, clipped };
}
