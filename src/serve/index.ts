/** The OpenAI-compatible server. Node only. */
export type { AppOptions } from "./app.ts";
export type { EngineSettings } from "./engine-settings.ts";
export type { ApiError, ErrorShape } from "./errors.ts";
export { type RunningServer, type ServerOptions, startServer } from "./server.ts";
