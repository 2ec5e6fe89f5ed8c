/**
 * What an engine's host and those who ask it say to each other, usually from thread to thread. Requests arrive with the
 * types that they have here; whether they make sense to the tokenizer and the template is the host's to see. What comes
 * back is text.
 */
import type { Message, Tool } from "../../chat/messages.ts";
import type { JsonObject } from "../../json/index.ts";
import type { CacheDtype } from "../../nn/cache.ts";
import type { GroundedBox } from "../../vision/grounding.ts";
import type { DrawRequest, DrawUsage } from "../draw/events.ts";
import type { ImageCounts } from "../image-encoder.ts";
import type { Fault } from "./errors.ts";
import type { HistogramState } from "./histogram.ts";
import type { InsideEntry, InsideFigures, InsidePicture } from "./inside.ts";

/** What an engine's host may use. */
export interface HostSettings {
  /** How the weights are stored, for the record: what the model was loaded with. */
  readonly dtype?: string;
  /** Most tokens of prompt and output together; default: the model's. */
  readonly context?: number;
  readonly maxBatch?: number;
  readonly maxQueue?: number;
  readonly prefillChunk?: number;
  readonly cacheTokens?: number;
  readonly cacheDtype?: CacheDtype;
  /** Draft with the multi-token-prediction module if the model has one. */
  readonly speculative?: boolean;
}

/** How a model sees images. */
export interface ImageInput {
  /** Side of a view, in pixels. */
  readonly size: number;
  /** Tokens of the smallest image: one view, or the whole and one tile. Further tiles add to them. */
  readonly tokens: number;
}

/** How a model draws. */
export interface ImageOutput {
  readonly kind: "codes" | "flow";
  /** Side of its images, in pixels; null where it cannot draw now. */
  readonly size: number | null;
  /** Why it cannot, and what to do; null where it can. */
  readonly missing: string | null;
}

/** What the asking side needs to know of the open model. */
export interface ModelInfo {
  /** Name from the folder or repository. */
  readonly name: string;
  readonly architecture: string;
  readonly parameters: number;
  readonly dtype: string;
  /** Bytes of the weights as they are stored on the device. */
  readonly weightBytes: number;
  readonly context: number;
  readonly vocabulary: number;
  readonly maxBatch: number;
  readonly maxQueue: number;
  readonly cacheTokens: number;
  /** Whether there is a chat template. */
  readonly chat: boolean;
  readonly tools: boolean;
  /** Of a model that sees; null for others, whose messages may hold no images. */
  readonly imageInput: ImageInput | null;
  /** Of a model that was opened to draw; null for others. */
  readonly imageOutput: ImageOutput | null;
  /** Whether the tokenizer can fill in the middle. */
  readonly fill: boolean;
  /** Changes with weights, storage and version. */
  readonly fingerprint: string;
  /** What tokenizer_config.json says of special tokens and the chat template, for evaluation harnesses. */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** Bytes of the longest token: a text of more than so many for every token of the context cannot fit. */
  readonly longestToken: number;
  readonly loadSeconds: number;
}

/** What both kinds of job share. */
export interface SamplingRequest {
  /** Most new tokens; null: as many as the context has room for. */
  readonly maxTokens: number | null;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly logitBias: readonly (readonly [id: number, bias: number])[];
  readonly seed: number;
  readonly stop: readonly string[];
  /** Number of alternatives to report per token; null: no log-probabilities. */
  readonly logprobs: number | null;
  /** Whether the answer tells what the passes of its tokens show; of one choice only. Default false. */
  readonly inside?: boolean;
  /** Choices per prompt. */
  readonly n: number;
  /** Go on after the end-of-text token, for load tests. */
  readonly ignoreEos: boolean;
  /** Fewest new tokens: what would end the answer earlier may not come. */
  readonly minTokens: number;
  /** Further tokens that end the answer. */
  readonly stopIds: readonly number[];
  /** Whether the stop string that was found is part of the answer. */
  readonly includeStop: boolean;
  /** Whether control tokens stay out of the answer. */
  readonly skipSpecial: boolean;
  /** Whether the prompt may start from what other requests left in caches. */
  readonly reusePrefix: boolean;
  /** Whether the answer repeats what it continues. */
  readonly echo: boolean;
}

