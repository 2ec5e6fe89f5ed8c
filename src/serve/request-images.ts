/** The images that requests name: bytes out of data URLs, or fetched where the server was started to do that. */
import type { ImagePart, Message } from "../chat/messages.ts";
import { dataUrlBytes, isDataUrl } from "../vision/image/data-url.ts";
import { ImageError } from "../vision/image/image.ts";
import type { ImageReference, RequestMessage, RequestPart } from "./content-parts.ts";
import { invalidRequest, unavailable } from "./errors.ts";

/** Most images of a request: what is planned before the queue is bounded by it. */
export const MOST_IMAGES = 64;
/** Most bytes of all images that one request has fetched. */
const MOST_FETCHED = 64 * 2 ** 20;
/** Images that one request has on the way at once. */
const AT_ONCE = 4;
/** Requests that fetch at once. */
const FETCHING = 8;

/** Gets an image from its address. @throws ApiError 400 naming the field, the signal's reason */
export type UrlFetcher = (url: string, param: string, signal: AbortSignal) => Promise<Uint8Array>;

/** Replaces references by images. @throws ApiError 400 naming the field; 503; the signal's reason */
export type ImageLoader = (messages: readonly RequestMessage[], signal: AbortSignal) => Promise<Message[]>;

const isReference = (part: RequestPart): part is ImageReference => part.type === "image_url";

const referencesOf = ({ content }: RequestMessage): readonly ImageReference[] =>
  typeof content === "string" ? [] : (content ?? []).filter(isReference);

/** Characters of the URLs in messages: what a body may have beyond its texts. */
export function urlLength(messages: readonly RequestMessage[]): number {
  return messages.flatMap(referencesOf).reduce((sum, { url }) => sum + url.length, 0);
}

/** The first image in the messages, if there is one. */
export const firstImage = (messages: readonly RequestMessage[]): ImageReference | null =>
  messages.flatMap(referencesOf)[0] ?? null;

function fromDataUrl(url: string, param: string): Uint8Array {
  try {
    return dataUrlBytes(url, param, url.length);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw invalidRequest(`The image at ${error.message}`, param, "invalid_image");
  }
}

/** @param fetchUrl gets images that are elsewhere; null: nothing is fetched */
export function referencedImages(fetchUrl: UrlFetcher | null): ImageLoader {
  let fetching = 0;

  /** @throws ApiError for what is not fetched at all */
  function checkUrl(url: string, param: string): void {
    if (!/^https?:/i.test(url)) {
      throw invalidRequest(
        `'${param}' must be a data URL (data:image/png;base64,..)${fetchUrl ? " or an http(s) URL" : ""}.`,
        param,
        "invalid_image_url",
      );
    }
    if (fetchUrl !== null) return;
    throw invalidRequest(
      `'${param}' is an http(s) URL, which this server does not fetch. Send the image as a data URL, or start the server with --allow-image-urls.`,
      param,
      "image_urls_not_allowed",
    );
  }

  /** @param asked each URL once, with the field that names it first */
  async function fetched(asked: ReadonlyMap<string, string>, signal: AbortSignal) {
    const found = new Map<string, Uint8Array>();
    if (asked.size === 0) return found;
    if (fetching >= FETCHING) throw unavailable("Too many requests fetch images. Try again.", "busy", 1);
    fetching++;
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const left = [...asked];
    let bytes = 0;
    const worker = async () => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const [url, param] = next;
        const image = await fetchUrl!(url, param, either);
        bytes += image.length;
        if (bytes > MOST_FETCHED) {
          const message = `The request's images are larger than ${MOST_FETCHED} bytes together.`;
          throw invalidRequest(message, param, "request_too_large");
        }
        found.set(url, image);
      }
    };
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      return found;
    } finally {
      stop.abort();
      fetching--;
    }
  }

  return async (messages, signal) => {
    const references = messages.flatMap(referencesOf);
    if (references.length > MOST_IMAGES) {
      throw invalidRequest(
        `The request has ${references.length} images; at most ${MOST_IMAGES} are read.`,
        references[MOST_IMAGES].param,
        "too_many_images",
      );
    }
    const images = new Map<string, Uint8Array>();
    const asked = new Map<string, string>();
    for (const { url, param } of references) {
      if (images.has(url) || asked.has(url)) continue;
      if (isDataUrl(url)) images.set(url, fromDataUrl(url, param));
      else {
        checkUrl(url, param);
        asked.set(url, param);
      }
    }
    for (const [url, image] of await fetched(asked, signal)) images.set(url, image);
    const part = (given: RequestPart) => {
      if (!isReference(given)) return given;
      const { url, param, maxTiles } = given;
      const image: ImagePart = { type: "image", image: images.get(url)!, name: param };
      return maxTiles === undefined ? image : { ...image, maxTiles };
    };
    return messages.map(({ content, ...rest }) => {
      if (content === undefined) return rest;
      return { ...rest, content: typeof content === "string" ? content : (content?.map(part) ?? null) };
    });
  };
}
