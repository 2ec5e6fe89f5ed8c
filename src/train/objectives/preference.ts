/**
 * Direct preference optimization (arXiv 2305.18290; DeepSeek LLM, arXiv 2401.02954 section 4.2): the policy learns from pairs of
 * answers which one is preferred, against a frozen reference whose log-probabilities are computed once. Sums run over the
 * tokens of an answer, its end token included, the prompt excluded.
 */
import type { TokenModel, TrainableModel } from "../../models/token-model.ts";
import { checkChoice, checkKeys, checkNumber, type Place, refuseValue } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { multiply } from "../../tensor/ops/multiply.ts";
import { PREFERENCE_LOSSES, preferenceTerms } from "../../tensor/ops/preference-terms.ts";
import { meanAll, sumAll, weightedSum } from "../../tensor/ops/reduce.ts";
import type { Batch } from "../batches.ts";
import { passTokens, scoreCompletions } from "./completions.ts";
import type { Objective } from "./objective.ts";

export interface PreferenceOptions {
  /** Default `sigmoid`. */
  readonly loss?: (typeof PREFERENCE_LOSSES)[number];
  /** How near the policy stays to the reference: the larger, the nearer; default 0.1. */
  readonly beta?: number;
  /** For `sigmoid`: share of pairs taken for labeled the wrong way round; default 0. */
  readonly labelSmoothing?: number;
  /** Whether log-probabilities of an answer are divided by its length; default: for `ipo`. */
  readonly normalize?: boolean;
  /** Weight of the negative log-likelihood of preferred answers, which keeps them probable; default 0. */
  readonly sftWeight?: number;
  /** What that is averaged over: all tokens of preferred answers (default), or tokens of an answer, then answers. */
  readonly sftAverage?: "token" | "completion";
}

