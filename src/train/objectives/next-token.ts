/**
 * The pre-training objective (training notes: DeepSeek-V3 sections 2.1.2 and 2.2): next-token cross entropy, plus the
 * weighted loss of the multi-token-prediction modules, plus the weighted balance losses of the expert layers.
 */

import type { TrainableModel } from "../../models/token-model.ts";
import type { Capture, Routing } from "../../nn/context.ts";
import type { RouterOutput } from "../../nn/moe.ts";
import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import { sequenceBalanceLoss } from "../../tensor/ops/balance.ts";
import { crossEntropy } from "../../tensor/ops/cross-entropy.ts";
import { checkIds } from "../../tensor/ops/embedding.ts";
import { weightedSum } from "../../tensor/ops/reduce.ts";
import { reshape } from "../../tensor/ops/reshape.ts";
import type { Tensor } from "../../tensor/tensor.ts";

export interface LossBatch {
  /** Sequences B. */
  readonly sequences: number;
  /** Tokens, B rows of T. */
  readonly ids: Int32Array;
  /** The token after each, or a negative number if none is to be learned, B rows of T. */
  readonly targets: Int32Array;
  /** Lengths of documents that do not see each other, through all rows one after another; default: a row is one. */
  readonly documents?: readonly number[];
  /** What the model reads in place of its own embeddings of `ids`, `[B, T, d]`: images stand for some of them. */
  readonly inputs?: () => Tensor;
}

export interface LossOptions {
  /** Weight of the multi-token-prediction loss (V3: 0.3, later 0.1); 0 leaves the modules out. Default 0. */
  readonly mtpWeight?: number;
  /** Weight of each layer's balance loss; 0 leaves it out. Default 0. */
  readonly balanceAlpha?: number;
  /** Which kernel routers use; default `batched`. A policy's update takes that of its rollouts. */
  readonly routing?: Routing;
  /** Receives intermediate values, `logits` and `mtp.logits` among them. */
  readonly capture?: Capture | null;
}

export interface LossOutput {
  /** What to differentiate, `[1]`. */
  readonly loss: Tensor;
  /** Mean over the targets that are not ignored, `[1]`. */
  readonly crossEntropy: Tensor;
  /** Sum of the module's terms over the number of next-token terms, mean over modules, `[1]`; null without modules. */
  readonly mtp: Tensor | null;
  /** Balance loss of each expert layer before its weight, `[1]`; empty if balanceAlpha is 0. */
  readonly balance: readonly { readonly layer: number; readonly loss: Tensor }[];
  /** Tokens that each expert of each layer received, `[E]` i32, with the router bias that they may move. */
  readonly expertCounts: readonly {
    readonly layer: number;
    readonly counts: Tensor;
    readonly bias: Tensor | null;
  }[];
  /** Targets that are not ignored. */
  readonly tokens: number;
}

/** A batch in which every token but the first of each row is a target: `tokens` holds B rows of T + 1. @throws ShapeError */
export function nextTokenBatch(tokens: Int32Array, sequences: number): LossBatch {
  const width = tokens.length / sequences;
  if (!Number.isInteger(width) || width < 2) {
    throw new ShapeError("rows must have at least two tokens", {
      where: "nextTokenBatch",
      expected: `a multiple of ${sequences}`,
      found: tokens.length,
    });
  }
  const length = width - 1;
  const ids = new Int32Array(sequences * length);
  const targets = new Int32Array(sequences * length);
  for (let b = 0; b < sequences; b++) {
    ids.set(tokens.subarray(b * width, b * width + length), b * length);
    targets.set(tokens.subarray(b * width + 1, (b + 1) * width), b * length);
  }
  return { sequences, ids, targets };
}

/**
 * All losses of a batch, to be freed by the caller; everything else is freed. Gradients: `differentiate(device, () =>
 * nextTokenLoss(..))`. @throws ShapeError, ConfigError
 */
export function nextTokenLoss(
  model: TrainableModel,
  batch: LossBatch,
  options: LossOptions = {},
): LossOutput {
  return model.device.tidy(() => compute(model, batch, options));
}

