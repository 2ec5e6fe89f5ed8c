/**
 * Content of users' messages: text, images by URL, and the control tokens that questions about places need. Images stand
 * as their URLs until an `ImageLoader` has their bytes.
 */
import { z } from "zod";
import type { Message, MessagePart } from "../chat/messages.ts";
import { GROUNDING_TAGS } from "../chat/vl2-prompt.ts";

/** An image that a request names. */
export interface ImageReference {
  readonly type: "image_url";
  readonly url: string;
  /** The field that holds the URL. */
  readonly param: string;
  /** Most tiles besides the whole view; undefined: what the model's resolutions allow. */
  readonly maxTiles?: number;
}

export type RequestPart = Exclude<MessagePart, { type: "image" }> | ImageReference;

/** A request whose images are not there yet. */
export type WithReferences<R extends { readonly messages: readonly Message[] }> = Omit<R, "messages"> & {
  readonly messages: readonly RequestMessage[];
};

/** A part before it is known where in its body it stands. */
type ReadPart = Exclude<RequestPart, ImageReference> | Omit<ImageReference, "param">;

export type ReadContent = string | readonly ReadPart[];

/** A message whose images are not there yet. */
export interface RequestMessage extends Omit<Message, "content"> {
  readonly content?: string | readonly RequestPart[] | null;
}

/** OpenAI's degrees: `low` is the whole view with one tile, the others are what the model does by itself. */
const detail = z.enum(["auto", "low", "high"]).nullish();

const image = (url: string, asked: z.infer<typeof detail>): ReadPart => ({
  type: "image_url",
  url,
  ...(asked === "low" ? { maxTiles: 1 } : {}),
});

/** Control tokens that a client may name: they ask for boxes, and end nothing. */
const token = z
  .object({
    type: z.literal("token"),
    token: z.enum(GROUNDING_TAGS, { error: `expected one of ${GROUNDING_TAGS.join(", ")}` }),
  })
  .transform(({ token }): ReadPart => ({ type: "token", token }));

const text = <T extends string>(type: T) =>
  z
    .object({ type: z.literal(type), text: z.string() })
    .transform(({ text }): ReadPart => ({ type: "text", text }));

const imageUrl = z
  .object({ type: z.literal("image_url"), image_url: z.object({ url: z.string(), detail }) })
  .transform(({ image_url: { url, detail } }): ReadPart => image(url, detail));

const inputImage = z
  .object({
    type: z.literal("input_image"),
    image_url: z.string({ error: "an image needs its URL; files are not stored here" }),
    file_id: z.null({ error: "files are not stored here; send the image as a data URL" }).optional(),
    detail,
  })
  .transform(({ image_url: url, detail }): ReadPart => image(url, detail));

/** Text alone as one string, as the parts of a text-only message have always been joined. */
function joined(parts: readonly ReadPart[]): ReadContent {
  const texts = parts.map((part) => (part.type === "text" ? part.text : null));
  return texts.every((text) => text !== null) ? texts.join("") : parts;
}

const partsOf = <T extends Parameters<typeof z.discriminatedUnion>[1]>(parts: T, kinds: string) =>
  z.union([
    z.string(),
    z
      .array(
        z.discriminatedUnion("type", parts, {
          error: ({ input }) => {
            const type = (input as { type?: unknown } | null)?.type;
            return typeof type === "string"
              ? `parts of type '${type.slice(0, 40)}' are not supported; expected ${kinds}`
              : `expected ${kinds}`;
          },
        }),
      )
      .transform((list) => joined(list as readonly ReadPart[])),
  ]);

/** Content of a user in a chat. */
export const userContent = partsOf([text("text"), imageUrl, token], "'text', 'image_url' or 'token'");

/** Content of a user in /v1/responses. */
export const userInput = partsOf(
  [text("input_text"), text("text"), inputImage, token],
  "'input_text', 'input_image' or 'token'",
);

/**
 * Content with the field of each image. @param param the field that holds the content
 * @param url what is between a part and its URL
 */
export function placedContent(
  content: ReadContent,
  param: string,
  url: "image_url" | "image_url.url",
): string | readonly RequestPart[] {
  if (typeof content === "string") return content;
  return content.map((part, i) =>
    part.type === "image_url" ? { ...part, param: `${param}[${i}].${url}` } : part,
  );
}
