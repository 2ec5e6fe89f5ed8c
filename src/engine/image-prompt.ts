/** Prompts with images: the pieces that a template makes, with what images were encoded to in their places. */
import type { PromptPiece } from "../chat/image-messages.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { EmbeddingPart, PromptPart } from "./prompt.ts";

/**
 * The prompt of a conversation with these images, in its order.
 * @param placeholderId id that is shown at the images' positions: the family's image token
 * @throws ConfigError if there are more or fewer images than places
 */
export function imagePrompt(
  pieces: readonly PromptPiece[],
  images: readonly Pick<EmbeddingPart, "embeddings" | "hash">[],
  placeholderId: number,
): PromptPart[] {
  const places = pieces.filter((piece) => "image" in piece).length;
  if (places !== images.length) {
    throw new ConfigError("the conversation has another number of places for images than there are images", {
      where: "imagePrompt",
      expected: `${places} image${places === 1 ? "" : "s"}, one for each place`,
      found: images.length,
    });
  }
  return pieces.map((piece) => {
    if ("ids" in piece) return piece.ids;
    const { embeddings, hash } = images[piece.image];
    return { embeddings, hash, placeholderId };
  });
}
