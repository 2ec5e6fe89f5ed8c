/**
 * What a training step of a model with latent attention must compute and keep, from its configuration: the figures
 * that measured ones are held against.
 */
import { isMoeLayer, type LanguageConfig } from "../../src/models/config.ts";
import { describeDecoder } from "../../src/models/decoder.ts";
import { sizeOf } from "../../src/tensor/tensor.ts";

export interface TrainingCost {
  readonly parameters: number;
  /**
   * Operations of one step, a multiply-add being two: forward once and backward twice, the causal half of attention,
   * without recomputation, norms, softmax and optimizer.
   */
  readonly operations: number;
  /** Weights, their gradients, two moments. */
  readonly stateBytes: number;
  /** Every op's output of the forward pass, kept for the backward pass. */
  readonly activationBytes: number;
}

/** Costs of one step on `batch` sequences of `length` tokens, f32 throughout. Models with latent attention only. */
export function trainingCost(config: LanguageConfig, batch: number, length: number): TrainingCost {
  const { attention, moe, hiddenSize: d, intermediateSize, vocabSize, layers } = config;
  if (attention.kind !== "mla") throw new Error("training-cost.ts counts latent attention only");
  const { heads: H, queryRank, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = attention;
  const tokens = batch * length;
  let parameters = 0;
  let trained = 0;
  let multiplied = 0;
  for (const spec of describeDecoder(config).mainParameters.groups()) {
    const size = sizeOf(spec.shape);
    parameters += size;
    if (spec.trained) trained += size;
    if (spec.shape.length === 1 || spec.role === "embedding") continue;
    multiplied += spec.routed ? (size * spec.routed.perToken) / spec.routed.experts : size;
  }
  const pairs = (batch * H * length * (length + 1)) / 2;
  const attended = layers * pairs * (N + R + V);

  const width = queryRank ?? H * (N + R);
  const compressed = queryRank === null ? 0 : width + H * (N + R);
  const mixer =
    2 * (width + C + R) + compressed + H * (N + R) + R + C + H * (N + V) + H * (N + R) + 2 * H * V + H;
  // Two norms, the mixer's output, two residual sums.
  let kept = layers * (mixer - H * V + 5 * d + H * V);
  for (let layer = 0; layer < layers; layer++) {
    if (moe === null || !isMoeLayer(config, layer)) {
      kept += 3 * intermediateSize + d;
      continue;
    }
    const { topK: K } = moe.router;
    const f = moe.expertWidth;
    const shared = moe.sharedExperts > 0 ? 3 * moe.sharedExperts * f + 2 * d : 0;
    // Router logits and scores, chosen ids and weights, rows and slots of the plan.
    kept += 2 * moe.experts + 4 * K + K * (2 * d + 3 * f) + d + shared;
  }
  // Embedding, final norm, logits (their gradient takes their place).
  kept += 2 * d + vocabSize;
  return {
    parameters,
    operations: 6 * (multiplied * tokens + attended),
    stateBytes: 4 * (parameters + 3 * trained),
    activationBytes: 4 * kept * tokens,
  };
}
