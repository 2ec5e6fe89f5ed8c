/** What tasks are judged by: names as lm-evaluation-harness has them, how values of rows become one, and how sure it is. */
import { standardDeviation } from "../statistics/sample.ts";
import { shareInterval } from "../statistics/share-interval.ts";
import { bootstrap, percentileInterval } from "./bootstrap.ts";

/** Of a row: a number, or the log-likelihood of a text and how many words or bytes it has. */
export type MetricValue = number | readonly [logLikelihood: number, weight: number];

export type Aggregation = "mean" | "weighted_perplexity" | "bits_per_byte";

export interface Metric {
  readonly name: string;
  readonly higherIsBetter: boolean;
  readonly aggregation: Aggregation;
  /** Whether values lie between 0 and 1, so that their mean is a share. */
  readonly isShare: boolean;
}

const share = (name: string): Metric => ({
  ...{ name, higherIsBetter: true, aggregation: "mean", isShare: true },
});
const rolling = (name: string, aggregation: Aggregation): Metric => ({
  ...{ name, higherIsBetter: false, aggregation, isShare: false },
});

export const ACCURACY = share("acc");
/** By the likelihood of a choice over its characters. */
export const ACCURACY_NORMALIZED = share("acc_norm");
export const EXACT_MATCH = share("exact_match");
export const EDIT_SIMILARITY: Metric = { ...share("edit_similarity"), isShare: false };
/** Whether what was written ended by itself. */
export const STOPPED = share("stopped");
export const REWARD: Metric = { ...share("reward"), isShare: false };
export const passMetric = (k: number): Metric => share(`pass@${k}`);
export const WORD_PERPLEXITY = rolling("word_perplexity", "weighted_perplexity");
export const BYTE_PERPLEXITY = rolling("byte_perplexity", "weighted_perplexity");
export const BITS_PER_BYTE = rolling("bits_per_byte", "bits_per_byte");

const KNOWN = [
  ...[ACCURACY, ACCURACY_NORMALIZED, EXACT_MATCH, EDIT_SIMILARITY, STOPPED, REWARD],
  ...[WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE],
];

/** The metric of a name, such as results of another program have; null for one that is not known here. */
export function metricNamed(name: string): Metric | null {
  const k = /^pass@([1-9]\d*)$/.exec(name)?.[1];
  if (k !== undefined) return passMetric(Number(k));
  return KNOWN.find((metric) => metric.name === name) ?? null;
}

const pairOf = (value: MetricValue): readonly [number, number] =>
  typeof value === "number" ? [value, 1] : value;

/** The value of a task: of its rows, or of those at `places`. */
export function aggregate(
  { aggregation }: Pick<Metric, "aggregation">,
  values: readonly MetricValue[],
  places: ArrayLike<number> = values.map((_, i) => i),
): number {
  let [sum, weight] = [0, 0];
  for (let i = 0; i < places.length; i++) {
    const [own, ownWeight] = pairOf(values[places[i]]);
    sum += own;
    weight += ownWeight;
  }
  const mean = sum / weight;
  if (aggregation === "mean") return mean;
  return aggregation === "bits_per_byte" ? -mean / Math.LN2 : Math.exp(-mean);
}

export interface Estimate {
  readonly value: number;
  /** Standard error; null for one row. */
  readonly standardError: number | null;
  /** That holds 95 %; null for one row of what is no share. */
  readonly interval: readonly [low: number, high: number] | null;
}

/**
 * The value of a task with its standard error, as lm-evaluation-harness has it: of a mean by the deviation of its values, else by
 * the bootstrap over rows. The interval is Wilson's for shares, else the bootstrap's.
 */
export function estimate(metric: Metric, values: readonly MetricValue[]): Estimate {
  const value = aggregate(metric, values);
  const { length } = values;
  const replicates = () => bootstrap(length, (places) => aggregate(metric, values, places));
  if (metric.isShare) {
    const error = length < 2 ? null : standardDeviation(values as number[]) / Math.sqrt(length);
    return { value, standardError: error, interval: shareInterval(value, length) };
  }
  if (length < 2) return { value, standardError: null, interval: null };
  const drawn = replicates();
  const standardError =
    metric.aggregation === "mean"
      ? standardDeviation(values as number[]) / Math.sqrt(length)
      : standardDeviation(Array.from(drawn));
  return { value, standardError, interval: percentileInterval(drawn) };
}

/** Two models on the same rows. */
export interface Comparison {
  readonly rows: number;
  readonly a: number;
  readonly b: number;
  /** b - a, with the interval that holds 95 % by the paired bootstrap over rows; null for one row. */
  readonly difference: number;
  readonly interval: readonly [low: number, high: number] | null;
  /** Rows of which b has the better value, and a; the others are even. */
  readonly better: { readonly a: number; readonly b: number };
  /** Which model is better; null: the interval holds 0. */
  readonly winner: "a" | "b" | null;
}

/** @param a values of the same rows, in the same order, as `b` */
export function compareValues(
  metric: Metric,
  a: readonly MetricValue[],
  b: readonly MetricValue[],
): Comparison {
  const { length: rows } = a;
  const sign = metric.higherIsBetter ? 1 : -1;
  const at = (places?: ArrayLike<number>) => aggregate(metric, b, places) - aggregate(metric, a, places);
  // Of two likelihoods of one text the larger one is better.
  const gains = a.map((value, i) => {
    const gain = pairOf(b[i])[0] - pairOf(value)[0];
    return typeof value === "number" ? sign * gain : gain;
  });
  const difference = at();
  const interval = rows < 2 ? null : percentileInterval(bootstrap(rows, at));
  const [low, high] = (interval ?? [0, 0]).map((end) => sign * end).sort((x, y) => x - y);
  return {
    ...{ rows, difference, interval, a: aggregate(metric, a), b: aggregate(metric, b) },
    better: { a: gains.filter((gain) => gain < 0).length, b: gains.filter((gain) => gain > 0).length },
    winner: low > 0 ? "b" : high < 0 ? "a" : null,
  };
}
