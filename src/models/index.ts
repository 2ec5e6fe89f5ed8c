/** Configurations and models of every family. */
export type { Cache, CacheDtype } from "../nn/cache.ts";
export type { MlaForm, Segment } from "../nn/context.ts";
export type { NamedParameter, ParameterGroup, Parameters, WeightSource } from "../nn/parameters.ts";
export {
  CausalLM,
  type CreateOptions,
  createModel,
  type ForwardOptions,
  type MtpOutput,
} from "./causal-lm.ts";
export {
  type LanguageConfig,
  type ModelType,
  parseConfig,
  toConfigJson,
  type WeightDtype,
} from "./config.ts";
export { countParameters, type ParameterCounts } from "./count.ts";
export { type LossBatch, type LossOptions, type LossOutput, nextTokenBatch } from "./loss.ts";
export { type PresetName, presets } from "./presets.ts";
