/**
 * Group relative policy optimization (GRPO; DeepSeekMath, arXiv 2402.03300 section 4.1) with the choices of its successors:
 * which average (Dr. GRPO, arXiv 2503.20783; DAPO, arXiv 2503.14476), a wider clip above, a ratio of tokens or of sequences.
 * Advantages come with the batch (`advantages.ts`): a group of equal rewards has zeros and still feels the penalty.
 */
import type { TrainableModel } from "../../models/token-model.ts";
import { checkChoice, checkKeys, checkNumber, type Place } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { policyTerms } from "../../tensor/ops/policy-terms.ts";
import { meanAll } from "../../tensor/ops/reduce.ts";
import type { Batch } from "../batches.ts";
import { type Completion, passTokens, scoreCompletions } from "./completions.ts";
import type { Objective } from "./objective.ts";

/**
 * What the terms of tokens are averaged over: tokens of a completion, then completions (`completion`, DeepSeekMath); all
 * tokens of the step (`token`, DAPO); or the number of completions times a constant length (`constant`, Dr. GRPO).
 */
export const AVERAGES = ["completion", "token", "constant"] as const;

export interface PolicyOptions {
  /** Default `completion`. */
  readonly average?: (typeof AVERAGES)[number];
  /** The length that `constant` divides by: the most tokens that a completion may have. */
  readonly maxTokens?: number;
  /** Epsilon below and above: ratios are clipped to 1 - `clipLow` and 1 + `clipHigh`; default 0.2 each (DAPO: 0.28 above). */
  readonly clipLow?: number;
  readonly clipHigh?: number;
  /** Terms with a negative advantage are at least so many times it; default: no bound (verl: 3). */
  readonly dualClip?: number;
  /** Weight of the penalty k3 for leaving the reference policy; default 0 (DeepSeekMath: 0.04, Prover-V1.5: 0.02). */
  readonly beta?: number;
  /** Bound of the log ratio to the reference inside k3; default: none (verl: 20). */
  readonly klBound?: number;
  /** What has a ratio to the policy that sampled: default `token`. */
  readonly ratio?: "token" | "sequence" | "sequence-mean";
  /** That of sampling: all log-probabilities are of logits divided by it; default 1. */
  readonly temperature?: number;
}

/** A completion with what it was worth. */
export interface PolicyRow extends Completion {
  /** One for all its tokens, or one for each. */
  readonly advantage: number | readonly number[];
  /** Log-probabilities when it was sampled; null: of the policy itself, at the first update after sampling. */
  readonly old: ArrayLike<number> | null;
  /** Log-probabilities under the reference policy; null without penalty. */
  readonly reference: ArrayLike<number> | null;
}

export interface PolicyBatch extends Batch {
  readonly rows: readonly PolicyRow[];
  /** Of the whole update, of which the batch may be a part; default: its own. */
  readonly update?: { readonly completions: number; readonly tokens: number };
}

/** @throws ConfigError */
export function checkPolicyOptions(place: Place, options: object): void {
  const fields = options as Record<string, unknown>;
  const ranges = {
    maxTokens: { integer: true, min: 1 },
    clipLow: { min: 0, max: 1 },
    clipHigh: { min: 0 },
    dualClip: { above: 1 },
    beta: { min: 0 },
    klBound: { above: 0 },
    temperature: { above: 0 },
  };
  checkKeys(place, fields, [...Object.keys(ranges), "average", "ratio"]);
  for (const [name, range] of Object.entries(ranges)) {
    if (fields[name] !== undefined) checkNumber(place, name, fields[name], range);
  }
  const { average, ratio, maxTokens } = fields;
  if (average !== undefined) checkChoice(place, "average", average, AVERAGES);
  if (ratio !== undefined) checkChoice(place, "ratio", ratio, ["token", "sequence", "sequence-mean"]);
  if (average === "constant" && maxTokens === undefined) {
    throw new ConfigError("a constant average needs its length", {
      ...place,
      name: "maxTokens",
      expected: "the most tokens of a completion",
    });
  }
}

const tokensOf = (rows: readonly PolicyRow[]) =>
  rows.reduce((sum, { completion }) => sum + completion.length, 0);

/**
 * Batches of one update whose passes read at most `mostTokens` tokens each, padding included, a longer row alone: rows of
 * similar length together. Their gradients add up to that of one batch.
 */
