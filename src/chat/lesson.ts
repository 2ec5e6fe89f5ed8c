/** Conversations with images as training reads them: the ids of a prompt with its answers, and which of them are learned. */
import { finish } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ContentPart, type ImageMessage, markedContent, type PromptPiece } from "./image-messages.ts";
import { sentenceTokens, type VisionFamily } from "./vision-template.ts";
import { vlLessonPieces } from "./vl-prompt.ts";
import { GROUNDING_TAGS, vl2Pieces } from "./vl2-prompt.ts";

/** No text of a conversation holds it. */
const NO_IMAGE = "\u0000";

/**
 * The pieces of an answered conversation. Tags of grounding in its texts are tokens, since its file is trusted; answers
 * and their end tokens are learned. @throws ConfigError for messages that the template has no place for
 */
export function lessonPieces(
  family: VisionFamily,
  messages: readonly ImageMessage[],
  tokenizer: Tokenizer,
): PromptPiece[] {
  const tags = GROUNDING_TAGS.filter((tag) => tokenizer.idOf(tag) !== undefined);
  const tagged = (part: ContentPart) =>
    part.type === "text" ? markedContent(part.text, NO_IMAGE, tags) : [part];
  const read = messages.map(({ role, content }): ImageMessage => {
    const parts = typeof content === "string" ? [{ type: "text", text: content } as const] : content;
    return { role, content: parts.flatMap(tagged) };
  });
  if (family === "vl2") return finish(vl2Pieces(read, tokenizer, sentenceTokens(tokenizer)));
  return finish(vlLessonPieces(read, tokenizer, family));
}
