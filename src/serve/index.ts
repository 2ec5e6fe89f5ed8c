/** The OpenAI-compatible server. Node only. */

export type { AppOptions } from "./app.ts";
export type { EngineChannel, EngineClient, JobEvent, JobStream } from "./engine-client.ts";
export type { ApiError, ErrorShape } from "./errors.ts";
export type { HistogramState } from "./metrics.ts";
export type {
  ChatJob,
  ChoiceUsage,
  CompletionJob,
  Delta,
  EngineFigures,
  EngineSettings,
  FinishReason,
  FromEngine,
  Job,
  ModelInfo,
  ResponseFormat,
  SamplingRequest,
  ToEngine,
  TokenEntry,
  TokenizeRequest,
  TokenProbability,
  ToolCallPart,
  ToolChoice,
} from "./protocol.ts";
export { type RunningServer, type ServerOptions, startServer } from "./server.ts";
