/** Exponential moving average of weights, in place. */
import { ConfigError, ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { sameShape, type Tensor } from "../tensor.ts";

const movingAverageKernel = defineKernel({
  name: "moving_average",
  operands: { average: "inout f32", w: "in f32" },
  ints: ["n"],
  floats: ["rest"],
  work: ({ n }) => 2 * n,
  reference: ({ average, w }, { n }, { rest }) => {
    for (let i = 0; i < n; i++) average[i] += rest * (w[i] - average[i]);
  },
});

/**
 * average = decay average + (1 - decay) weight, both f32 of one shape; outside the tape. Equal weights leave the average as
 * it is, to the bit. @throws ShapeError, ConfigError for a decay outside 0 to 1
 */
export function movingAverage(average: Tensor, weight: Tensor, decay: number): void {
  if (!(decay >= 0 && decay <= 1)) {
    throw new ConfigError("decay out of range", {
      where: "movingAverage",
      name: "decay",
      expected: "0 to 1",
      found: decay,
    });
  }
  if (!sameShape(average.shape, weight.shape)) {
    throw new ShapeError("shapes differ", {
      where: "movingAverage",
      expected: average.shape,
      found: weight.shape,
    });
  }
  movingAverageKernel.run(average.device, { average, w: weight }, { n: average.size }, { rest: 1 - decay });
}
