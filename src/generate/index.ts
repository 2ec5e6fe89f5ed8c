/** Generation of tokens and of text. */
export {
  type GeneratedToken,
  type GenerateOptions,
  type GenerationStats,
  generate,
  type SpeculativeStats,
  type StopReason,
} from "./generate.ts";
export type { SamplingOptions } from "./sampling.ts";
export { completeText, fillText, type TextChunk, type TextOptions, type TextStats } from "./text.ts";