/** A prompt with two answers; each ends with its end token. */
export interface PreferencePair {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** A pair with the log-probabilities of its answers under the reference, as sums over their tokens. */
export interface ScoredPair extends PreferencePair {
  readonly reference: { readonly chosen: number; readonly rejected: number };
}

export interface PreferenceBatch extends Batch {
  readonly pairs: readonly ScoredPair[];
  /** Tokens of preferred answers in each pair of the whole update, of which the batch may be a part; default: its own. */
  readonly chosenTokens?: number;
}

/** @throws ConfigError */
export function checkPreferenceOptions(place: Place, options: object): void {
  const fields = options as Record<string, unknown>;
  const ranges = { beta: { above: 0 }, labelSmoothing: { min: 0, below: 0.5 }, sftWeight: { min: 0 } };
  checkKeys(place, fields, [...Object.keys(ranges), "loss", "normalize", "sftAverage"]);
  for (const [name, range] of Object.entries(ranges)) {
    if (fields[name] !== undefined) checkNumber(place, name, fields[name], range);
  }
  const { loss = "sigmoid", normalize, sftAverage, labelSmoothing = 0 } = fields;
  checkChoice(place, "loss", loss, PREFERENCE_LOSSES);
  if (normalize !== undefined && typeof normalize !== "boolean")
    refuseValue(place, "normalize", "true or false", normalize);
  if (sftAverage !== undefined) checkChoice(place, "sftAverage", sftAverage, ["token", "completion"]);
  if (loss !== "sigmoid" && labelSmoothing !== 0) {
    throw new ConfigError("only the sigmoid loss has label smoothing", {
      ...{
        where: place.where,
        name: `${place.prefix ?? ""}labelSmoothing`,
        expected: 0,
        found: labelSmoothing,
      },
    });
  }
}

/** Of the reference and of the policy alike: experts chosen otherwise would be a difference that nobody learned. */
const ROUTING = "batched";

/** Both answers of a pair, the preferred one first. */
const completionsOf = ({ prompt, chosen, rejected }: PreferencePair) => [
  { prompt, completion: chosen },
  { prompt, completion: rejected },
];

/** Groups of pairs whose passes read at most `mostTokens` tokens each, padding included, a longer pair alone. */
function parts<P extends PreferencePair>(pairs: readonly P[], mostTokens: number): P[][] {
  const cost = (pair: P) => passTokens(completionsOf(pair));
  const sorted = [...pairs].sort((a, b) => cost(a) - cost(b));
  const found: P[][] = [];
  for (const pair of sorted) {
    const last = found.at(-1);
    // The last pair is the longest.
    if (last !== undefined && (last.length + 1) * cost(pair) <= mostTokens) last.push(pair);
    else found.push([pair]);
  }
  return found;
}

const chosenOf = (pairs: readonly PreferencePair[]) =>
  pairs.reduce((sum, { chosen }) => sum + chosen.length, 0);

/** Batches of one update whose passes read at most `mostTokens` tokens each; their gradients add up to that of one batch. */
export function preferenceBatches(pairs: readonly ScoredPair[], mostTokens: number): PreferenceBatch[] {
  return parts(pairs, mostTokens).map((part) => ({
    ...{ batch: part.length, length: passTokens(part.flatMap(completionsOf)) / part.length, pairs: part },
    chosenTokens: chosenOf(pairs) / pairs.length,
  }));
}

/**
 * The pairs, in their order, with the sums of log-probabilities that `reference` gives: to be computed once, before training
 * begins. Passes read at most `mostTokens` tokens each. @throws the signal's reason between two passes
 */
export async function scorePairs<P extends PreferencePair>(
  reference: TokenModel,
  pairs: readonly P[],
  { mostTokens = 4096, signal }: { readonly mostTokens?: number; readonly signal?: AbortSignal } = {},
): Promise<(P & ScoredPair)[]> {
  const scores = new Map<P, ScoredPair["reference"]>();
  for (const part of parts(pairs, mostTokens)) {
    signal?.throwIfAborted();
    const { logp, entropy, starts } = reference.device.inference(() =>
      scoreCompletions(reference, part.flatMap(completionsOf), { routing: ROUTING }),
    );
    try {
      const values = await logp.data();
      const sums = starts.slice(1).map((end, s) => {
        let sum = 0;
        for (let t = starts[s]; t < end; t++) sum += values[t];
        return sum;
      });
      part.forEach((pair, i) => {
        scores.set(pair, { chosen: sums[2 * i], rejected: sums[2 * i + 1] });
      });
    } finally {
      logp.dispose();
      entropy.dispose();
    }
  }
  return pairs.map((pair) => ({ ...pair, reference: scores.get(pair)! }));
}

/**
 * The objective of preferences; terms: `accuracy` (share of pairs whose preferred answer has the larger reward), `chosen` and
 * `rejected` (implicit rewards), `margin` (their difference) and, with its weight, `sft`; means over pairs. @throws ConfigError
 */
export function preferenceObjective(
  options: PreferenceOptions = {},
): Objective<TrainableModel, PreferenceBatch> {
  checkPreferenceOptions({ where: "preferenceObjective" }, options);
  const { sftWeight = 0, sftAverage = "token", ...terms } = options;
  return (model, { pairs, chosenTokens = chosenOf(pairs) / pairs.length }, { routing = ROUTING }) => {
    const { device } = model;
    return device.tidy(() => {
      const { logp, starts } = scoreCompletions(model, pairs.flatMap(completionsOf), { routing });
      const sums = pairs.flatMap(({ reference }) => [reference.chosen, reference.rejected]);
      const { loss, preferred, other, correct } = preferenceTerms(
        logp,
        device.tensor(sums, [sums.length]),
        starts,
        terms,
      );
      const [chosenReward, rejectedReward] = [meanAll(preferred), meanAll(other)];
      const figures = {
        accuracy: meanAll(correct),
        margin: weightedSum([chosenReward, rejectedReward], [1, -1]),
        ...{ chosen: chosenReward, rejected: rejectedReward },
      };
      if (sftWeight === 0) return { loss, terms: figures };
      const weights = new Float32Array(logp.size);
      pairs.forEach(({ chosen }, p) => {
        const each = sftAverage === "token" ? chosenTokens : chosen.length;
        weights.fill(-1 / (pairs.length * each), starts[2 * p], starts[2 * p + 1]);
      });
      const sft = sumAll(multiply(logp, device.tensor(weights, [weights.length])));
      return { loss: weightedSum([loss, sft], [1, sftWeight]), terms: { ...figures, sft } };
    });
  };
}
