/** Settings of runs in stages where nobody says them: of fine-tuning, or of a model that begins with random weights. */
import type { LanguageConfig } from "../../models/language-config.ts";
import type { LearnedText, StageConfig, StageDefaults, StagedConfig } from "./config.ts";

const LENGTH = 2048;
const TOKENIZER = "gen_vision_model";
/** Samples that are held out of each source. */
const HELD_OUT = 32;
/** Tokens at once, for models of a large vocabulary. */
const LOGITS = 2 ** 28;

export interface StageOptions {
  readonly loss?: LearnedText;
  /** Samples of a step. */
  readonly batch?: number;
  /** Peak learning rate. */
  readonly rate?: number;
}

export function stageDefaults(
  start: StagedConfig["model"]["start"],
  { loss, batch, rate }: StageOptions = {},
): StageDefaults {
  return {
    batch: { size: batch ?? 8 },
    learningRate: {
      ...{ peak: rate ?? (start === "weights" ? 2e-5 : 5e-4), warmupSteps: 20 },
      ...{ shape: "cosine", finalFraction: 0.1 },
    },
    optimizer: { weightDecay: 0, clipNorm: 1 },
    loss: loss ?? "answers",
  };
}

/** What official names of Janus' image tokenizer begin with, if the model has one: no loss of Janus reaches it. */
export function untaughtPart(parts: Readonly<Record<string, readonly string[]>>): string | null {
  return parts.generation?.some((name) => name.startsWith(TOKENIZER)) ? TOKENIZER : null;
}

export interface StagedOptions {
  readonly folder: string;
  readonly start: StagedConfig["model"]["start"];
  readonly stages: readonly StageConfig[];
  readonly frozen?: StagedConfig["model"]["frozen"];
  readonly vae?: string;
  readonly seed?: number;
  /** Most tokens of a sample, and of what runs at once. */
  readonly length?: number;
  readonly atOnce?: number;
  readonly saveEvery?: number;
  readonly heldOut?: number;
}

/** A run in stages of a model whose language model is `language`. */
export function stagedRun(
  { maxPositions, vocabSize }: Pick<LanguageConfig, "maxPositions" | "vocabSize">,
  { folder, start, stages, frozen, vae, seed, length, atOnce, saveEvery, heldOut }: StagedOptions,
): StagedConfig {
  const sequenceLength = length ?? Math.min(LENGTH, maxPositions);
  return {
    kind: "stages",
    seed: seed ?? 1,
    model: { folder, start, frozen: frozen ?? "auto", initStd: 0.02, ...(vae !== undefined && { vae }) },
    sequenceLength,
    tokensAtOnce: atOnce ?? Math.max(sequenceLength, Math.min(4096, Math.floor(LOGITS / vocabSize))),
    stages,
    saveEvery: saveEvery ?? 200,
    keep: 2,
    heldOut: heldOut ?? HELD_OUT,
  };
}
