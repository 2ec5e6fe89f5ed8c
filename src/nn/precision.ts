/**
 * The precision in which a model's products are computed while it is trained. FP8 is emulated: both sides of every product of a linear
 * layer are rounded to what FP8 holds, sums are f32 (DeepSeek-V3, arXiv 2412.19437, section 3.3). As there, embeddings, the output head,
 * routers, norms and the core of attention stay in f32, and so do the weights that the optimizer updates.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { ProductRounding } from "../tensor/ops/rounded.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import type { Parameters } from "./parameters.ts";

const FP8: ProductRounding = { format: "e4m3", gradients: "e4m3", scales: "tiles" };

/**
 * `fp8`: V3's, e4m3 with a scale for 128 values along the summed axis, and for blocks of 128 x 128 of a weight; `fp8-tensor`: one scale
 * for a whole tensor; `fp8-blocks`: gradients in blocks as well; `fp8-e5m2`: gradients with two bits behind the point.
 */
const ROUNDINGS = {
  f32: null,
  bf16: { format: "bf16", gradients: "bf16", scales: "tiles" },
  fp8: FP8,
  "fp8-tensor": { ...FP8, scales: "tensor" },
  "fp8-blocks": { ...FP8, gradientBlocks: true },
  "fp8-e5m2": { ...FP8, gradients: "e5m2" },
} as const satisfies Readonly<Record<string, ProductRounding | null>>;

export type Precision = keyof typeof ROUNDINGS;
export const PRECISIONS = Object.keys(ROUNDINGS) as readonly Precision[];

/** Whether it is a linear layer's matrix that is rounded. */
const isRounded = ({ shape, role, alwaysF32 }: ParameterGroup): boolean =>
  shape.length === 2 && !alwaysF32 && (role === undefined || role === "latent");

/**
 * Computes products with the matrices of linear layers in `precision` from now on, forward and backward. @throws ConfigError for
 * routed experts, whose products know f32 alone
 */
export function setPrecision(parameters: Parameters, precision: Precision): void {
  const rounding = ROUNDINGS[precision];
  for (const group of parameters.groups()) {
    if (rounding !== null && group.role === "experts") {
      throw new ConfigError("products of routed experts are computed in f32 alone", {
        where: "setPrecision",
        name: group.key,
        expected: "f32",
        found: precision,
        hint: "Train a model without experts in this precision, or this one in f32.",
      });
    }
    if (isRounded(group)) group.rounding = rounding;
  }
}