/** Whether there may or must be a call, and of which tools; as a string: of any. */
export type ToolChoice =
  | "none"
  | "auto"
  | "required"
  | { readonly mode: "auto" | "required"; readonly names: readonly string[] };

export type ResponseFormat = (
  | { readonly type: "text" | "json_object" }
  | { readonly type: "json_schema"; readonly name: string; readonly schema: JsonObject | boolean }
  /** One of these texts. */
  | { readonly type: "choice"; readonly texts: readonly string[] }
  /** What a regular expression matches from beginning to end. */
  | { readonly type: "pattern"; readonly pattern: string }
) & {
  /** The field that asks for it, if it is not `response_format`. */
  readonly param?: string;
};

/** The field that asks for a format. */
export function paramOf({ type, param }: ResponseFormat): string {
  if (param !== undefined) return param;
  return type === "json_schema" ? "response_format.json_schema.schema" : "response_format";
}

export interface ChatRequest extends SamplingRequest {
  readonly kind: "chat";
  readonly messages: readonly Message[];
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean;
  readonly format: ResponseFormat;
  /** Whether the model thinks first, if its template has the choice; null: the template's default. */
  readonly thinking: boolean | null;
  /** Further variables of the template. */
  readonly templateVariables: JsonObject;
  /** Whether the last message, an assistant's, is a beginning to be continued. */
  readonly continueFinal: boolean;
  /** Whether the prompt ends where an answer begins. */
  readonly addGenerationPrompt: boolean;
  /** Whether boxes in the answer are also told as numbers; default false. */
  readonly grounding?: boolean;
}

export interface CompletionRequest extends SamplingRequest {
  readonly kind: "completion";
  readonly prompts: readonly (string | readonly number[])[];
  /** Text after the hole, for fill-in-the-middle. */
  readonly suffix: string | null;
  /** Whether the tokenizer's own tokens come before a text. */
  readonly addSpecialTokens: boolean;
  readonly format: ResponseFormat;
}

export type GenerationRequest = ChatRequest | CompletionRequest;

/** Pictures to draw. */
export interface DrawingRequest extends Omit<DrawRequest, "signal" | "previews" | "first"> {
  /** Most partial pictures to be told of each. */
  readonly partials: number;
}

/** A picture of a drawing, as a PNG file. */
export interface PictureNews {
  /** Which of those that were asked for, from 0. */
  readonly image: number;
  /** Of a picture that still grows, how many of it came before; null for the finished one. */
  readonly partial: number | null;
  readonly png: Uint8Array;
  /** Of the finished one; null before. */
  readonly usage: DrawUsage | null;
}

export interface DrawingFigures {
  /** Pictures that were finished, and the seconds that all drawing took. */
  readonly drawn: number;
  readonly seconds: number;
  readonly running: number;
  readonly waiting: number;
}

export type ToEngine =
  | { readonly type: "draw"; readonly id: number; readonly request: DrawingRequest }
  | {
      readonly type: "submit";
      readonly id: number;
      readonly request: GenerationRequest;
      /** `Date.now()` when the request came in: what the time to the first token counts from. */
      readonly received: number;
    }
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "tokenize"; readonly id: number; readonly request: TokenizeRequest }
  | { readonly type: "detokenize"; readonly id: number; readonly tokens: readonly number[] }
  | { readonly type: "metrics"; readonly id: number }
  | { readonly type: "shutdown" };

export type TokenizeRequest =
  | { readonly text: string; readonly addSpecialTokens: boolean; readonly parseSpecial: boolean }
  | Pick<
      ChatRequest,
      "messages" | "tools" | "thinking" | "templateVariables" | "continueFinal" | "addGenerationPrompt"
    >;

/** One token's text with log-probability. */
export interface TokenProbability {
  readonly id: number;
  readonly token: string;
  readonly bytes: readonly number[];
  readonly logprob: number;
}

