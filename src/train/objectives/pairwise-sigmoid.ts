/**
 * The pairwise sigmoid loss of SigLIP (arXiv 2303.15343): every pair of a batch is a yes-or-no question of its own, without a
 * softmax over the batch. The same loss asks of single patches which names apply to them.
 */
import { ShapeError } from "../../tensor/errors.ts";
import { crossEntropy } from "../../tensor/ops/cross-entropy.ts";
import { exp } from "../../tensor/ops/exp.ts";
import { linear } from "../../tensor/ops/linear.ts";
import { multiply } from "../../tensor/ops/multiply.ts";
import { concat, reshape } from "../../tensor/ops/reshape.ts";
import { rmsNorm } from "../../tensor/ops/rms-norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** Added to squared lengths, so that a row of zeros has a gradient. */
const EPSILON = 1e-12;

/** Rows scaled to length 1: `[.., d]` to `[.., d]`. */
export function unitRows(x: Tensor): Tensor {
  const { device } = x;
  const width = x.shape.at(-1) ?? 0;
  // The norm divides by the root of the mean of squares, not of their sum.
  const factor = device.tensor(new Float32Array(width).fill(width ** -0.5));
  return rmsNorm(x, factor, EPSILON / width);
}

/**
 * Sum of -log sigmoid(label logit) over all logits, divided by `denominator`: logits `[..]` f32, -> `[1]`. @param positive of
 * each logit whether its label is +1, in its order @throws ShapeError
 */
export function sigmoidLoss(logits: Tensor, positive: ArrayLike<boolean>, denominator: number): Tensor {
  if (positive.length !== logits.size) {
    throw new ShapeError("labels and logits differ in number", {
      where: "sigmoidLoss",
      expected: logits.size,
      found: positive.length,
    });
  }
  const { device, size } = logits;
  // A sigmoid is a softmax over the logit and zero.
  const pairs = concat([reshape(logits, [size, 1]), device.zeros([size, 1])]); // [size, 2]
  const targets = Int32Array.from(positive, (yes) => (yes ? 0 : 1));
  return crossEntropy(pairs, device.tensor(targets, [size], "i32"), { denominator, consumeLogits: true });
}

export interface PairOptions {
  /** Logarithm t of the factor of similarities, `[1]`. */
  readonly logScale: Tensor;
  /** Added to each logit, `[1]`. */
  readonly bias: Tensor;
}

/** exp(t) <u_i, v_j> + b: u `[n, d]`, v `[m, d]`, both of unit rows -> `[n, m]`. @throws ShapeError */
export function pairLogits(u: Tensor, v: Tensor, { logScale, bias }: PairOptions): Tensor {
  const { device } = u;
  const ones = (rows: number) => device.tensor(new Float32Array(rows).fill(1), [rows, 1]);
  // One more column carries the bias through the product.
  const left = concat([multiply(u, exp(logScale)), ones(u.shape[0])]); // [n, d + 1]
  const right = concat([v, linear(ones(v.shape[0]), reshape(bias, [1, 1]))]); // [m, d + 1]
  return linear(left, right);
}

/** SigLIP's loss of a batch: row i of u belongs to row i of v and to no other; sum over all pairs, over n. */
export function pairwiseSigmoidLoss(u: Tensor, v: Tensor, options: PairOptions): Tensor {
  const [n] = u.shape;
  const logits = pairLogits(u, v, options); // [n, n]
  return sigmoidLoss(
    logits,
    Array.from({ length: n * n }, (_, at) => at % (n + 1) === 0),
    n,
  );
}
