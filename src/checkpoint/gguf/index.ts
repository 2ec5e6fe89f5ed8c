/** GGUF files: reading them as models, and exporting models to them. */
export { dequantize } from "./blocks.ts";
export { type GgufArchitecture, ggufConfig } from "./config.ts";
export {
  type ExportOptions,
  type ExportProgress,
  exportGguf,
  type GgufModel,
} from "./export.ts";
export { ggufModelMetadata } from "./metadata.ts";
export { exportMmproj, type MmprojModel, type MmprojOptions } from "./mmproj.ts";
export { quantize, type WritableType } from "./quantize.ts";
export { type GgufFile, type GgufTensor, openGguf, openGgufFiles } from "./reader.ts";
export { type GgmlType, type GgufMetadata, type GgufValue, ggmlTypes, type StoredType } from "./types.ts";
export { type GgufWeights, ggufWeights } from "./weights.ts";
export { type GgufEntry, writeGguf } from "./writer.ts";
