/** Answers of /v1/images/generations, whole or as events, in OpenAI's form; `seed` and `index` are extensions. */
import type { DrawUsage } from "../engine/draw/events.ts";
import type { DrawingRequest, PictureNews } from "../engine/host/protocol.ts";
import { base64Of } from "../text/base64.ts";
import { type ErrorShape, errorBody } from "./errors.ts";
import type { EventForm } from "./event-stream.ts";

/** What answers say of all pictures. */
export interface DrawingHead {
  /** Seconds since 1970. */
  readonly created: number;
  /** As `width x height`. */
  readonly size: string;
}

type Pictures = AsyncGenerator<PictureNews, void, void>;

const alike = { background: "opaque", output_format: "png", quality: "auto" } as const;

/** Token counts as the interface has them: prompts are text, answers images. */
function usageOf({ promptTokens, imageTokens }: DrawUsage): object {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { text_tokens: promptTokens, image_tokens: 0 },
    output_tokens: imageTokens,
    output_tokens_details: { text_tokens: 0, image_tokens: imageTokens },
    total_tokens: promptTokens + imageTokens,
  };
}

/** The body with all pictures, in order. */
export async function drawingBody(
  news: Pictures,
  { seed }: DrawingRequest,
  { created, size }: DrawingHead,
): Promise<object> {
  const data: { b64_json: string }[] = [];
  let promptTokens = 0;
  let imageTokens = 0;
  for await (const { image, png, usage } of news) {
    if (usage === null) continue;
    data[image] = { b64_json: base64Of(png) };
    promptTokens = usage.promptTokens;
    imageTokens += usage.imageTokens;
  }
  return { created, data, ...alike, size, seed, usage: usageOf({ promptTokens, imageTokens }) };
}

/** An event for each picture with the tokens of that one, and for the partial ones before it. */
export async function* drawingEvents(
  news: Pictures,
  { seed }: DrawingRequest,
  { created, size }: DrawingHead,
): AsyncGenerator<object, void> {
  for await (const { image, partial, png, usage } of news) {
    const shared = { b64_json: base64Of(png), created_at: created, ...alike, size, index: image };
    yield usage !== null
      ? { type: "image_generation.completed", ...shared, seed, usage: usageOf(usage) }
      : { type: "image_generation.partial_image", ...shared, partial_image_index: partial };
  }
}

/** Events named by their type. */
export const imageEvents = (): EventForm => ({
  chunk: (value) => `event: ${(value as { type: string }).type}\ndata: ${JSON.stringify(value)}\n\n`,
  failure: (shape: ErrorShape) => `event: error\ndata: ${JSON.stringify(errorBody(shape))}\n\n`,
  end: "",
});
