/** Conversations with images as training reads them: the ids of a prompt with its answers, and which of them are learned. */
import { finish } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { ImageMessage, PromptPiece } from "./image-messages.ts";
import { sentenceTokens, type VisionFamily } from "./vision-template.ts";
import { vlLessonPieces } from "./vl-prompt.ts";
import { taggedContent, vl2Pieces } from "./vl2-prompt.ts";

/**
 * The pieces of an answered conversation. Tags of grounding in its texts are tokens, since its file is trusted; answers
 * and their end tokens are learned. @throws ConfigError for messages that the template has no place for
 */
export function lessonPieces(
  family: VisionFamily,
  messages: readonly ImageMessage[],
  tokenizer: Tokenizer,
): PromptPiece[] {
  const read = messages.map(
    ({ role, content }): ImageMessage => ({ role, content: taggedContent(content, tokenizer) }),
  );
  if (family === "vl2") return finish(vl2Pieces(read, tokenizer, sentenceTokens(tokenizer)));
  return finish(vlLessonPieces(read, tokenizer, family));
}
