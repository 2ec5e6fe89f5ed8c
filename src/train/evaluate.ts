/** Held-out loss, in nats per token and bits per byte of text. */
import type { TokenModel } from "../models/token-model.ts";
import { tokenLosses } from "../tensor/ops/cross-entropy.ts";
import { inputsOf, type TokenBatch } from "./batches.ts";

export interface Evaluation {
  /** Mean next-token cross entropy, nats. */
  readonly loss: number;
  /** Targets scored. */
  readonly tokens: number;
  /** Bytes of the scored targets' text, if the token lengths were given. */
  readonly bytes: number | null;
  /** Total bits over total bytes: comparable between vocabularies. */
  readonly bitsPerByte: number | null;
  /** What the loss is, where it is not nats per token. */
  readonly unit?: string;
  /** Further figures by name. */
  readonly terms?: Readonly<Record<string, number>>;
}

/**
 * Scores `batches`. @param tokenBytes length in bytes of each token's text, special tokens 0; an end-of-text
 * target then costs bits and covers no bytes, so that no model gains by it
 */
export async function evaluate(
  model: TokenModel,
  batches: Iterable<TokenBatch> | AsyncIterable<TokenBatch>,
  tokenBytes?: ArrayLike<number>,
): Promise<Evaluation> {
  const { device } = model;
  let nats = 0;
  let tokens = 0;
  let bytes = 0;
  for await (const batch of batches) {
    using scores = device.tidy(() => {
      const inputs = device.tensor(inputsOf(batch), [batch.batch, batch.length], "i32");
      const targets = device.tensor(batch.targets, [batch.targets.length], "i32");
      const logits = model.logits(model.hidden(inputs, { documents: batch.documents }));
      return tokenLosses(logits.view([batch.targets.length, -1]), targets);
    });
    const losses = await scores.data();
    for (const [i, target] of batch.targets.entries()) {
      if (target < 0) continue;
      nats += losses[i];
      tokens++;
      bytes += tokenBytes?.[target] ?? 0;
    }
  }
  return {
    loss: nats / tokens,
    tokens,
    bytes: tokenBytes ? bytes : null,
    bitsPerByte: tokenBytes ? nats / Math.LN2 / bytes : null,
  };
}
