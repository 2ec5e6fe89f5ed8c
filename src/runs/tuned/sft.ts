/** Supervised fine-tuning: packed rows, isolated from each other, of which marked tokens are learned. */
import { join } from "node:path";
import { heldOutBelow } from "../../data/rows/held-out.ts";
import type { AdaptedModel } from "../../models/adapted-model.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import type { TokenBatch } from "../../train/batches.ts";
import { evaluate } from "../../train/evaluate.ts";
import { tokenObjective } from "../../train/objectives/objective.ts";
import { PackedRows } from "../../train/packed-rows.ts";
import { Trainer } from "../../train/trainer.ts";
import { tokenBytes } from "../token-bytes.ts";
import type { SftConfig } from "./config.ts";
import { type Learner, type LearnerParts, trainerSide } from "./learner.ts";
import { LessonStore } from "./lesson-store.ts";

/** Opens the data of a run, for its model. @throws FormatError, ConfigError */
export async function sftLearner({
  folder,
  config,
  model,
  tokenizer,
}: LearnerParts<SftConfig>): Promise<Learner> {
  const store = await LessonStore.open(join(folder, "data"));
  try {
    const { sequenceLength: length, tokensAtOnce, seed, training } = config;
    const below = heldOutBelow(store.hashes, config.data.heldOut);
    const padId = tokenizer.specialIds.eos ?? 0;
    const rows = new PackedRows(store.list(store.side(false, below)), { length, seed, padId });
    const held = store.side(true, below);
    const scored = held.length === 0 ? null : new PackedRows(store.list(held), { length, seed, padId });
    const { steps, batch, learningRate, optimizer, balanceAlpha } = training;
    const trainer = new Trainer<CausalLM | AdaptedModel, TokenBatch>(
      model,
      rows.inParts(tokensAtOnce),
      { steps, batch, learningRate, optimizer, balanceAlpha },
      tokenObjective,
    );
    const atOnce = Math.max(1, Math.floor(tokensAtOnce / length));
    return {
      trainer: trainerSide(trainer),
      trainStep: () => trainer.trainStep(),
      evaluate: async () =>
        scored === null ? null : evaluate(model, scored.once(atOnce), tokenBytes(tokenizer)),
      async [Symbol.asyncDispose]() {
        trainer[Symbol.dispose]();
        await store[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}