export function policyBatches(rows: readonly PolicyRow[], mostTokens: number): PolicyBatch[] {
  const lengthOf = ({ prompt, completion }: PolicyRow) => prompt.length + completion.length;
  const sorted = [...rows].sort((a, b) => lengthOf(a) - lengthOf(b));
  const parts: PolicyRow[][] = [];
  for (const row of sorted) {
    const last = parts.at(-1);
    // The last row is the longest.
    if (last !== undefined && (last.length + 1) * passTokens([row]) <= mostTokens) last.push(row);
    else parts.push([row]);
  }
  const update = { completions: rows.length, tokens: tokensOf(rows) };
  return parts.map((part) => ({
    ...{ batch: part.length, length: passTokens(part) / part.length, rows: part, update },
    weight: tokensOf(part),
  }));
}

/** One number for each token of the rows. */
function perToken(rows: readonly PolicyRow[], name: "advantage" | "old" | "reference"): Float32Array | null {
  const values = new Float32Array(tokensOf(rows));
  let at = 0;
  let absent = 0;
  for (const [i, row] of rows.entries()) {
    const given = row[name];
    const { length } = row.completion;
    if (given === null) absent++;
    else if (typeof given === "number") values.fill(given, at, at + length);
    else if (given.length !== length) {
      throw new ConfigError("tokens of a completion differ in number", {
        ...{ where: "policyObjective", name: `${name} of row ${i}` },
        ...{ expected: length, found: given.length },
      });
    } else values.set(given, at);
    at += length;
  }
  if (absent === 0) return values;
  if (absent === rows.length) return null;
  throw new ConfigError("some rows have log-probabilities and others not", {
    ...{ where: "policyObjective", name },
    ...{ expected: `${rows.length} rows, or none`, found: rows.length - absent },
  });
}

/** What each token's term is multiplied with; `share` is the batch's part of the update. */
function tokenWeights({ rows, update }: PolicyBatch, options: PolicyOptions): Float32Array {
  const { average = "completion", maxTokens = 1 } = options;
  const own = tokensOf(rows);
  const { completions, tokens } = update ?? { completions: rows.length, tokens: own };
  const share = own / tokens;
  const weights = new Float32Array(own);
  let at = 0;
  for (const { completion } of rows) {
    const { length } = completion;
    const count = { completion: completions * length, token: tokens, constant: completions * maxTokens };
    weights.fill(1 / (count[average] * share), at, at + length);
    at += length;
  }
  return weights;
}

/**
 * The objective of a policy; terms: `kl` (k3, where rows have a reference), `entropy` and `clipped`, means over tokens.
 * @throws ConfigError
 */
export function policyObjective(options: PolicyOptions = {}): Objective<TrainableModel, PolicyBatch> {
  const where = "policyObjective";
  checkPolicyOptions({ where }, options);
  const { temperature, ratio = "token", beta = 0, clipLow, clipHigh, dualClip, klBound } = options;
  return (model, batch, { routing = "each" }) => {
    const { rows } = batch;
    const { device } = model;
    const [advantages, old, reference] = (["advantage", "old", "reference"] as const).map((name) =>
      perToken(rows, name),
    );
    if (beta > 0 && reference === null) {
      throw new ConfigError("a penalty without log-probabilities of a reference", {
        ...{ where, name: "beta", expected: "0, or rows with a reference", found: beta },
      });
    }
    const uneven = rows.findIndex(
      ({ advantage }) => typeof advantage !== "number" && advantage.some((each) => each !== advantage[0]),
    );
    if (ratio !== "token" && uneven >= 0) {
      throw new ConfigError("a ratio of sequences needs one advantage for all tokens", {
        ...{ where, name: `advantage of row ${uneven}`, expected: 'one number, or ratio "token"' },
      });
    }
    const tensorOf = (values: Float32Array | null) => values && device.tensor(values, [values.length]);
    return device.tidy(() => {
      const { logp, entropy, starts } = scoreCompletions(model, rows, { temperature, routing });
      const { loss, kl, clipped } = policyTerms(
        logp,
        {
          ...{ old: tensorOf(old), reference: tensorOf(reference), starts },
          advantages: tensorOf(advantages)!,
          weights: tensorOf(tokenWeights(batch, options))!,
        },
        { clipLow, clipHigh, dualClip, beta, klBound, ratio },
      );
      const terms = { ...(reference !== null && { kl: meanAll(kl) }), entropy: meanAll(entropy) };
      return { loss, terms: { ...terms, clipped: meanAll(clipped) } };
    });
  };
}
