/** How the images of a request stand in its prompt, by their headers alone, and why they cannot. */
import { type ImagePart, imagesOf, type Message } from "../../chat/messages.ts";
import type { ChatPrompt } from "../../chat/template.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import { ImageError } from "../../vision/image/image.ts";
import type { PlannedImage } from "../image-encoder.ts";
import { invalidRequest, RequestError } from "./errors.ts";

/** What counts the tokens of images before they are encoded. `ImageEncoder` is one. */
export interface ImagePlanner {
  /** @throws ImageError, ConfigError */
  plan(images: readonly ImagePart[]): readonly PlannedImage[];
}

/** The images of a prompt. */
export interface PromptImages {
  readonly parts: readonly ImagePart[];
  readonly planned: readonly PlannedImage[];
  /** What the template made of the messages. */
  readonly rendered: Pick<ChatPrompt, "ids" | "places">;
  readonly tokens: number;
}

/** An image's fault as a request's, in the field that the part is named after, if it is; other errors as they are. */
export function imageRefused(error: unknown, parts: readonly ImagePart[]): unknown {
  if (!(error instanceof ImageError)) return error;
  const { where } = error.detail;
  const named = where !== undefined && parts.some(({ name }) => name === where);
  return invalidRequest(error.message, named ? where : "messages", "invalid_image");
}

/** @throws RequestError for a model that does not see */
export function checkSees(images: ImagePlanner | null, model: string, messages: readonly Message[]): void {
  if (images !== null) return;
  const [first] = imagesOf(messages);
  if (first === undefined) return;
  throw new RequestError({
    kind: "invalid",
    message: `The messages hold an image, but the model '${model}' reads text only.`,
    param: first.name ?? "messages",
    code: "images_not_supported",
  });
}

/** Null if there are none. @throws RequestError naming an image that cannot be read */
export function planImages(
  images: ImagePlanner | null,
  messages: readonly Message[],
  rendered: Pick<ChatPrompt, "ids" | "places">,
): PromptImages | null {
  const parts = imagesOf(messages);
  if (images === null || parts.length === 0) return null;
  try {
    const planned = images.plan(parts);
    return { parts, planned, rendered, tokens: planned.reduce((sum, { tokens }) => sum + tokens, 0) };
  } catch (error) {
    const refused = imageRefused(error, parts);
    // The model's folder does not say how its images are prepared, for example.
    throw refused instanceof DeepseekError ? invalidRequest(refused.message, "messages") : refused;
  }
}
