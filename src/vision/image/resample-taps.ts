/**
 * Which input pixels make an output pixel, and with what weights: Pillow's `precompute_coeffs` and
 * `normalize_coeffs_8bpc` (Resample.c) for the bicubic filter.
 */

import { type Taps, WEIGHT_BITS } from "../../tensor/ops/resample.ts";

/** The cubic convolution kernel with a = -0.5. */
function cubic(x: number): number {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * a;
  return 0;
}

/** Taps of scaling `from` pixels to `to`. */
export function bicubicTaps(from: number, to: number): Taps {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = 2 * stretch;
  const inverse = 1 / stretch;
  const most = Math.min(Math.ceil(support) * 2 + 1, from);
  const bounds = new Int32Array(to * 2);
  const weights = new Int32Array(to * most);
  const exact = new Float64Array(most);
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const count = Math.min(Math.trunc(center + support + 0.5), from) - first;
    let sum = 0;
    for (let j = 0; j < count; j++) {
      exact[j] = cubic((j + first - center + 0.5) * inverse);
      sum += exact[j];
    }
    for (let j = 0; j < count; j++) {
      const weight = (sum === 0 ? exact[j] : exact[j] / sum) * 2 ** WEIGHT_BITS;
      weights[i * most + j] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    bounds[2 * i] = first;
    bounds[2 * i + 1] = count;
  }
  return { from, to, most, bounds, weights };
}
