/** Samples of the picture world in the form that training takes: messages with text and images. */
import type { ConversationMessage, ConversationPart, ImageConversation } from "../conversations/messages.ts";
import type { WorldImage } from "./raster.ts";
import type { WorldSample } from "./sample.ts";

/**
 * A question with its picture first, if it has one, and the answer. Of a caption the picture is the answer: the assistant
 * draws it.
 */
export function worldConversation({
  stream,
  image,
  question,
  answer,
}: WorldSample): ImageConversation<WorldImage> {
  const picture: ConversationPart<WorldImage>[] = image === null ? [] : [{ type: "image", image }];
  const user = (content: ConversationMessage<WorldImage>["content"]) => ({ role: "user", content }) as const;
  if (stream === "captions") {
    return { messages: [user(question), { role: "assistant", content: picture }] };
  }
  const content = image === null ? question : [...picture, { type: "text", text: question } as const];
  return { messages: [user(content), { role: "assistant", content: answer }] };
}
