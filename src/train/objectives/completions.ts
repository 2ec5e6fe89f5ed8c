/**
 * Log-probabilities of completions after their prompts, in one pass over rows of unequal length. Only the places that say a
 * completion's token have logits.
 */
import type { TrainableModel } from "../../models/token-model.ts";
import type { Routing } from "../../nn/context.ts";
import { ShapeError } from "../../tensor/errors.ts";
import { checkIds, embedding } from "../../tensor/ops/embedding.ts";
import { reshape } from "../../tensor/ops/reshape.ts";
import { tokenLogProbabilities } from "../../tensor/ops/token-log-probabilities.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** A prompt and what was answered to it; the end token belongs to the answer. */
export interface Completion {
  readonly prompt: readonly number[];
  readonly completion: readonly number[];
}

export interface CompletionOptions {
  /** Logits are divided by it, as they were when the completions were sampled; default 1. */
  readonly temperature?: number;
  /** Which kernel routers use; default `each`, that of the engine. */
  readonly routing?: Routing;
}

export interface CompletionScores {
  /** Log-probability of each token of the completions, one after another, `[N]`. */
  readonly logp: Tensor;
  /** Entropy of the distribution it was taken from, in nats, `[N]`; no gradient. */
  readonly entropy: Tensor;
  /** Where each completion begins, and N at the end. */
  readonly starts: readonly number[];
}

/** Tokens that a pass over these rows reads, their padding included. */
export function passTokens(rows: readonly Completion[]): number {
  return (
    rows.length * Math.max(...rows.map(({ prompt, completion }) => prompt.length + completion.length - 1))
  );
}

/**
 * Scores of completions under `model`, with gradients to its weights while a tape records. To be freed by the caller, or in
 * a `tidy`. @throws ShapeError for an empty prompt or completion, or ids that the model does not have
 */
export function scoreCompletions(
  model: Pick<TrainableModel, "device" | "config" | "hidden" | "logits">,
  rows: readonly Completion[],
  { temperature = 1, routing = "each" }: CompletionOptions = {},
): CompletionScores {
  const where = "scoreCompletions";
  const { device, config } = model;
  const empty = rows.findIndex(({ prompt, completion }) => prompt.length === 0 || completion.length === 0);
  if (rows.length === 0 || empty >= 0) {
    throw new ShapeError("a prompt or a completion is empty", {
      where,
      ...(empty >= 0 && { name: `row ${empty}` }),
      expected: "rows with one token or more of each",
      found:
        rows.length === 0 ? "no rows" : `${rows[empty].prompt.length} and ${rows[empty].completion.length}`,
    });
  }
  const B = rows.length;
  const T = passTokens(rows) / B;
  // Rows differ in length: their ends repeat token 0, which nothing before them sees.
  const ids = new Int32Array(B * T);
  const starts = [0];
  const places: number[] = [];
  rows.forEach(({ prompt, completion }, b) => {
    const { length } = prompt;
    ids.set(prompt, b * T);
    // The last token says nothing.
    ids.set(completion.slice(0, -1), b * T + length);
    for (let i = 0; i < completion.length; i++) places.push(b * T + length - 1 + i);
    starts.push(places.length);
  });
  const targets = Int32Array.from(rows.flatMap(({ completion }) => completion));
  checkIds(ids, config.vocabSize, where);
  checkIds(targets, config.vocabSize, where);
  const { logp, entropy } = device.tidy(() => {
    const hidden = model.hidden(device.tensor(ids, [B, T], "i32"), { routing }); // [B, T, d]
    const table = reshape(hidden, [B * T, config.hiddenSize]);
    const states = embedding(table, device.tensor(Int32Array.from(places), [places.length], "i32")); // [N, d]
    const wanted = device.tensor(targets, [targets.length], "i32");
    return tokenLogProbabilities(model.logits(states), wanted, { temperature, consumeLogits: true });
  });
  return { logp, entropy, starts };
}
