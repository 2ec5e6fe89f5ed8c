/** A trained run on its held-out text: loss by document, and where routers sent the tokens. */
import type { RouterOutput } from "../../src/nn/moe.ts";
import type { Run } from "../../src/runs/run.ts";
import { maxViolation } from "../../src/tensor/ops/balance.ts";
import { tokenLosses } from "../../src/tensor/ops/cross-entropy.ts";
import { disposeAll } from "../../src/tensor/tensor.ts";

export interface HeldOutScores {
  readonly tokens: Int32Array;
  /** Nats of every token after the first. */
  readonly nats: Float32Array;
  /** Nats per token. */
  readonly loss: number;
  readonly bitsPerByte: number;
  /** Of each layer of experts, the tokens that each received. */
  readonly loads: readonly (readonly number[])[];
}

const BATCH = 16;
/** As many figures of groups of documents as a line of results holds. */
const MOST_GROUPS = 100;

/** Scores at most so many sequences of the held-out text, in their order. */
export async function scoreHeldOut(run: Run, mostSequences: number): Promise<HeldOutScores> {
  const { model } = run;
  const { device } = model;
  const tokens = await run.heldOutTokens(mostSequences);
  const { sequenceLength: length } = run.config.training;
  const rows = Math.floor((tokens.length - 1) / length);
  const nats = new Float32Array(rows * length);
  const loads = new Map<number, number[]>();
  for (let at = 0; at < rows; at += BATCH) {
    const count = Math.min(BATCH, rows - at);
    const [from, size] = [at * length, count * length];
    const found = device.tidy(() => {
      const routers: RouterOutput[] = [];
      const inputs = device.tensor(tokens.slice(from, from + size), [count, length], "i32");
      const targets = device.tensor(tokens.slice(from + 1, from + size + 1), [size], "i32");
      const logits = model.logits(model.hidden(inputs, { routers, routing: "batched" }));
      const scores = tokenLosses(logits.view([size, -1]), targets);
      return { scores, counts: routers.map(({ layer, counts }) => ({ layer, counts })) };
    });
    nats.set(await found.scores.data(), from);
    for (const { layer, counts } of found.counts) {
      const own = await counts.data();
      const sums = loads.get(layer) ?? new Array<number>(own.length).fill(0);
      loads.set(
        layer,
        sums.map((sum, i) => sum + own[i]),
      );
    }
    disposeAll(found);
  }
  const bytesOf = run.tokenBytes();
  let [sum, bytes] = [0, 0];
  nats.forEach((each, i) => {
    sum += each;
    bytes += bytesOf[tokens[i + 1]];
  });
  return {
    ...{ tokens: tokens.slice(0, nats.length + 1), nats, loads: [...loads.values()] },
    ...{ loss: sum / nats.length, bitsPerByte: sum / Math.LN2 / bytes },
  };
}

/**
 * The loss as a mean over groups of neighboring documents of about equal length, which pairs of arms are compared by: nats of a group over
 * the tokens that it would have if all were equal, so that the mean of all is the loss.
 */
export function lossGroups({ tokens, nats }: HeldOutScores, endId: number): number[] {
  const ends = [...tokens.keys()].filter((i) => i > 0 && i < nats.length && tokens[i] === endId);
  const wanted = Math.max(1, Math.min(MOST_GROUPS, ends.length));
  const starts = [0];
  for (const end of ends) if (end >= (starts.length * nats.length) / wanted) starts.push(end);
  const share = nats.length / starts.length;
  return starts.map((start, i) => {
    const own = nats.subarray(start, starts[i + 1] ?? nats.length);
    return Math.round((1e4 * own.reduce((a, b) => a + b, 0)) / share) / 1e4;
  });
}

/** Largest overload of an expert, (max - mean) / mean, as the mean over layers: the papers' MaxVio. */
export const meanViolation = (loads: readonly (readonly number[])[]): number =>
  loads.reduce((sum, layer) => sum + maxViolation(layer), 0) / loads.length;
