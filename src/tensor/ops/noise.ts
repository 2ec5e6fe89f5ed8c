/** Tensors that are made on the host: normal noise from a seeded generator, and sinusoids of times. */
import { ShapeError } from "../errors.ts";
import type { Random } from "../random.ts";
import { type Device, type Shape, sizeOf, type Tensor } from "../tensor.ts";

/** Standard normal numbers in order, f32 of this shape: the same for the same state of the generator, on every backend. */
export function normalNoise(device: Device, shape: Shape, random: Random): Tensor {
  const values = new Float32Array(sizeOf(shape));
  for (let i = 0; i < values.length; i++) values[i] = random.normal();
  return device.tensor(values, shape);
}

/**
 * Sinusoids of times (Vaswani et al. 2017), cosines first: [count] numbers -> f32 [count, width] with
 * cos(t f_i) in channel i and sin(t f_i) in channel width / 2 + i, f_i = 10000^(-2 i / width). Angles are rounded to f32 as
 * diffusers' `Timesteps` (flip_sin_to_cos, no frequency shift) has them. @throws ShapeError for an odd width
 */
export function timeSinusoids(device: Device, times: ArrayLike<number>, width: number): Tensor {
  if (!Number.isSafeInteger(width) || width < 2 || width % 2 !== 0) {
    throw new ShapeError("sinusoids come in pairs", {
      where: "timeSinusoids",
      name: "width",
      expected: "an even number from 2 up",
      found: width,
    });
  }
  const { fround } = Math;
  const half = width / 2;
  const values = new Float32Array(times.length * width);
  for (let i = 0; i < half; i++) {
    const exponent = fround(fround(fround(-Math.log(10_000)) * i) / half);
    const frequency = fround(Math.exp(exponent));
    for (let t = 0; t < times.length; t++) {
      const angle = fround(fround(times[t]) * frequency);
      values[t * width + i] = Math.cos(angle);
      values[t * width + half + i] = Math.sin(angle);
    }
  }
  return device.tensor(values, [times.length, width]);
}
