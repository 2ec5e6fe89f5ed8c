/**
 * Two arms that answered the same items: the difference of their means with a bootstrap interval over items (Efron and Tibshirani
 * 1993, percentile method), and McNemar's exact test where each item is solved or not.
 */
import { Random } from "../../src/tensor/random.ts";
import type { ArmResult } from "./results.ts";

export interface Pairs {
  readonly difference: number;
  /** 95 %. */
  readonly interval: readonly [number, number];
  /** Items that only the first arm solved, and only the second; null for shares, and for several seeds. */
  readonly discordant: readonly [number, number] | null;
  readonly items: number;
  /** That both arms have: others say nothing here. */
  readonly seeds: number;
}

const RESAMPLES = 10_000;

/** Of the seeds that both arms have, each item's mean over seeds; null if there is no such seed. */
export function pairsOf(
  results: readonly Pick<ArmResult, "arm" | "seed" | "items">[],
  better: string,
  worse: string,
  measure: string,
): Pairs | null {
  const of = (arm: string) =>
    new Map(
      results.flatMap((each) => {
        const items = each.items?.[measure];
        return each.arm === arm && items !== undefined ? [[each.seed, items] as const] : [];
      }),
    );
  const [first, second] = [of(better), of(worse)];
  const seeds = [...first.keys()].filter((seed) => first.get(seed)!.length === second.get(seed)?.length);
  const count = seeds.length === 0 ? 0 : first.get(seeds[0])!.length;
  if (count === 0 || seeds.some((seed) => first.get(seed)!.length !== count)) return null;
  const differences = Array.from(
    { length: count },
    (_, i) => seeds.reduce((sum, seed) => sum + first.get(seed)![i] - second.get(seed)![i], 0) / seeds.length,
  );
  const whole = differences.every((each) => each === 0 || Math.abs(each) === 1);
  const ahead = (sign: number) => differences.filter((each) => each === sign).length;
  return {
    difference: differences.reduce((a, b) => a + b, 0) / count,
    interval: bootstrap(differences),
    discordant: seeds.length === 1 && whole ? [ahead(1), ahead(-1)] : null,
    items: count,
    seeds: seeds.length,
  };
}

function bootstrap(differences: readonly number[]): readonly [number, number] {
  const random = new Random(1);
  const { length } = differences;
  const means = new Float64Array(RESAMPLES);
  for (let i = 0; i < RESAMPLES; i++) {
    let sum = 0;
    for (let k = 0; k < length; k++) sum += differences[Math.floor(random.uniform() * length)];
    means[i] = sum / length;
  }
  means.sort();
  return [means[Math.floor(0.025 * RESAMPLES)], means[Math.ceil(0.975 * RESAMPLES) - 1]];
}

/** Two-sided exact p of McNemar's test: of so many items that one arm alone solved, each is as likely either arm's. */
export function mcNemar([a, b]: readonly [number, number]): number {
  const n = a + b;
  // Terms of the binomial distribution from the outside to the middle.
  let term = 0.5 ** n;
  let tail = 0;
  for (let i = 0; i <= Math.min(a, b); i++) {
    tail += term;
    term *= (n - i) / (i + 1);
  }
  return Math.min(1, 2 * tail);
}

export function pairedText({ discordant, items }: Pairs): string {
  const test =
    discordant === null
      ? ""
      : `; alone ${discordant[0]} against ${discordant[1]}, McNemar p = ${mcNemar(discordant).toPrecision(2)}`;
  return `paired bootstrap over ${items} items${test}`;
}
