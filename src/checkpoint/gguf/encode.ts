/** Values of checkpoints as the bytes of a GGUF file. */
import { inUnits } from "../../nn/units.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { FormatError } from "../../tensor/errors.ts";
import { quantize, type WritableType } from "./quantize.ts";
import { ggmlTypes } from "./types.ts";

/** `general.file_type` of files that are mostly of one type. */
export const FILE_TYPES: Readonly<Record<WritableType, number>> = {
  ...{ F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 },
};

/** Values encoded at once. */
const CHUNK = 1 << 20;

/** The values of a tensor in order; FormatError when its source skips or repeats some. */
export async function* inOrder(weights: WeightSource, name: string): AsyncGenerator<Float32Array> {
  let at = 0;
  for await (const { offset, values } of weights.readF32(name)) {
    if (offset !== at) {
      throw new FormatError("chunks are out of order", {
        where: "exportGguf",
        name,
        expected: at,
        found: offset,
      });
    }
    yield values;
    at += values.length;
  }
}

/** Values in `type`. @param name the tensor's, for errors @throws FormatError for values that the type cannot hold */
export async function* encoded(
  values: AsyncIterable<Float32Array>,
  type: WritableType,
  name: string,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of inUnits(values, ggmlTypes[type].values)) {
    for (let at = 0; at < chunk.length; at += CHUNK) {
      yield quantize(type, chunk.subarray(at, at + CHUNK), name);
    }
  }
}
