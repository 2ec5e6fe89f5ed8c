/** What needs Node: files and folders on disk, training runs, parity checks. Includes all of `deepseek-ts`. */
export {
  builtinTemplate,
  type ChatTemplate,
  chatTemplate,
  type Message,
  type ReplyPiece,
  type Tool,
  type ToolCall,
} from "./chat/index.ts";
export { nodeFileSink, nodeFileSource, nodeFolder, nodeFolderSink } from "./checkpoint/node-files.ts";
export {
  ImageFolder,
  type ImageFolderOptions,
  type OpenConversationsOptions,
  type OpenedConversations,
  openConversations,
} from "./data/conversations/node-conversations.ts";
export { buildDataset, type DatasetIndex, openDataset } from "./data/node-dataset.ts";
export { type FolderCorpus, folderCorpus } from "./data/node-files.ts";
export {
  type LocatedRow,
  type OpenRowsOptions,
  openRows,
  type ReadRowsOptions,
  type RowSource,
  type RowsProgress,
} from "./data/rows/node-rows.ts";
export type { FileFilter } from "./data/rows/row-files.ts";
export { Conversation, type Reply } from "./engine/index.ts";
export { compareResults, type TaskComparison } from "./evaluate/node-compare.ts";
export {
  type OpenedTask,
  type OpenTaskOptions,
  openTask,
  type TaskSource,
  taskSource,
} from "./evaluate/node-tasks.ts";
export type { FolderOptions } from "./files/folder-sink.ts";
export type { FolderKind } from "./files/manifest.ts";
export type { FilePlaceOptions, PlaceOptions } from "./files/place.ts";
export * from "./index.ts";
export { BullmqQueue, type BullmqQueueOptions } from "./jobs/bullmq-queue.ts";
export type { ParityOptions } from "./parity/parity.ts";
export { checkParity, type ParityOutput, type ParityReport } from "./parity/parity.ts";
export { type DownloadOptions, type DownloadProgress, downloadModel } from "./pretrained/hub.ts";
export { HubError } from "./pretrained/hub-client.ts";
export { hubTree } from "./pretrained/hub-tree.ts";
export { type LoadOptions, load, locateModel, type ModelPlace } from "./pretrained/node-load.ts";
export { mergeConfig, preset as runPreset, presets as runPresets, type RunConfig } from "./runs/config.ts";
export { type ConvertEvent, type ConvertResult, type ConvertTask, convertModel } from "./runs/convert.ts";
export type { DataConfig } from "./runs/data-config.ts";
export type { ImageReport, PicturesOptions } from "./runs/image-report.ts";
export {
  addRunJob,
  type PrepareEvent,
  type PrepareStagesTask,
  type PrepareTask,
  processRuns,
  type RunJobs,
} from "./runs/jobs.ts";
export type { RunEvents, RunLength } from "./runs/loop.ts";
export type { PolicyRunConfig } from "./runs/policy/config.ts";
export {
  type PolicyDraft,
  type PreparedPolicy,
  type PrepareOptions as PreparePolicyOptions,
  preparePolicy,
} from "./runs/policy/preparation.ts";
export type { PromptSource } from "./runs/policy/prompts.ts";
export {
  type CodeScoring,
  type OpenedReward,
  openRewards,
  type RewardPart,
  type RewardSettings,
} from "./runs/policy/rewards.ts";
export {
  type OpenPolicyOptions,
  PolicyRun,
  type PolicyRunEvents,
  type PolicyRunResult,
} from "./runs/policy/run.ts";
export {
  type PreparedRun,
  type Progress,
  prepareRun,
  type RunTexts,
  selectTexts,
} from "./runs/preparation.ts";
export {
  type FormatException,
  type QuantizeEvent,
  type QuantizeResult,
  type QuantizeTask,
  quantizeModel,
} from "./runs/quantize.ts";
export type { OpenOptions } from "./runs/run.ts";
export { Run, type RunResult } from "./runs/run.ts";
export type { TrainingConfig } from "./runs/settings.ts";
export type {
  LearnedText,
  MixtureEntry,
  SourceConfig,
  StageConfig,
  StagedConfig,
} from "./runs/staged/config.ts";
export type { OpenedRun, TrainEvent, TrainedRun, TrainingTask } from "./runs/training-thread.ts";
export {
  type BaseFiles,
  type BasePlace,
  type DescribedBase,
  describeBase,
} from "./runs/tuned/base-model.ts";
export type {
  DpoConfig,
  SftConfig,
  TunedAdapter,
  TunedBase,
  TunedConfig,
  TunedData,
  TunedSettings,
  TunedTraining,
} from "./runs/tuned/config.ts";
export { prepareTuned, type TunedRows, type TunedTask } from "./runs/tuned/preparation.ts";
export { TunedRun } from "./runs/tuned/run.ts";
export type { Chain, ChainRun, Stage } from "./scaling/chains.ts";
export { type ExtendedPlan, extendSweep } from "./scaling/extend.ts";
export type { FitOptions, ProfilesFit } from "./scaling/fit-profiles.ts";
export { fitSweep, readProfiles, type SweepFit } from "./scaling/fit-sweep.ts";
export type { ModelMeasures } from "./scaling/flops.ts";
export type { LeftOut, Rung, RunLaws, ScalePlan } from "./scaling/plan.ts";
export { type PlotSpec, plotsOf } from "./scaling/plots.ts";
export {
  type Prediction,
  type PredictionOutcome,
  predict,
  predictionOutcome,
  startPredicted,
} from "./scaling/predict.ts";
export { type WrittenPlots, writePlots } from "./scaling/render.ts";
export type { RunOutcome, RunSettings } from "./scaling/results.ts";
export {
  type GridSettings,
  type Law,
  type RungSettings,
  type ScaleSettings,
  scaleSettings,
} from "./scaling/settings.ts";
export { createSweep, readPlan, runChains, runSweep, type SweepOptions } from "./scaling/sweep.ts";
export type { ChainEvent } from "./scaling/train-chain.ts";
export type { TrainingMemory } from "./train/memory.ts";