function compute(model: TrainableModel, batch: LossBatch, options: LossOptions): LossOutput {
  const { device, config } = model;
  const { sequences, ids, targets, documents = null } = batch;
  const { mtpWeight = 0, balanceAlpha = 0, routing = "batched", capture = null } = options;
  if (device.tape !== null && !model.parameters.trainable) {
    throw new ConfigError("trained weights must be f32", {
      where: "nextTokenLoss",
      name: "dtype",
      expected: "f32, or weights that are frozen",
      found: "bf16, f16 or quantized weights",
    });
  }
  const length = ids.length / sequences;
  if (!Number.isInteger(length) || length < 1 || targets.length !== ids.length) {
    throw new ShapeError("ids and targets differ in rows", {
      where: "nextTokenLoss",
      expected: `${sequences} rows and ${ids.length} targets`,
      found: `${ids.length} ids and ${targets.length} targets`,
    });
  }
  checkIds(ids, config.vocabSize, "nextTokenLoss");
  const tokens = targets.reduce((n, target) => n + (target >= 0 ? 1 : 0), 0);
  const denominator = Math.max(1, tokens);
  const routers: RouterOutput[] = [];
  const shape = [sequences, length];
  // Nothing reads the logits again unless they are captured.
  const consumeLogits = capture === null;
  const score = (hidden: Tensor, wanted: Int32Array, name: string): Tensor => {
    const logits = model.logits(hidden); // [B, T, V]
    if (capture)
      capture(
        name,
        device.unscoped(() => logits.view(logits.shape)),
      );
    const flat = reshape(logits, [ids.length, config.vocabSize]); // [B T, V]
    return crossEntropy(flat, device.tensor(wanted, [ids.length], "i32"), { denominator, consumeLogits });
  };

  const input = batch.inputs?.() ?? device.tensor(ids, shape, "i32");
  const training = device.tape !== null;
  const hidden = model.hidden(input, { routing, training, capture, routers, documents }); // [B, T, d]
  const main = score(hidden, targets, "logits");
  const terms = [main];
  const weights = [1];

  let mtp: Tensor | null = null;
  if (mtpWeight !== 0) {
    if (config.mtpLayers === 0) {
      throw new ConfigError("the model has no multi-token-prediction module to train", {
        where: "nextTokenLoss",
        name: "mtpWeight",
        expected: "0, or a model with num_nextn_predict_layers of 1 or more whose files hold that layer",
        found: mtpWeight,
      });
    }
    const losses: Tensor[] = [];
    let state = hidden;
    let next = ids;
    let wanted = targets;
    const ends = documents && documentEnds(documents, ids.length);
    for (let depth = 0; depth < config.mtpLayers; depth++) {
      // Position i sees token i + 1 and is trained on token i + 2.
      next = shifted(next, length, (row) => Math.max(0, targets[row]));
      wanted = shifted(wanted, length, () => -1, ends);
      const output = model.mtp(state, device.tensor(next, shape, "i32"), {
        depth,
        routing,
        capture,
        routers,
        documents,
      });
      losses.push(score(output.normed, wanted, "mtp.logits"));
      state = output.normed;
    }
    mtp = weightedSum(
      losses,
      losses.map(() => 1 / losses.length),
    );
    terms.push(mtp);
    weights.push(mtpWeight);
  }

  const balance =
    balanceAlpha === 0 || config.moe === null ? [] : routers.map((r) => balanceOf(model, r, sequences));
  for (const { loss } of balance) {
    terms.push(loss);
    weights.push(balanceAlpha);
  }

  const loss = terms.length === 1 ? main : weightedSum(terms, weights);
  const expertCounts = routers.map(({ layer, counts, bias }) => ({ layer, counts, bias }));
  return { loss, crossEntropy: main, mtp, balance, expertCounts, tokens };
}

/** Each row moved left by one, its last place filled, and so those that `ends` marks. */
function shifted(
  values: Int32Array,
  length: number,
  fill: (index: number) => number,
  ends: Uint8Array | null = null,
): Int32Array {
  return values.map((_, i) => ((i + 1) % length === 0 || ends?.[i] ? fill(i) : values[i + 1]));
}

/** Marks the last token of each document. */
function documentEnds(documents: readonly number[], tokens: number): Uint8Array {
  const ends = new Uint8Array(tokens);
  let at = 0;
  for (const length of documents) ends[(at += length) - 1] = 1;
  return ends;
}

function balanceOf({ config }: TrainableModel, router: RouterOutput, sequences: number) {
  const moe = config.moe!;
  const { topK, scoring } = moe.router;
  // V3 counts the plain top k of its sigmoid scores; earlier models count what the router chose.
  const sigmoid = scoring === "sigmoid";
  const loss = sequenceBalanceLoss(router.scores, {
    sequences: moe.balancePerSequence ? sequences : 1,
    topK: router.firstChoice ? 1 : topK,
    normalizeScores: sigmoid,
    ...(sigmoid ? {} : { ids: router.firstChoice ?? router.ids }),
  });
  return { layer: router.layer, loss };
}
