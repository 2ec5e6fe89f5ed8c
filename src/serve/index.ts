/** The OpenAI-compatible server. Node only. */
export type { AnswerOptions } from "./answer-routes.ts";
export type { AppOptions } from "./app.ts";
export type { ImageReference, RequestMessage, RequestPart } from "./content-parts.ts";
export type { EngineSettings } from "./engine-settings.ts";
export type { ApiError, ErrorShape } from "./errors.ts";
export type { Address, FetchPolicy } from "./image-fetch.ts";
export { type ImageLoaderOptions, imageLoader } from "./image-loader.ts";
export type { ImageLoader } from "./request-images.ts";
export { type RunningServer, type ServerOptions, startServer } from "./server.ts";
