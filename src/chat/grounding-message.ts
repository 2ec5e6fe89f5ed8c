/** Messages that ask DeepSeek-VL2 for boxes. */
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { tokenId } from "./image-messages.ts";
import type { ImagePart, MessagePart } from "./messages.ts";
import { canSpell } from "./provenance.ts";
import { GROUNDING_TAGS } from "./vl2-prompt.ts";

/**
 * A message that asks where in the picture `phrase` is; with null for a description with boxes. Its control tokens are
 * named, and the phrase is text. @throws ConfigError if the vocabulary has no such tokens
 */
export function groundingMessage(
  image: ImagePart,
  phrase: string | null,
  tokenizer: Tokenizer,
): MessagePart[] {
  for (const tag of GROUNDING_TAGS) tokenId(tokenizer, tag);
  const token = (name: (typeof GROUNDING_TAGS)[number]) => ({ type: "token", token: name }) as const;
  const text = (words: string) => ({ type: "text", text: words }) as const;
  // The picture world has another form of the questions, and no words for these.
  const released = canSpell(tokenizer, "Describe the image.");
  const [gap, stop] = released ? [[text("\n")], [text(".")]] : [[], []];
  if (phrase !== null) return [image, ...gap, token("<|ref|>"), text(phrase), token("<|/ref|>"), ...stop];
  return [
    image,
    ...gap,
    token("<|grounding|>"),
    text(released ? "Describe the image." : "describe the image ."),
  ];
}
