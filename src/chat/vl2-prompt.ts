/**
 * Prompts of DeepSeek-VL2 (`DeepseekVLV2Processor.format_messages_v2`): ids are built message by message, not from the
 * rendered text, and text is encoded between images.
 */
import { finish, type Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  type ContentPart,
  checkTurns,
  type ImageMessage,
  markedContent,
  PieceWriter,
  type PromptPiece,
  strippedParts,
} from "./image-messages.ts";

/** What ends an answer beside the end token; `<|User|>` does as an id. */
export const VL2_STOP_STRINGS: readonly string[] = ["User:"];

/** Tags around phrases and boxes in answers. */
export const GROUNDING_TAGS = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>"] as const;

/** No text of a conversation holds it. */
const NO_IMAGE = "\u0000";

/**
 * Content in which the tags of grounding are tokens, as far as the vocabulary has them: what a model wrote, or a trusted
 * file. They end nothing, and stand for no image.
 */
export function taggedContent(content: ImageMessage["content"], tokenizer: Tokenizer): ContentPart[] {
  const tags = GROUNDING_TAGS.filter((tag) => tokenizer.idOf(tag) !== undefined);
  const parts = typeof content === "string" ? [{ type: "text", text: content } as const] : content;
  return parts.flatMap((part) => (part.type === "text" ? markedContent(part.text, NO_IMAGE, tags) : [part]));
}

export const VL2_USER = "<|User|>";
export const VL2_ASSISTANT = "<|Assistant|>";

/** What of a conversation begins and ends where. */
export interface Vl2Tokens {
  readonly bos: number;
  readonly eos: number;
}

/**
 * Ids of a conversation with places for its images. Learned are the first token, answers and their end tokens. Without an
 * answer to the last message the prompt ends in `<|Assistant|>:`, else with the end token.
 * @throws ConfigError for messages that the template has no place for
 */
export function vl2Prompt(
  messages: readonly ImageMessage[],
  tokenizer: Tokenizer,
  tokens: Vl2Tokens,
): PromptPiece[] {
  return finish(vl2Pieces(messages, tokenizer, tokens));
}

/** The same with pauses. @throws ConfigError */
export function vl2Pieces(
  messages: readonly ImageMessage[],
  tokenizer: Tokenizer,
  { bos, eos }: Vl2Tokens,
): Slices<PromptPiece[]> {
  checkTurns(messages);
  const writer = new PieceWriter(tokenizer);
  // Roles are tokens of every released vocabulary.
  const role = (token: string) => {
    const id = tokenizer.idOf(token);
    if (id === undefined) writer.text(token, false);
    else writer.ids([id], false);
  };
  writer.ids([bos], true);
  for (const message of messages) {
    const content = strippedParts(message.content);
    const answer = message.role === "assistant";
    if (message.role === "user") {
      role(VL2_USER);
      writer.text(": ", false);
    }
    writer.parts(content, answer);
    if (message.role === "user") {
      writer.text("\n\n", false);
      role(VL2_ASSISTANT);
      writer.text(":", false);
    }
    if (answer) writer.ids([eos], true);
  }
  return writer.pieces();
}
