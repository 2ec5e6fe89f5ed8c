/** Configurations and models of every family. */

export type { MhaConfig } from "../nn/attention/causal.ts";
export type { MlaConfig } from "../nn/attention/mla/config.ts";
export type { Cache, CacheDtype, CachedRows } from "../nn/cache.ts";
export type { Capture, MlaForm, Routing, Segment } from "../nn/context.ts";
export { type AdaptableMatrix, LowRankAdapters, type LowRankSettings } from "../nn/low-rank-adapters.ts";
export { mergeAdapters } from "../nn/merged-source.ts";
export type { BaselineRule, MoeConfig, RouterConfig, RouterOutput } from "../nn/moe.ts";
export type { PagePool, Slab, Span } from "../nn/page-pool.ts";
export type { GroupSpec, Layout, MatrixRole, ParameterGroup, PartSpec } from "../nn/parameter-group.ts";
export type { NamedParameter, Parameters } from "../nn/parameters.ts";
export { PRECISIONS, type Precision, setPrecision } from "../nn/precision.ts";
export type { Llama3RopeConfig, RopeConfig, YarnConfig } from "../nn/rotary.ts";
export {
  allocateModule,
  type Declaration,
  describeModule,
  type FusedPart,
  type GroupOptions,
  type LayoutDeclaration,
  ParameterScope,
} from "../nn/scope.ts";
export type { StorageFormat, StoragePlan, StorageRule } from "../nn/storage.ts";
export type { BlockSource, RowReader, TileSource, WeightSource } from "../nn/weight-source.ts";
export type { KeyRun } from "../tensor/ops/attention-sequences.ts";
export { AdaptedModel, createAdapters } from "./adapted-model.ts";
export { CausalLM, type CreateOptions, createModel, type MtpOutput } from "./causal-lm.ts";
export {
  type LanguageConfig,
  type ModelType,
  parseConfig,
  toConfigJson,
  type WeightDtype,
} from "./config.ts";
export type { Json } from "./config-reader.ts";
export { countParameters, type ParameterCounts } from "./count.ts";
export {
  type CanvasProcessor,
  canvasPixels,
  type ImagePrompt,
  parseCanvasProcessor,
  parseImagePrompt,
  type SftFormat,
} from "./deepseek_vl/processor.ts";
export {
  parseTileProcessor,
  type TiledImages,
  type TileProcessor,
  tiledPixels,
} from "./deepseek_vl2/processor.ts";
export { canvasImages, type ImageProcessor, tileImages, type ViewChoice } from "./image-processor.ts";
export { type Comparison, type ImageTextConfig, ImageTextModel } from "./image-text.ts";
export { CodeGeneration, drawId, guided, unconditionalIds } from "./janus/generation.ts";
export { type AlignmentConfig, AlignmentHead, alignmentLoss } from "./janusflow/alignment.ts";
export { FlowGeneration, type FlowTime } from "./janusflow/generation.ts";
export { type FlowPrompt, flowVelocity, type Velocity, type VelocityOptions } from "./janusflow/velocity.ts";
export { type Machine, type MemoryNeed, memoryNeeds } from "./memory-needs.ts";
export { type PresetName, presets } from "./presets.ts";
export type {
  ForwardOptions,
  LayeredOptions,
  TokenModel,
  TokenModelConfig,
  TrainableModel,
} from "./token-model.ts";
export { parseVaeConfig, sdxlVae, vaeConfigJson } from "./vae-config.ts";
export {
  isVisionConfig,
  parseVisionConfig,
  visionConfigJson,
} from "./vision-architectures.ts";
export type {
  CodeGenerationConfig,
  FlowGenerationConfig,
  GenerationConfig,
  TilingConfig,
  VisionLanguageConfig,
  VisionModelType,
} from "./vision-config.ts";
export {
  type EncodedImage,
  type ImageViews,
  VisionLanguageModel,
  type VisionModelOptions,
} from "./vision-language.ts";
export { type ImageCost, imageCost, visionMemoryNeeds } from "./vision-needs.ts";
export { type VisionPresetName, visionPresets } from "./vision-presets.ts";
export { type WorldPresetName, worldPresets, worldVae } from "./world-presets.ts";
