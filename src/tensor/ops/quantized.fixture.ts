/** Random quantized weights for the tests of quantized ops. */
import { type QuantFormat, QuantizedTensor } from "../quantized.ts";
import { Random } from "../random.ts";
import type { Device, Shape } from "../tensor.ts";
import { cpuDevice } from "../testing.ts";
import { quantizeInto } from "./quantize.ts";

/** Normal numbers. */
export function normals(size: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: size }, () => random.normal());
}

/** Quantizes `values`, matrix after matrix, on `device`. */
export function quantized(
  device: Device,
  format: QuantFormat,
  shape: Shape,
  values: Float32Array,
  shardBytes?: number,
): QuantizedTensor {
  const weight = new QuantizedTensor(device, format, shape, shardBytes);
  const { rows, columns } = weight;
  device.unscoped(() => {
    for (let g = 0; g < weight.count; g++) {
      const matrix = values.subarray(g * rows * columns, (g + 1) * rows * columns);
      using staged = device.tensor(matrix, [rows, columns]);
      quantizeInto(weight, g, 0, staged);
    }
  });
  return weight;
}

/**
 * A stack or a matrix of normal weights with the same bytes on every device (the reference rounds scales from double
 * precision and is slow at it); `shardBytes` splits stacks.
 */
export async function quantizedNormals(
  device: Device,
  format: QuantFormat,
  shape: Shape,
  seed: number,
  shardBytes?: number,
): Promise<QuantizedTensor> {
  const size = shape.reduce((product, n) => product * n, 1);
  using source = quantized(await cpuDevice(1, true), format, shape, normals(size, seed));
  const bytes = await source.shards[0].tiles.data();
  const weight = new QuantizedTensor(device, format, shape, shardBytes);
  const each = weight.matrixBytes;
  for (const { begin, end, tiles } of weight.shards) tiles.set(bytes.subarray(begin * each, end * each));
  return weight;
}
