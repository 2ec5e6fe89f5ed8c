/**
 * Convolution of images with channels last. Official weights are [out, in, kh, kw]; kernels take [out, kh, kw, in], so
 * that is how they are stored. A 1 x 1 convolution is a linear layer.
 */
import { type ConvOptions, conv2d, type Padding } from "../tensor/ops/conv2d.ts";
import { depthwiseConv2d } from "../tensor/ops/depthwise.ts";
import { linear } from "../tensor/ops/linear.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import { alone, type LayoutDeclaration, type ParameterScope } from "./scope.ts";

export interface Conv2dOptions extends ConvOptions {
  /** Whether there is a bias; default true, as in torch. It is trained, without weight decay. */
  readonly bias?: boolean;
}

/** `values` [outer, inner] as [inner, outer]. */
function turned(values: Float32Array, outer: number, inner: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < outer; i++) for (let j = 0; j < inner; j++) out[j * outer + i] = values[i * inner + j];
  return out;
}

/** The weight `name` as it is, and with its input channels last; a unit is what belongs to one output. */
function channelsLast(
  name: string,
  outputs: number,
  inputs: number,
  [kh, kw]: readonly [number, number],
): LayoutDeclaration {
  const area = kh * kw;
  const options = { unquantizable: true, role: "filter" } as const;
  return {
    official: { ...alone(name, [outputs, inputs, kh, kw]), ...options },
    pieces: [{ ...alone(`${name}.channels_last`, [outputs, kh, kw, inputs]), ...options }],
    units: outputs,
    onlyPieces: true,
    plainRows: [null],
    split: (unit) => turned(unit, inputs, area),
    join: ([unit]) => turned(unit, area, inputs),
  };
}

const isPadded = (padding: number | Padding) =>
  typeof padding === "number" ? padding > 0 : Object.values(padding).some((side) => side > 0);

export class Conv2d {
  readonly #weight: ParameterGroup;
  readonly #bias: ParameterGroup | null;
  readonly #options: ConvOptions;
  /** Whether the weight is the matrix of a linear layer. */
  readonly #pointwise: boolean;

  /**
   * Declares `weight` and `bias`.
   * @param inputs channels of `x` @param outputs channels of the result @param kernel height and width of patches
   */
  constructor(
    scope: ParameterScope,
    inputs: number,
    outputs: number,
    kernel: readonly [number, number],
    { bias = true, ...options }: Conv2dOptions = {},
  ) {
    const { stride = 1, padding = 0 } = options;
    this.#options = options;
    this.#pointwise = kernel[0] * kernel[1] === 1 && stride === 1 && !isPadded(padding);
    if (this.#pointwise) {
      const { key, parts } = alone("weight", [outputs, inputs, 1, 1]);
      this.#weight = scope.declare({ key, shape: [outputs, inputs], parts, role: "filter" });
    } else [this.#weight] = scope.layout(channelsLast("weight", outputs, inputs, kernel));
    this.#bias = bias ? scope.vector("bias", outputs, { initial: "zeros" }) : null;
  }

  /** `x: [batch, height, width, inputs]` to `[batch, outHeight, outWidth, outputs]`. @throws ShapeError */
  forward(x: Tensor): Tensor {
    const bias = this.#bias?.tensor ?? null;
    if (this.#pointwise) return linear(x, this.#weight.weight, bias);
    return conv2d(x, this.#weight.tensor, bias, this.#options);
  }
}

/** A convolution of each channel by itself whose odd kernel keeps the size; weights `[channels, 1, size, size]`. */
export class DepthwiseConv2d {
  readonly #weight: ParameterGroup;
  readonly #bias: ParameterGroup | null;

  /** Declares `weight` and `bias`. */
  constructor(scope: ParameterScope, channels: number, size: number, { bias = true } = {}) {
    const name = "weight";
    const area = size ** 2;
    const options = { unquantizable: true, alwaysF32: true };
    [this.#weight] = scope.layout({
      official: { ...alone(name, [channels, 1, size, size]), ...options },
      pieces: [{ ...alone(`${name}.channels_last`, [size, size, channels]), ...options }],
      units: 1,
      onlyPieces: true,
      plainRows: [null],
      split: (unit) => turned(unit, channels, area),
      join: ([unit]) => turned(unit, area, channels),
    });
    this.#bias = bias ? scope.vector("bias", channels, { initial: "zeros" }) : null;
  }

  /** `x: [batch, height, width, channels]` to the same shape. @throws ShapeError */
  forward(x: Tensor): Tensor {
    return depthwiseConv2d(x, this.#weight.tensor, this.#bias?.tensor ?? null);
  }
}
