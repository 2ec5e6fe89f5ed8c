/** Generation of tokens and of text, of one sequence or of many at once; conversations. */
export type { ChooserOptions, TokenLogprob } from "./chooser.ts";
export type { JsonOptions } from "./constraint/json-schema.ts";
export {
  type ConstraintOptions,
  choiceConstraint,
  jsonObjectConstraint,
  jsonSchemaConstraint,
  type OutputPart,
  outputConstraint,
} from "./constraint/output-constraints.ts";
export type { VocabularyOptions } from "./constraint/token-constraint.ts";
export type { TokenConstraint } from "./constraint.ts";
export type { SourceOptions } from "./conversation.ts";
export {
  Conversation,
  type ConversationOptions,
  ModelSource,
  type Reply,
  type ReplySettings,
  type ReplyStream,
  type TokenSource,
  type TokenStream,
} from "./conversation.ts";
export {
  Engine,
  EngineFailedError,
  type EngineMetrics,
  type EngineOptions,
  type EngineRequest,
  QueueFullError,
} from "./engine.ts";
export {
  type GeneratedToken,
  type GenerateOptions,
  type GenerationStats,
  generate,
  type SpeculativeStats,
  type StopReason,
} from "./generate.ts";
export type { EngineStats, Generation, GenerationSource } from "./generation.ts";
export type { DraftCounts, RequestOptions } from "./request.ts";
export type { SamplingOptions } from "./sampling.ts";
export type { SequenceOptions } from "./sequence.ts";
export type { TextSource } from "./text.ts";
export { completeText, fillText, type TextChunk, type TextOptions, type TextStats } from "./text.ts";
