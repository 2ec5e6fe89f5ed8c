/**
 * The picture world: scenes, questions, captions, pages and text, drawn by integer arithmetic from a seed, a stream and an
 * index, and a checker that reads scenes back. Models of a few million parameters learn it in minutes to an hour.
 */

export { CATEGORIES, type CaptionCategory, type CaptionContent, parseCaption } from "./captions.ts";
export { type FoundObject, readScene } from "./checker.ts";
export { worldConversation } from "./conversation.ts";
export { WORLD_SPLITS, WORLD_STREAMS, type WorldSplit, type WorldStream, worldIndex } from "./generator.ts";
export type { LanguageTask } from "./language.ts";
export {
  COLOR_VALUES,
  COLORS,
  RELATIONS,
  type Rgb,
  SHAPES,
  SIZES,
  type WorldColor,
  type WorldRelation,
  type WorldShape,
  type WorldSize,
} from "./names.ts";
export type { GlyphScale, PageTask, PageText } from "./pages.ts";
export { describeObjects, type QuestionTask } from "./questions.ts";
export type { Box } from "./raster.ts";
export { type WorldOptions, type WorldSample, type WorldTask, worldSample } from "./sample.ts";
export type { ObjectSpec, WorldObject } from "./scene.ts";
export {
  type AnswerScore,
  boxOverlap,
  type DescribeScore,
  describeTotals,
  type ExactScore,
  type FindScore,
  scoreAnswer,
} from "./score.ts";
export { judge, judgeDrawing, type Verdict } from "./verdict.ts";
export {
  type ImageToken,
  WORLD_PADDED_VOCABULARY,
  type WorldTokenizerOptions,
  worldPieces,
  worldTokenizer,
  worldVocabulary,
} from "./vocabulary.ts";
