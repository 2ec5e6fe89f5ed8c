/** First weights of layers that begin at random, as large as their numbers of inputs ask for. */
import type { Parameters } from "../../src/nn/parameters.ts";
import { isQuantized } from "../../src/tensor/quantized.ts";
import type { Random } from "../../src/tensor/random.ts";

/** Kernels of depthwise convolutions are stored with their channels last. */
const DEPTHWISE = /\.depthwise\.weight/;

/**
 * Normal weights with a standard deviation of `gain` over the root of the inputs of each output; what is not a normal weight is
 * as its layer declares it. @param stdOf the standard deviation of a group by its key, null for that of its inputs
 */
export function initializeByInputs(
  parameters: Parameters,
  random: Random,
  gain: number,
  stdOf: (key: string) => number | null = () => null,
): void {
  parameters.initialize(random);
  for (const { weight, initial, shape, key } of parameters.groups()) {
    if (initial !== "normal" || isQuantized(weight)) continue;
    const sides = DEPTHWISE.test(key) ? shape.slice(0, 2) : shape.slice(1);
    const inputs = sides.reduce((product, n) => product * n, 1);
    const std = stdOf(key) ?? gain / Math.sqrt(inputs);
    weight.set(Float32Array.from({ length: weight.size }, () => std * random.normal()));
  }
}
