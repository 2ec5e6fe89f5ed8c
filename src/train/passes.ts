/** The passes of a step: several batches whose gradients are added, and what they say together. */
import { weightedSum } from "../tensor/ops/reduce.ts";
import { disposeAll } from "../tensor/tensor.ts";
import type { Losses } from "./objectives/objective.ts";

/** A forward and backward pass. */
export interface Pass {
  /** Its part of the step, of 1. */
  readonly share: number;
  readonly losses: Losses;
}

/** The losses of a pass, of which only its share is differentiated. */
export function shareOf(losses: Losses, share: number): Losses {
  if (share === 1) return losses;
  const { loss, crossEntropy = loss } = losses;
  return { ...losses, crossEntropy, loss: weightedSum([loss], [share]) };
}

/** Frees the figures of passes, and nothing of the model. */
export function disposePasses(passes: readonly Pass[]): void {
  for (const { losses } of passes) {
    const { expertCounts = [], ...figures } = losses;
    disposeAll([figures, expertCounts.map(({ counts }) => counts)]);
  }
}

/** Figures of all passes together: means by share, and tokens of each expert in total. */
export interface Figures {
  readonly loss: number;
  readonly mtpLoss: number | null;
  readonly balanceLoss: number | null;
  readonly terms: Readonly<Record<string, number>>;
  readonly experts: readonly { readonly layer: number; readonly counts: readonly number[] }[];
}

/** Reads the figures of passes. */
export async function figuresOf(passes: readonly Pass[]): Promise<Figures> {
  let loss = 0;
  const mtp: number[] = [];
  const balances: number[] = [];
  const terms: Record<string, number> = {};
  const experts = new Map<number, number[]>();
  for (const { share, losses } of passes) {
    loss += share * (await (losses.crossEntropy ?? losses.loss).item());
    if (losses.mtp) mtp.push(share * (await losses.mtp.item()));
    const balance = losses.balance ?? [];
    if (balance.length > 0) {
      const each = await Promise.all(balance.map((layer) => layer.loss.item()));
      balances.push(share * each.reduce((a, b) => a + b, 0));
    }
    for (const [name, term] of Object.entries(losses.terms ?? {})) {
      terms[name] = (terms[name] ?? 0) + share * (await term.item());
    }
    for (const { layer, counts } of losses.expertCounts ?? []) {
      const found = Array.from(await counts.data());
      const before = experts.get(layer);
      experts.set(layer, before === undefined ? found : found.map((count, i) => count + before[i]));
    }
  }
  const sum = (values: readonly number[]) => (values.length > 0 ? values.reduce((a, b) => a + b) : null);
  return {
    loss,
    mtpLoss: sum(mtp),
    balanceLoss: sum(balances),
    terms,
    experts: [...experts].map(([layer, counts]) => ({ layer, counts })),
  };
}
