/** What needs Node: files and folders on disk, training runs, parity checks. Includes all of `deepseek-ts`. */
export { nodeFileSink, nodeFileSource, nodeFolder, nodeFolderSink } from "./checkpoint/node-files.ts";
export { checkParity, type ParityOutput, type ParityReport } from "./cli/parity.ts";
export { mergeConfig, preset as runPreset, presets as runPresets, type RunConfig } from "./cli/run-config.ts";
export {
  type PreparedRun,
  type Progress,
  prepareRun,
  Run,
  type RunEvents,
  type RunResult,
  type RunTexts,
  selectTexts,
  type TrainingMemory,
} from "./cli/training-run.ts";
export { buildDataset, type DatasetIndex, openDataset } from "./data/node-dataset.ts";
export { type FolderCorpus, folderCorpus } from "./data/node-files.ts";
export * from "./index.ts";
