/**
 * Generation of tokens and of text, of one sequence or of many at once; conversations; a host that answers requests with
 * text, in its own thread or in a page's worker.
 */

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
  type ReplyEvent,
  type ReplySettings,
  type ReplyStats,
  type ReplyStream,
  type TokenSource,
  type TokenStream,
} from "./conversation.ts";
export type { Divergence, VectorDivergence } from "./divergence.ts";
export { type DrawingModel, type DrawOptions, draw, reconstruct } from "./draw/draw.ts";
export type { DrawEvent, DrawnImage, DrawProgress, DrawRequest, DrawUsage } from "./draw/events.ts";
export type { FlowSolver } from "./draw/flow-sampler.ts";
export { Engine } from "./engine.ts";
export {
  EngineFailedError,
  type EngineMetrics,
  type EngineOptions,
  QueueFullError,
} from "./engine-options.ts";
export type { TokenExperts, WeightedExperts } from "./expert-report.ts";
export {
  type GeneratedToken,
  type GenerateOptions,
  type GenerationStats,
  generate,
  type SpeculativeStats,
  type StopReason,
} from "./generate.ts";
export type { EngineStats, Generation, GenerationSource } from "./generation.ts";
export type { Guest, GuestPlace, GuestRows, LongPlace, LongSeat, Room } from "./guests.ts";
export type { MachineMemory } from "./host/cache-plan.ts";
export { type EngineChannel, EngineClient, type GenerateJobOptions } from "./host/engine-client.ts";
export { type Fault, type FaultKind, RequestError } from "./host/errors.ts";
export {
  type ChoiceEnd,
  type GenerationEvent,
  GenerationJob,
  type GenerationNews,
  type GenerationReader,
} from "./host/generation-job.ts";
export type { HistogramState } from "./host/histogram.ts";
export type {
  InsideEntry,
  InsideFigures,
  InsidePicture,
  NamedToken,
  PackedExperts,
  ScoredToken,
} from "./host/inside.ts";
export { localChannel } from "./host/local-channel.ts";
export { type PageWorker, type WorkerScope, workerChannel, workerPort } from "./host/page-worker.ts";
export type {
  ChatRequest,
  ChoiceUsage,
  CompletionRequest,
  Delta,
  DrawingFigures,
  DrawingRequest,
  EngineFigures,
  FinishReason,
  FromEngine,
  GenerationRequest,
  GroundedPhrase,
  HostSettings,
  ImageInput,
  ImageOutput,
  LoadingNews,
  ModelInfo,
  PictureNews,
  ResponseFormat,
  SamplingRequest,
  ToEngine,
  TokenEntry,
  TokenizeRequest,
  TokenProbability,
  ToolCallPart,
  ToolChoice,
} from "./host/protocol.ts";
export { type HostPort, type HostSurroundings, runHost } from "./host/run-host.ts";
export {
  type ImageCounts,
  ImageEncoder,
  type ImageEncoderOptions,
  type ImageModel,
  type ImageProgress,
  type PlannedImage,
} from "./image-encoder.ts";
export { chatPrompt, expandedIds, imagePrompt } from "./image-prompt.ts";
export type { EngineRequest } from "./job.ts";
export { WeightsChangedError } from "./long-passes.ts";
export type { EmbeddingPart, Prompt, PromptPart } from "./prompt.ts";
export { processReplies, type ReplyTask } from "./reply-job.ts";
export type { DraftCounts, RequestOptions } from "./request.ts";
export type { SamplingOptions } from "./sampling.ts";
export type { EmbeddedRows, SequenceOptions } from "./sequence.ts";
export type { TextSource } from "./text.ts";
export { completeText, fillText, type TextChunk, type TextOptions, type TextStats } from "./text.ts";
export { type PlainTextOptions, processText, type TextResult, type TextTask } from "./text-job.ts";
export type { TokenInside, TokenLogprob, TokenSamplerOptions } from "./token-sampler.ts";
