/** Every setting of a training run, as `run.json` holds them. */
import type { Precision } from "../nn/precision.ts";
import type { AdamWOptions } from "../train/optimizer.ts";
import type { BatchSchedule, LearningRateSchedule, Piecewise } from "../train/schedule.ts";
import type { DataConfig } from "./data-config.ts";

export type { DataConfig };

export interface TrainingConfig {
  /** Updates; null if `seconds` decides. */
  readonly steps: number | null;
  /** Wall time of the training loop, from which `steps` is set once the speed is known; null for no limit. */
  readonly seconds: number | null;
  readonly sequenceLength: number;
  readonly batch: BatchSchedule;
  readonly learningRate: LearningRateSchedule;
  readonly optimizer: AdamWOptions;
  readonly mtpWeight: Piecewise;
  readonly balanceAlpha: number;
  readonly biasGamma: Piecewise;
  /** In which products are computed; see `setPrecision`. */
  readonly precision: Precision;
  /** Standard deviation of the initial weights. */
  readonly initStd: number;
  /** Steps between evaluations on the held-out part; the last step is always evaluated. */
  readonly evaluateEvery: number;
  /** Sequences of one evaluation. */
  readonly evaluateSequences: number;
  /** Steps between saved states; the last step is always saved. */
  readonly saveEvery: number;
  /** Saved states to keep. */
  readonly keep: number;
}

export interface RunConfig {
  readonly seed: number;
  readonly vocabSize: number;
  /** An official `config.json` without `vocab_size`, which comes from the tokenizer. */
  readonly model: Readonly<Record<string, unknown>>;
  readonly data: DataConfig;
  readonly training: TrainingConfig;
}
