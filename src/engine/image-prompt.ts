/** Prompts with images: the pieces that a template makes, with what images were encoded to in their places. */
import type { PromptPiece } from "../chat/image-messages.ts";
import type { ChatPrompt } from "../chat/template.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { EmbeddingPart, Prompt, PromptPart } from "./prompt.ts";

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

/**
 * What a chat template made of a conversation, with its images in their places.
 * @throws ConfigError if there are more or fewer images than places
 */
export function chatPrompt(
  { ids, places }: Pick<ChatPrompt, "ids" | "places">,
  images: readonly Pick<EmbeddingPart, "embeddings" | "hash">[],
): Prompt {
  if (places.length === 0 && images.length === 0) return ids;
  const pieces = places.flatMap((place, image): PromptPiece[] => [
    { ids: ids.slice(image === 0 ? 0 : places[image - 1] + 1, place), learned: false },
    { image },
  ]);
  const rest = ids.slice((places.at(-1) ?? -1) + 1);
  return imagePrompt([...pieces, { ids: rest, learned: false }], images, ids[places[0]]);
}

/** The same ids with as many for each image as it has tokens: the length of the prompt before any image is encoded. */
export function expandedIds(
  { ids, places }: Pick<ChatPrompt, "ids" | "places">,
  images: readonly { readonly tokens: number }[],
): readonly number[] {
  if (places.length === 0) return ids;
  const expanded: number[] = [];
  let next = 0;
  for (const [i, id] of ids.entries()) {
    const copies = i === places[next] ? images[next++].tokens : 1;
    for (let n = 0; n < copies; n++) expanded.push(id);
  }
  return expanded;
}
