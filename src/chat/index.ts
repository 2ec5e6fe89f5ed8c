/** Chat: messages, templates, tool calls, reasoning. Conversations with a model are in `deepseek-ts/engine`. */

export type { TextSpan } from "./answer-spans.ts";
export {
  BUILTIN_TEMPLATES,
  type BuiltinName,
  builtinFor,
  CODER_PREAMBLE,
  type TemplateHints,
} from "./builtin.ts";
export type { ChatLesson, LessonChoice } from "./chat-lesson.ts";
export { groundingMessage } from "./grounding-message.ts";
export {
  type ContentPart,
  type ImageMessage,
  markedContent,
  type PromptPiece,
} from "./image-messages.ts";
export {
  checkMessages,
  contentOf,
  type ImagePart,
  imagesOf,
  type Message,
  type MessagePart,
  type Role,
  type Tool,
  type ToolCall,
} from "./messages.ts";
export { modelTemplate } from "./model-template.ts";
export { type ReasoningPiece, ReasoningSplitter, splitReasoning } from "./reasoning.ts";
export { type ReplyOptions, ReplyReader, type ReplyText } from "./reply.ts";
export type { ReplyPiece } from "./reply-pieces.ts";
export {
  builtinTemplate,
  type ChatPrompt,
  type ChatTemplate,
  chatTemplate,
  type LessonOptions,
  type ReaderOptions,
  type RenderOptions,
} from "./template.ts";
export {
  type ParsedReply,
  parseToolCalls,
  ToolCallCollector,
  ToolCallParser,
  type ToolPiece,
} from "./tool-calls.ts";
export { type VisionFamily, visionTemplate } from "./vision-template.ts";
export { drawingPrompt, VL_STOP_STRINGS, VL_SYSTEM, type VlFamily, vlPrompt } from "./vl-prompt.ts";
export { VL2_STOP_STRINGS, type Vl2Tokens, vl2Prompt } from "./vl2-prompt.ts";
