/** The server of one model: HTTP on this thread, the model on another. It listens at once, before the model is open. Node only. */
import type { AddressInfo } from "node:net";
import type { EngineChannel, EngineClient } from "../engine/host/engine-client.ts";
import type { ModelInfo } from "../engine/host/protocol.ts";
import type { LeanSession } from "../prove/lean/session.ts";
import { checkKeys } from "./access.ts";
import { type AppOptions, createApp } from "./app.ts";
import type { EngineSettings } from "./engine-settings.ts";
import { closeHttp, createHttpServer, listen } from "./http-server.ts";
import { imageLoader } from "./image-loader.ts";
import { ServedModel } from "./served-model.ts";
import { Verifier } from "./verify-answer.ts";
import { startEngineThread } from "./worker-channel.ts";

export interface ServerOptions extends Partial<AppOptions> {
  /** 0: any free one. */
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** How the engine's thread opens its model; or a channel to one that is there already. */
  readonly engine: EngineSettings | EngineChannel;
  /** Verifies proofs on /v1/verify. Its caller closes it, after the server. */
  readonly lean?: LeanSession;
  /** Gives up while the model is loading; afterwards it does nothing. */
  readonly signal?: AbortSignal;
}

export interface RunningServer {
  readonly url: string;
  readonly port: number;
  readonly info: ModelInfo;
  readonly engine: EngineClient;
  /** Resolves with the reason if the engine ends by itself; never otherwise. */
  readonly failed: Promise<string>;
  /**
   * Stops accepting, lets answers finish for up to `drainSeconds` (default 30), then cancels them; frees the model.
   */
  close(drainSeconds?: number): Promise<void>;
}

/** Bytes of a body by default: images of 24 MB, as base64. */
export const BODY_LIMIT = 32 * 2 ** 20;

function hostInUrl(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}

/**
 * Starts serving; resolves once the model is open. @throws Error if the port cannot be had or the model not opened
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { port, host = "127.0.0.1", apiKeys = [], allowHosts = [], log = () => {} } = options;
  checkKeys(apiKeys);
  const keyed = apiKeys.length > 0;
  const verifier = options.lean === undefined ? null : new Verifier(options.lean);
  const settings: AppOptions = {
    servedName: options.servedName,
    apiKeys,
    allowOrigins: options.allowOrigins ?? [],
    // With keys the list stays as it was given: an empty one lets every name in.
    allowHosts: keyed ? allowHosts : [host, ...allowHosts],
    bodyLimit: options.bodyLimit ?? BODY_LIMIT,
    images: options.images ?? imageLoader({ allowUrls: false }),
    log,
  };
  const served = new ServedModel((state) => createApp(state, settings, verifier), log);
  const server = createHttpServer(served.app.fetch, log);
  await listen(server, port, host);
  let engine: EngineClient;
  try {
    const channel = "post" in options.engine ? options.engine : startEngineThread(options.engine);
    engine = await served.open(channel, { signal: options.signal });
  } catch (error) {
    closeHttp(server);
    server.closeAllConnections();
    throw error;
  }
  const address = server.address() as AddressInfo;
  let closing: Promise<void> | null = null;

  async function close(drainSeconds = 30): Promise<void> {
    served.drain();
    const ended = closeHttp(server);
    // Timers count in 32 bits.
    const drained = await ended(Math.min(drainSeconds * 1000, 2 ** 31 - 1));
    await served.close();
    // What was cut off gets its last event out.
    if (!drained && !(await ended(1000))) server.closeAllConnections();
  }

  return {
    url: `http://${hostInUrl(host)}:${address.port}`,
    port: address.port,
    info: engine.info,
    engine,
    failed: served.failed,
    close: (drainSeconds) => (closing ??= close(drainSeconds)),
  };
}
