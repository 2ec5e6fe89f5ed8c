/** From texts to training batches, without a file system. Folders on disk are in `deepseek-ts/node`. */

export type { ConversationRules, JsonFields } from "./conversations/fields.ts";
export {
  type ConversationMessage,
  type ConversationPart,
  type ConversationRole,
  type ImageConversation,
  type ImageSource,
  imagesOf,
  loadImages,
} from "./conversations/messages.ts";
export { parseConversation } from "./conversations/parse-conversation.ts";
export {
  type ConversationOptions,
  type ConversationStore,
  readConversations,
} from "./conversations/store.ts";
export type { FimIds } from "./corpus.ts";
export { type Corpus, collect, type TextFile, type Tokenizer as DataTokenizer } from "./corpus.ts";
export type { DatasetLayout, MemoryOptions, TokenStore } from "./dataset.ts";
export {
  type Batch,
  BatchIterator,
  type BatchOptions,
  type BatchState,
  memoryDataset,
  TokenDataset,
  tokenArray,
} from "./dataset.ts";
export type { DedupeReport, DedupeVerdict } from "./dedupe.ts";
export { type DedupeOptions, Deduplicator, dedupe } from "./dedupe.ts";
export type { ContentRule, FilterSwitches } from "./filters.ts";
export type { EncodeOptions, FimOptions, FimSplit } from "./fim.ts";
export { encodeCorpus, encodeDocument, splitForFim, type TokenDocument } from "./fim.ts";
export { ByteNgram, type NgramOptions, type NgramScore } from "./ngram.ts";
export type { BuildOptions, BuildProgress } from "./node-dataset.ts";
export type { Documents, PackOptions } from "./pack.ts";
export { type PackedSequence, packDocuments } from "./pack.ts";
export { type PreparedCorpus, type PrepareOptions, prepareCorpus } from "./prepare.ts";
export {
  type PreparedStream,
  prepareStream,
  type RereadableCorpus,
  type StreamOptions,
  type TextStream,
  type TrainingStream,
} from "./prepare-stream.ts";
export type { RepositoryOptions } from "./repository-order.ts";
export { type HeldOutOptions, heldOutBelow } from "./rows/held-out.ts";
export {
  type CompletionRow,
  type ConversationRow,
  type FieldsRow,
  type PreferenceRow,
  type PromptRow,
  parseRow,
  type Row,
  type RowKind,
  type RowKinds,
  splitText,
  type TextOrMessages,
} from "./rows/row.ts";
export type { DropRule } from "./select.ts";
export { type ExtensionPreset, type SelectionReport, type SelectOptions, selectCorpus } from "./select.ts";
export { type SplitOptions, splitFiles } from "./split.ts";
export * from "./world/index.ts";
