/** Samples of the picture world in the form that training takes: messages with text and images. */

import type { RgbImage } from "../../vision/image/image.ts";
import type { ConversationMessage, ConversationPart, ImageConversation } from "../conversations/messages.ts";
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
}: WorldSample): ImageConversation<RgbImage> {
  const picture: ConversationPart<RgbImage>[] = image === null ? [] : [{ type: "image", image }];
  const user = (content: ConversationMessage<RgbImage>["content"]) => ({ role: "user", content }) as const;
  if (stream === "captions") {
    return { messages: [user(question), { role: "assistant", content: picture }] };
  }
  const content = image === null ? question : [...picture, { type: "text", text: question } as const];
  return { messages: [user(content), { role: "assistant", content: answer }] };
}
