/** What differs between kinds of post-training, as the run on disk sees it: batches, objective, and how held-out rows are scored. */
import type { FileTree, FolderSink } from "../../checkpoint/byte-source.ts";
import { AdaptedModel } from "../../models/adapted-model.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import type { TrainableModel } from "../../models/token-model.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { Batch } from "../../train/batches.ts";
import type { Evaluation } from "../../train/evaluate.ts";
import { type TrainingMemory, trainingMemory } from "../../train/memory.ts";
import {
  loadAdapterTraining,
  loadTraining,
  type SavedParts,
  saveAdapterTraining,
  saveTraining,
} from "../../train/state.ts";
import type { StepMetrics, Trainer } from "../../train/trainer.ts";
import type { LoopedTrainer } from "../loop.ts";
import type { TunedConfig } from "./config.ts";

/** What a learner is made of. */
export interface LearnerParts<C extends TunedConfig = TunedConfig> {
  /** The run's folder. */
  readonly folder: string;
  readonly config: C;
  /** The model, or with adapters what trains these alone. */
  readonly model: CausalLM | AdaptedModel;
  readonly tokenizer: Tokenizer;
}

/** A trainer with its batches, whatever they are. */
export interface TrainerSide extends LoopedTrainer, Disposable {
  readonly tokens: number;
  setSteps(steps: number): void;
  checkWeights(): Promise<void>;
  save(sink: FolderSink, parts: SavedParts): Promise<void>;
  /** Puts a saved step back. @throws FormatError, ConfigError */
  load(tree: FileTree): Promise<void>;
  memory(): TrainingMemory;
}

export interface Learner extends AsyncDisposable {
  readonly trainer: TrainerSide;
  /**
   * What has to be done once before the first step and is kept in the run's folder, such as scores of a reference: goes on where
   * it was stopped. @throws the signal's reason
   */
  begin?(onNotice: (text: string) => void, signal?: AbortSignal): Promise<void>;
  /** One update; aborted before it, it throws the signal's reason. */
  trainStep(signal?: AbortSignal): Promise<StepMetrics>;
  /** Scores what is held out; null if nothing is. */
  evaluate(): Promise<Evaluation | null>;
}

/** How a saved step is written and put back: all weights, or the adapters. */
export function statesOf<M extends TrainableModel, B extends Batch>(
  trainer: Trainer<M, B>,
): Pick<TrainerSide, "save" | "load"> {
  if (!(trainer.model instanceof AdaptedModel)) {
    return {
      save: (sink, parts) => saveTraining(trainer, sink, parts),
      load: (tree) => loadTraining(trainer, tree),
    };
  }
  const adapted = trainer as unknown as Trainer<AdaptedModel, B>;
  return {
    save: (sink) => saveAdapterTraining(adapted, sink),
    load: (tree) => loadAdapterTraining(adapted, tree),
  };
}

/** A trainer as a run on disk needs it. */
export function trainerSide<B extends Batch>(trainer: Trainer<CausalLM | AdaptedModel, B>): TrainerSide {
  return {
    get step() {
      return trainer.step;
    },
    get tokens() {
      return trainer.tokens;
    },
    get done() {
      return trainer.done;
    },
    get steps() {
      return trainer.steps;
    },
    setSteps: (steps) => trainer.setSteps(steps),
    checkWeights: () => trainer.checkWeights(),
    ...statesOf(trainer),
    memory: () => trainingMemory(trainer),
    [Symbol.dispose]: () => trainer[Symbol.dispose](),
  };
}
