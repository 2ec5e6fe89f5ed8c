/** Training: the loop, the optimizer, schedules, evaluation, saved states. */
export type { BatchSource, TokenBatch } from "./batches.ts";
export { type Evaluation, evaluate } from "./evaluate.ts";
export {
  type LossBatch,
  type LossOptions,
  type LossOutput,
  nextTokenBatch,
  nextTokenLoss,
  type Objective,
} from "./objectives/next-token.ts";
export { AdamW, type AdamWOptions } from "./optimizer.ts";
export {
  type BatchSchedule,
  batchSizeAt,
  type LearningRateSchedule,
  learningRateAt,
  type Piecewise,
  piecewiseAt,
} from "./schedule.ts";
export { loadTraining, type SavedParts, savedSteps, saveTraining, stepFolder } from "./state.ts";
export { type StepMetrics, Trainer, type TrainerState, type TrainOptions } from "./trainer.ts";