export interface TokenEntry extends TokenProbability {
  /** Most probable first. */
  readonly top: readonly TokenProbability[];
  /** Where the token begins in the choice's text, in UTF-16 units. */
  readonly offset: number;
  /** Whether it is the first of a prompt: nothing scores it. */
  readonly first?: boolean;
}

/** Part of a tool call; `id` and `name` come with its first part. */
export interface ToolCallPart {
  readonly index: number;
  readonly id?: string;
  readonly name?: string;
  readonly arguments?: string;
}

/** A phrase of an answer with its boxes, in pixels of the image with this number (from 0). */
export interface GroundedPhrase {
  readonly label: string;
  readonly image: number;
  readonly boxes: readonly GroundedBox[];
}

/** News of one choice since its last delta. */
export interface Delta {
  readonly id: number;
  readonly choice: number;
  readonly content?: string;
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCallPart[];
  /** Phrases whose boxes are complete by now; their text is part of `content` all the same. */
  readonly grounding?: readonly GroundedPhrase[];
  readonly logprobs?: readonly TokenEntry[];
  /** Of the tokens that `logprobs` would tell of. */
  readonly inside?: readonly InsideEntry[];
  /** How the pictures of the prompt were cut, in their order: once, before any token. */
  readonly pictures?: readonly InsidePicture[];
}

export type FinishReason = "stop" | "length" | "tool_calls";

/** Token counts of one choice. */
export interface ChoiceUsage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  /** Of the prompt's, those that stand for images. */
  readonly imageTokens: number;
  readonly completionTokens: number;
  readonly reasoningTokens: number;
}

/** How far opening the model is, in bytes. */
export interface LoadingNews {
  readonly stage: "download" | "load";
  readonly done: number;
  readonly total: number;
}

export type FromEngine =
  | ({ readonly type: "loading" } & LoadingNews)
  | { readonly type: "ready"; readonly info: ModelInfo }
  /** The model did not open, or the engine is beyond use: the thread ends after this. */
  | { readonly type: "failed"; readonly message: string; readonly foreseen: boolean }
  | { readonly type: "accepted"; readonly id: number; readonly choices: number }
  /** Instead of `accepted`, or later if a generation failed; the job is over. */
  | { readonly type: "refused"; readonly id: number; readonly error: Fault }
  | { readonly type: "deltas"; readonly deltas: readonly Delta[] }
  | {
      readonly type: "finished";
      readonly id: number;
      readonly choice: number;
      readonly reason: FinishReason;
      readonly usage: ChoiceUsage;
      /** Where the inside was asked for. */
      readonly figures?: InsideFigures;
    }
  | ({ readonly type: "picture"; readonly id: number } & PictureNews)
  /** All pictures of a drawing were told. */
  | { readonly type: "drawn"; readonly id: number }
  /** The answer to `cancel`, once the job's places are free; nothing of the job comes after it. */
  | { readonly type: "canceled"; readonly id: number }
  | { readonly type: "answer"; readonly id: number; readonly value: unknown }
  | { readonly type: "log"; readonly text: string }
  | { readonly type: "stopped" };

/** Figures of the engine's thread. */
export interface EngineFigures {
  readonly running: number;
  readonly waiting: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  /** Generations by how they ended. */
  readonly ended: Readonly<Record<string, number>>;
  readonly steps: number;
  /** Rows of all passes together: over `steps`, the mean size of a batch. */
  readonly batchRows: number;
  /** Generations that were preempted: cache evicted, tokens recomputed. */
  readonly preemptions: number;
  readonly cacheTokens: number;
  readonly cacheTokensUsed: number;
  readonly cacheBytes: number;
  readonly deviceBytes: number;
  /** Of the thread's JavaScript heap, in use; null if that is not known. */
  readonly heapBytes: number | null;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** Null for a model that does not see. */
  readonly images: (ImageCounts & { readonly waiting: number; readonly cacheBytes: number }) | null;
  /** Null for a model that does not draw. */
  readonly drawings: DrawingFigures | null;
  readonly firstToken: HistogramState;
  readonly betweenTokens: HistogramState;
}
