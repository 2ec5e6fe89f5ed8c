/**
 * Judging language models by tasks: choices by their likelihood, answers and infills that they write, texts in rolling windows;
 * figures with standard errors and intervals, and the comparison of two models on the same rows. Nothing here needs files.
 */

export { shareInterval } from "../statistics/share-interval.ts";
export {
  type EvaluateOptions,
  type Evaluation,
  type EvaluationProgress,
  evaluate,
  type TaskEvaluation,
} from "./evaluate.ts";
export {
  type Aggregation,
  type Comparison,
  compareValues,
  type Estimate,
  estimate,
  type Metric,
  type MetricValue,
  metricNamed,
} from "./metrics.ts";
export type { PromptSettings } from "./prompts.ts";
export {
  type AnswerRow,
  type ChoiceRow,
  type InfillRow,
  type JsonRow,
  type RowRules,
  type TaskForm,
  type TaskRow,
  type TextRow,
  taskRow,
} from "./rows.ts";
export type { EvaluatedModel, EvaluationSettings } from "./settings.ts";
export type { DoneWave, DoneWork, EvaluationTask } from "./waves.ts";
export type { EvaluationJudge, WorkCounts, WorkLog, WorkResult } from "./work.ts";
