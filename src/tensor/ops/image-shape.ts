/** What ops over images with channels last check alike. */
import { ShapeError } from "../errors.ts";
import { sameShape, type Tensor } from "../tensor.ts";

/** Channels that a thread's scratch memory has room for several vectors of. */
const MOST_CHANNELS = 2 ** 17;

/** Samples of an image or of a sequence, the rows of each, and its channels. */
export interface SampleShape {
  readonly batch: number;
  readonly rows: number;
  readonly channels: number;
}

/** `[batch, .., channels]` with everything between as rows. @throws ShapeError */
export function sampleShape(where: string, x: Tensor): SampleShape {
  const [batch] = x.shape;
  const channels = x.shape.at(-1) ?? 0;
  if (x.shape.length < 2 || x.dtype !== "f32" || channels < 1 || channels > MOST_CHANNELS) {
    throw new ShapeError("not samples with channels last", {
      where,
      expected: `f32 [batch, .., channels], 1 to ${MOST_CHANNELS} channels`,
      found: `${x.dtype} [${x.shape}]`,
    });
  }
  return { batch, rows: x.shape.slice(1, -1).reduce((product, n) => product * n, 1), channels };
}

/** @throws ShapeError unless the tensor is f32 of this shape */
export function checkOperand(where: string, name: string, tensor: Tensor, shape: readonly number[]): void {
  if (tensor.dtype === "f32" && sameShape(tensor.shape, shape)) return;
  throw new ShapeError(`the ${name} does not match x`, {
    where,
    name,
    expected: `f32 [${shape}]`,
    found: `${tensor.dtype} [${tensor.shape}]`,
  });
}
