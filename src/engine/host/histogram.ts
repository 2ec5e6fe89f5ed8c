/** Observations counted per bucket, as monitoring systems take them. */

/** A histogram's state, which can be sent between threads. */
export interface HistogramState {
  /** Upper bounds, rising; an infinite one follows. */
  readonly bounds: readonly number[];
  /** Observations per bucket, not cumulative, one more than `bounds`. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/** Bounds in seconds, from a millisecond to two minutes. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120,
];

/** Counts observations per bucket. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[] = LATENCY_BOUNDS) {
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]) bucket++;
    this.#counts[bucket]++;
    this.#sum += value;
  }

  get state(): HistogramState {
    return { bounds: this.#bounds, counts: [...this.#counts], sum: this.#sum };
  }
}
