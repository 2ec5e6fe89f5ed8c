/** Training: the loop, the optimizer, schedules, evaluation, saved states. */
export {
  ADVANTAGES,
  type AdvantageForm,
  batchAdvantages,
  equalRewards,
  groupAdvantages,
  processAdvantages,
} from "./advantages.ts";
export type { Batch, BatchSource, TokenBatch } from "./batches.ts";
export { bestFitRows, type Piece, splitDocuments } from "./best-fit.ts";
export { type Evaluation, evaluate } from "./evaluate.ts";
export {
  type AutoencoderLosses,
  autoencoderObjective,
  type FeatureLoss,
  featureLoss,
  normalDivergence,
  type PictureBatch,
  type TokenizerLosses,
  tokenizerObjective,
} from "./objectives/autoencoder.ts";
export {
  type CodeBatch,
  type CodeDrawing,
  codeObjective,
  type TrainableCodeModel,
  trainedPrompt,
} from "./objectives/codes.ts";
export {
  type Completion,
  type CompletionOptions,
  type CompletionScores,
  scoreCompletions,
} from "./objectives/completions.ts";
export {
  type Alignment,
  drawTime,
  type FlowBatch,
  flowObjective,
  LATENT_CHOICES,
  type LatentChoice,
  type LogitNormal,
  TIME_DISTRIBUTIONS,
  type TimeDistribution,
  type TrainableFlowModel,
} from "./objectives/flow.ts";
export {
  type ImageBatch,
  imageObjective,
  type SeenImages,
  type TrainableImageModel,
} from "./objectives/images.ts";
export {
  type LossBatch,
  type LossOptions,
  type LossOutput,
  nextTokenBatch,
  nextTokenLoss,
} from "./objectives/next-token.ts";
export type { Losses, Objective, Trainable } from "./objectives/objective.ts";
export {
  type PairOptions,
  pairLogits,
  pairwiseSigmoidLoss,
  sigmoidLoss,
  unitRows,
} from "./objectives/pairwise-sigmoid.ts";
export {
  AVERAGES,
  type PolicyBatch,
  type PolicyOptions,
  type PolicyRow,
  policyBatches,
  policyObjective,
} from "./objectives/policy.ts";
export {
  type PreferenceBatch,
  type PreferenceOptions,
  type PreferencePair,
  preferenceBatches,
  preferenceObjective,
  type ScoredPair,
  scorePairs,
} from "./objectives/preference.ts";
export { AdamW, type AdamWOptions, type GroupRates } from "./optimizer.ts";
export {
  type Lesson,
  type LessonList,
  type PackedRow,
  type PackedRowOptions,
  PackedRows,
  packedRow,
} from "./packed-rows.ts";
export {
  type AnswerPlace,
  answerReward,
  type CountdownProblem,
  countdownReward,
  formatReward,
  languageReward,
  lengthReward,
  markedAnswer,
  normalizedAnswer,
  sameAnswer,
  tagReward,
  weightedRewards,
} from "./policy/checked-rewards.ts";
export {
  type PassAt,
  type PassAtSettings,
  type PassRateSettings,
  passAt,
  passRates,
} from "./policy/evaluation.ts";
export type { GroupFigures } from "./policy/figures.ts";
export type { Judge, JudgedGroup } from "./policy/judge.ts";
export {
  NAMED_REWARDS,
  type NamedRewardSettings,
  namedReward,
  type RewardName,
} from "./policy/named-rewards.ts";
export { passAtK } from "./policy/pass-at-k.ts";
export { type PolicyMetrics, type PolicyParts, PolicyTrainer } from "./policy/policy-trainer.ts";
export { type PolicyPrompt, PromptOrder } from "./policy/prompts.ts";
export type { Reward, RewardSample } from "./policy/rewards.ts";
export type { SampledCompletion } from "./policy/rollouts.ts";
export type { PolicySettings } from "./policy/settings.ts";
export type { TrainedParts } from "./rates.ts";
export {
  type BatchSchedule,
  batchSizeAt,
  type LearningRateSchedule,
  learningRateAt,
  type Piecewise,
  piecewiseAt,
} from "./schedule.ts";
export {
  loadAdapterTraining,
  loadTraining,
  type SavedParts,
  saveAdapterTraining,
  savedSteps,
  saveTraining,
  stepFolder,
} from "./state.ts";
export {
  type ObjectiveOf,
  type StepMetrics,
  Trainer,
  type TrainerState,
  type TrainOptions,
} from "./trainer.ts";
export {
  type AlignmentSettings,
  type UnifiedBatch,
  UnifiedModel,
  unifiedObjective,
} from "./unified-model.ts";
export { WeightAverage } from "./weight-average.ts";
