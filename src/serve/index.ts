/** The OpenAI-compatible server. Node only. */
export type { EngineClient } from "./engine-client.ts";
export type { EngineSettings, ModelInfo } from "./protocol.ts";
export { type RunningServer, type ServerOptions, startServer } from "./server.ts";
