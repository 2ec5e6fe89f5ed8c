/** The images that requests to a server name, fetched where it was started to do that. Node only. */
import { FETCH_POLICY, type FetchPolicy, fetchImage } from "./image-fetch.ts";
import { type ImageLoader, referencedImages } from "./request-images.ts";

export interface ImageLoaderOptions {
  /** Whether http and https URLs are fetched. */
  readonly allowUrls: boolean;
  readonly policy?: FetchPolicy;
}

export const imageLoader = ({ allowUrls, policy = FETCH_POLICY }: ImageLoaderOptions): ImageLoader =>
  referencedImages(allowUrls ? (url, param, signal) => fetchImage(url, param, signal, policy) : null);
