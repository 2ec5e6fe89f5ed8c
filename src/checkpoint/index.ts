/** Checkpoints without a file system: bytes, blobs and memory. Files on disk are in `deepseek-ts/node`. */
export { openAdapters, type SaveAdaptersOptions, saveAdapters } from "./adapters.ts";
export {
  type ByteSink,
  type ByteSource,
  blobSource,
  bytesSource,
  type FileTree,
  type FolderSink,
  memoryFolder,
  memoryFolderSink,
  memorySink,
} from "./byte-source.ts";
export { modelEntries } from "./entries.ts";
export {
  type Checkpoint,
  type F32Chunk,
  type OpenOptions,
  openCheckpoint,
  readAllF32,
  type WeightFormat,
} from "./folder.ts";
export { type BlockSize, dequantizeBlocks, type QuantizedBlocks, quantizeBlocks, scaleShape } from "./fp8.ts";
export type { ExportOptions, ExportProgress } from "./gguf/export.ts";
export {
  exportGguf,
  type GgufFile,
  type GgufModel,
  ggufConfig,
  ggufWeights,
  openGguf,
  writeGguf,
} from "./gguf/index.ts";
export type { WritableType } from "./gguf/quantize.ts";
export type { GgufTensor } from "./gguf/reader.ts";
export type {
  GgmlType,
  GgufArray,
  GgufItems,
  GgufMetadata,
  GgufValue,
  StoredType,
  ValueType,
} from "./gguf/types.ts";
export type { GgufWeights } from "./gguf/weights.ts";
export type { GgufEntry } from "./gguf/writer.ts";
export { type LoadOptions, loadModel, modelWeights } from "./model.ts";
export { openPytorch } from "./pytorch/index.ts";
export { openSafetensors, type SafetensorsFile, type SafetensorsTensor } from "./safetensors.ts";
export type { SafetensorsDtype } from "./safetensors-dtype.ts";
export { f32Entry, type SafetensorsEntry, writeSafetensors } from "./safetensors-writer.ts";
export { type SaveOptions, type SaveResult, saveCheckpoint } from "./save.ts";
export type { JsonObject } from "./strict-json.ts";
export type { TensorFile, TensorInfo } from "./tensor-file.ts";
export { type Saved, tiledConfig, tiledEntries } from "./tiles.ts";
export { loadVae, vaeEntries, vaeFrom } from "./vae.ts";
export { loadVisionModel, type VisionLoadOptions, visionEntries, visionModelFrom } from "./vision-model.ts";
