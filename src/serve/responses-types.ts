/** What POST /v1/responses answers with, as far as this server does: OpenAI's objects and events by their names. */
import type { PhraseBody } from "./answers.ts";

export type ItemStatus = "in_progress" | "completed" | "incomplete";

export interface TokenLogprob {
  readonly token: string;
  readonly bytes: number[];
  readonly logprob: number;
}

export interface Logprob extends TokenLogprob {
  readonly top_logprobs: TokenLogprob[];
}

export interface OutputText {
  readonly type: "output_text";
  readonly text: string;
  readonly annotations: never[];
  readonly logprobs: Logprob[];
  /** Phrases of the text with their boxes; an extension, only where it was asked for. */
  readonly grounding?: PhraseBody[];
}

export interface ReasoningText {
  readonly type: "reasoning_text";
  readonly text: string;
}

export interface SummaryText {
  readonly type: "summary_text";
  readonly text: string;
}

export interface MessageItem {
  readonly type: "message";
  readonly id: string;
  readonly status: ItemStatus;
  readonly role: "assistant";
  readonly content: OutputText[];
}

export interface ReasoningItem {
  readonly type: "reasoning";
  readonly id: string;
  readonly status: ItemStatus;
  readonly summary: SummaryText[];
  readonly content?: ReasoningText[];
  readonly encrypted_content?: string | null;
}

export interface FunctionCallItem {
  readonly type: "function_call";
  readonly id: string;
  readonly status: ItemStatus;
  readonly call_id: string;
  readonly name: string;
  readonly namespace?: string;
  readonly arguments: string;
}

export type OutputItem = MessageItem | ReasoningItem | FunctionCallItem;

export interface FunctionTool {
  readonly type: "function";
  readonly name: string;
  readonly description: string | null;
  readonly parameters: { [key: string]: unknown } | null;
  readonly strict: boolean;
}

/** Functions that are called by the namespace and their name. */
export interface NamespaceTool {
  readonly type: "namespace";
  readonly name: string;
  readonly description: string;
  readonly tools: FunctionTool[];
}

export type TextFormat =
  | { readonly type: "text" | "json_object" }
  | {
      readonly type: "json_schema";
      readonly name: string;
      readonly description?: string;
      readonly schema: { [key: string]: unknown };
      readonly strict: boolean;
    };

export type Effort = "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max";

/** The settings of a request, as its answer repeats them. */
export interface ResponseSettings {
  readonly instructions: string | null;
  readonly max_output_tokens: number | null;
  readonly max_tool_calls: number | null;
  readonly metadata: { [key: string]: string };
  readonly parallel_tool_calls: boolean;
  readonly prompt_cache_key: string | null;
  readonly reasoning: {
    readonly effort: Effort | null;
    readonly summary: "auto" | "concise" | "detailed" | null;
  };
  readonly safety_identifier: string | null;
  readonly temperature: number;
  readonly text: { readonly format: TextFormat; readonly verbosity: "medium" };
  readonly tool_choice:
    | "none"
    | "auto"
    | "required"
    | { readonly type: "function"; readonly name: string }
    | {
        readonly type: "allowed_tools";
        readonly mode: "auto" | "required";
        readonly tools: { [key: string]: unknown }[];
      };
  readonly tools: (FunctionTool | NamespaceTool)[];
  readonly top_logprobs: number;
  readonly top_p: number;
  readonly truncation: "disabled";
  readonly user?: string;
}

export interface ResponseUsage {
  readonly input_tokens: number;
  readonly input_tokens_details: {
    readonly cached_tokens: number;
    readonly cache_write_tokens: number;
    readonly image_tokens: number;
  };
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly reasoning_tokens: number };
  readonly total_tokens: number;
}

export interface ResponseBody extends ResponseSettings {
  readonly id: string;
  readonly object: "response";
  /** Unix time in seconds. */
  readonly created_at: number;
  readonly completed_at: number | null;
  readonly model: string;
  readonly status: "in_progress" | "completed" | "incomplete" | "failed";
  readonly error: { readonly code: "server_error"; readonly message: string } | null;
  readonly incomplete_details: { readonly reason: "max_output_tokens" } | null;
  readonly output: OutputItem[];
  readonly usage?: ResponseUsage;
  /** What there is none of here. */
  readonly access_programs: null;
  readonly background: false;
  readonly conversation: null;
  readonly previous_response_id: null;
  readonly prompt: null;
  readonly service_tier: "default";
  readonly store: false;
}

type OfItem = { readonly item_id: string; readonly output_index: number };
type OfPart = OfItem & { readonly content_index: 0 };
type OfSummary = OfItem & { readonly summary_index: 0 };

/** The events of a stream, without their numbers. */
export type ResponseEvent =
  | {
      readonly type:
        | "response.created"
        | "response.in_progress"
        | "response.completed"
        | "response.incomplete"
        | "response.failed";
      readonly response: ResponseBody;
    }
  | {
      readonly type: "response.output_item.added" | "response.output_item.done";
      readonly output_index: number;
      readonly item: OutputItem;
    }
  | ({
      readonly type: "response.content_part.added" | "response.content_part.done";
      readonly part: OutputText | ReasoningText;
    } & OfPart)
  | ({
      readonly type: "response.output_text.delta";
      readonly delta: string;
      readonly logprobs: Logprob[];
      /** Phrases whose boxes are complete with this text. */
      readonly grounding?: PhraseBody[];
    } & OfPart)
  | ({
      readonly type: "response.output_text.done";
      readonly text: string;
      readonly logprobs: Logprob[];
    } & OfPart)
  | ({ readonly type: "response.reasoning_text.delta"; readonly delta: string } & OfPart)
  | ({ readonly type: "response.reasoning_text.done"; readonly text: string } & OfPart)
  | ({
      readonly type: "response.reasoning_summary_part.added" | "response.reasoning_summary_part.done";
      readonly part: SummaryText;
    } & OfSummary)
  | ({ readonly type: "response.reasoning_summary_text.delta"; readonly delta: string } & OfSummary)
  | ({ readonly type: "response.reasoning_summary_text.done"; readonly text: string } & OfSummary)
  | ({ readonly type: "response.function_call_arguments.delta"; readonly delta: string } & OfItem)
  | ({
      readonly type: "response.function_call_arguments.done";
      readonly name: string;
      readonly arguments: string;
    } & OfItem);
