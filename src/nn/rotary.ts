/**
 * Rotary position embedding: the frequencies of the plain, linearly scaled, YaRN and Llama 3 variants, and their tables.
 *
 * YaRN follows modeling_deepseek.py and inference/model.py of DeepSeek-V2/V3 (arXiv 2309.00071 with the temperature
 * moved into the softmax scale). The same frequencies serve every position; there is no dynamic variant.
 */

import { type RotaryTables, rotaryTables } from "../tensor/ops/rotary.ts";
import type { Device } from "../tensor/tensor.ts";

export type RopeConfig =
  | { readonly kind: "default"; readonly theta: number }
  | { readonly kind: "linear"; readonly theta: number; readonly factor: number }
  | YarnConfig
  | Llama3RopeConfig
  | {
      readonly kind: "factors";
      readonly theta: number;
      /** What each of the plain frequencies is divided by, `dim / 2` numbers. */
      readonly factors: readonly number[];
    };

export interface YarnConfig {
  readonly kind: "yarn";
  readonly theta: number;
  readonly factor: number;
  readonly originalMaxPositions: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  readonly mscale: number;
  readonly mscaleAllDim: number;
  /** Factor on cosines and sines in place of the one that follows from the two temperatures; null if none is given. */
  readonly attentionFactor: number | null;
  /** Whether the ends of the ramp are whole pairs of channels. */
  readonly truncate: boolean;
}

/** Llama 3.1's scaling: long waves are stretched by `factor`, short ones kept, those between blended. */
export interface Llama3RopeConfig {
  readonly kind: "llama3";
  readonly theta: number;
  readonly factor: number;
  /** Waves longer than the original context over this are stretched whole. */
  readonly lowFrequencyFactor: number;
  /** Waves shorter than the original context over this are kept. */
  readonly highFrequencyFactor: number;
  readonly originalMaxPositions: number;
}

/** Angle per position of each of the `dim / 2` channel pairs. */
export function ropeFrequencies(rope: RopeConfig, dim: number): Float64Array {
  const plain = Float64Array.from({ length: dim / 2 }, (_, i) => rope.theta ** ((-2 * i) / dim));
  if (rope.kind === "default") return plain;
  if (rope.kind === "linear") return plain.map((f) => f / rope.factor);
  if (rope.kind === "factors") return plain.map((f, i) => f / rope.factors[i]);
  if (rope.kind === "llama3") return plain.map((f) => f / llama3Divisor(rope, f));
  const { low, high } = yarnRange(rope, dim);
  return plain.map((f, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return f * (ramp / rope.factor + 1 - ramp);
  });
}

/** What Llama 3.1 divides the plain frequency `f` by. */
export function llama3Divisor(rope: Llama3RopeConfig, f: number): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = rope;
  const turns = (originalMaxPositions * f) / (2 * Math.PI);
  if (turns < low) return factor;
  if (turns > high) return 1;
  const kept = (turns - low) / (high - low);
  return 1 / ((1 - kept) / factor + kept);
}

/** The pairs between which YaRN goes over from kept to divided frequencies. */
export function yarnRange(rope: YarnConfig, dim: number): { low: number; high: number } {
  const correction = (rotations: number) =>
    (dim * Math.log(rope.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.theta));
  const [floor, ceil] = rope.truncate ? [Math.floor, Math.ceil] : [Number, Number];
  const low = Math.max(floor(correction(rope.betaFast)), 0);
  const high = Math.min(ceil(correction(rope.betaSlow)), dim - 1);
  return { low, high: low === high ? high + 0.001 : high };
}

/** YaRN's temperature `0.1 a ln(s) + 1`, 1 without stretching. */
export function yarnMscale(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** Factor on cosines and sines: the ratio of the two temperatures (1 in every released file) if none is given. */
export function ropeMagnitude(rope: RopeConfig): number {
  if (rope.kind !== "yarn") return 1;
  if (rope.attentionFactor !== null) return rope.attentionFactor;
  return yarnMscale(rope.factor, rope.mscale) / yarnMscale(rope.factor, rope.mscaleAllDim);
}

/** Softmax scale of MLA: `width^(-1/2)` times the squared temperature, `width` being nope + rope channels. */
export function mlaSoftmaxScale(rope: RopeConfig, width: number): number {
  const plain = width ** -0.5;
  if (rope.kind !== "yarn" || rope.mscaleAllDim === 0) return plain;
  return plain * yarnMscale(rope.factor, rope.mscaleAllDim) ** 2;
}

/** Tables of cosines and sines for one model, extended by doubling when longer inputs come. */
export class Rotary implements Disposable {
  readonly #device: Device;
  readonly #frequencies: Float64Array;
  readonly #magnitude: number;
  /** Shorter tables stay alive: a tape that recorded with them may still need them. */
  readonly #tables: RotaryTables[] = [];

  /** @param dim rotated channels of a head */
  constructor(device: Device, rope: RopeConfig, dim: number) {
    this.#device = device;
    this.#frequencies = ropeFrequencies(rope, dim);
    this.#magnitude = ropeMagnitude(rope);
  }

  /** Tables that cover positions 0 to `positions - 1`. */
  tables(positions: number): RotaryTables {
    const last = this.#tables.at(-1);
    if (last && last.positions >= positions) return last;
    let size = last ? 2 * last.positions : 128;
    while (size < positions) size *= 2;
    const tables = rotaryTables(this.#frequencies, size, this.#magnitude, this.#device);
    this.#tables.push(tables);
    return tables;
  }

  [Symbol.dispose](): void {
    for (const tables of this.#tables) tables[Symbol.dispose]();
    this.#tables.length = 0;
  }
}
