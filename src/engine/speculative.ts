/**
 * Self-speculative decoding with the first multi-token-prediction module (DeepSeek-V3, arXiv 2412.19437 sections 2.2
 * and 5.4.3; the rejection test is that of arXiv 2302.01318): the module drafts one token ahead, the main model reads
 * the draft together with the token before it and keeps it if the test allows, so that two tokens can come out of
 * one pass. Greedy decoding gives the tokens of plain decoding, sampling the distribution of plain sampling (from
 * other random numbers, hence other tokens for one seed).
 *
 * Greedy equality is exact on the CPU backend, not up to rounding: with the default form of latent attention a pass
 * over two tokens gives each of them the bits that a pass over it alone would give.
 *
 * The module only ever sees decided tokens, so that its cache needs no rolling back. `step.ts` does the passes; here
 * is the test. Left out: drafts longer than one.
 */

import type { Candidates } from "./sampling.ts";
import type { TokenSampler } from "./token-sampler.ts";

function probability({ ids, probabilities }: Candidates, id: number): number {
  const index = ids.indexOf(id);
  return index < 0 ? 0 : probabilities[index];
}

/** The distribution proportional to `max(0, target - draft)`: what a rejected draft is replaced from. */
export function residual(target: Candidates, draft: Candidates): Candidates {
  const drafted = new Map<number, number>();
  draft.ids.forEach((id, i) => {
    drafted.set(id, draft.probabilities[i]);
  });
  const weights = target.probabilities.map((p, i) => Math.max(0, p - (drafted.get(target.ids[i]) ?? 0)));
  const total = weights.reduce((a, b) => a + b, 0);
  // Equal distributions reject nothing; only rounding leads here.
  if (total === 0) return target;
  return { ids: target.ids, probabilities: weights.map((w) => w / total) };
}

/**
 * The next token if `drafted` was drawn from `draft` and `target` is wanted: `drafted` with probability
 * min(1, target / draft), else a draw from the residual. Its distribution is exactly `target`.
 */
export function verify(
  target: Candidates,
  draft: Candidates,
  drafted: number,
  sampler: Pick<TokenSampler, "draw" | "uniform">,
): { id: number; accepted: boolean } {
  const p = probability(target, drafted);
  const q = probability(draft, drafted);
  // Greedy decoding, and any certain case, draws no random number.
  const accepted = p >= q || (p > 0 && sampler.uniform() * q < p);
  return accepted ? { id: drafted, accepted } : { id: sampler.draw(residual(target, draft)), accepted };
}
