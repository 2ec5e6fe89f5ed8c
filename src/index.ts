/**
 * The package as browsers and Node import it: devices, models, checkpoints, tokenizers, generation, training.
 * `deepseek-ts/node` adds files and training runs on disk; the subpaths (`deepseek-ts/tensor` ..) hold the rest of
 * each part.
 */

export {
  bytesSource,
  type Checkpoint,
  type FileTree,
  loadModel,
  memoryFolder,
  memoryFolderSink,
  modelEntries,
  openCheckpoint,
  openSafetensors,
  saveCheckpoint,
} from "./checkpoint/index.ts";
export { BatchIterator, memoryDataset, type TokenDataset, tokenArray } from "./data/index.ts";
export {
  completeText,
  fillText,
  type GenerateOptions,
  type GenerationStats,
  generate,
  type TextChunk,
  type TextOptions,
  type TextStats,
} from "./engine/index.ts";
export {
  CausalLM,
  type CreateOptions,
  countParameters,
  createModel,
  type LanguageConfig,
  parseConfig,
  presets,
  type TokenModel,
  type TrainableModel,
  toConfigJson,
} from "./models/index.ts";
export * from "./pretrained/index.ts";
export {
  ConfigError,
  type CpuOptions,
  createCpuDevice,
  createReferenceDevice,
  DeepseekError,
  Device,
  DisposedError,
  type DType,
  differentiate,
  disposeAll,
  FormatError,
  NotFiniteError,
  Random,
  ShapeError,
  Tensor,
} from "./tensor/index.ts";
export { loadTokenizer, type Tokenizer, trainBpe, trainedTokenizerConfig } from "./tokenizer/index.ts";
export {
  AdamW,
  type AdamWOptions,
  type BatchSource,
  type Evaluation,
  evaluate,
  nextTokenBatch,
  nextTokenLoss,
  type StepMetrics,
  type TokenBatch,
  Trainer,
  type TrainOptions,
} from "./train/index.ts";
