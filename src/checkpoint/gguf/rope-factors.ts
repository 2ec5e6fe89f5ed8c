/**
 * `rope_freqs.weight` of GGUF files: what llama.cpp divides each rotary frequency by. Its converter writes the tensor
 * for Llama 3's scaling and leaves the parameters out, so that reading has to find them again; if none of the usual
 * ones give the numbers, the numbers themselves stay, as `longrope` of one list.
 */
import { writeRope } from "../../models/rope-config.ts";
import { type Llama3RopeConfig, llama3Divisor, type RopeConfig } from "../../nn/rotary.ts";
import type { JsonObject } from "../strict-json.ts";

/** Largest relative difference of two factors that are called equal: float32 twice over. */
const NEAR = 2 ** -21;

const plainFrequency = (theta: number, i: number, count: number) => theta ** (-i / count);

/** The factors of a configuration for heads of `dim` rotated channels; null if llama.cpp needs none. */
export function ropeFactors(rope: RopeConfig, dim: number): Float32Array<ArrayBuffer> | null {
  if (rope.kind === "factors") return Float32Array.from(rope.factors);
  if (rope.kind !== "llama3") return null;
  return Float32Array.from({ length: dim / 2 }, (_, i) =>
    llama3Divisor(rope, plainFrequency(rope.theta, i, dim / 2)),
  );
}

/** Llama 3's usual parameters that give these factors, or null. */
function llama3Of(factors: Float32Array, theta: number): Llama3RopeConfig | null {
  const factor = Math.round(Math.max(...factors) * 2 ** 16) / 2 ** 16;
  for (let context = 2 ** 20; context >= 16; context /= 2) {
    const rope: Llama3RopeConfig = {
      kind: "llama3",
      ...{ theta, factor, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: context },
    };
    const same = factors.every((found, i) => {
      const expected = llama3Divisor(rope, plainFrequency(theta, i, factors.length));
      return Math.abs(found - expected) <= NEAR * expected;
    });
    if (same) return rope;
  }
  return null;
}

/** `rope_scaling` of a `config.json` with these factors; null if they change nothing. */
export function ropeScalingOf(factors: Float32Array, theta: number, maxPositions: number): JsonObject | null {
  if (factors.every((factor) => factor === 1)) return null;
  const llama3 = llama3Of(factors, theta);
  const rope: RopeConfig = llama3 ?? { kind: "factors", theta, factors: [...factors] };
  return writeRope(rope, maxPositions) as JsonObject;
}
