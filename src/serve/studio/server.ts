/**
 * Starts the studio: one port of this machine for its page, its jobs and `/v1` of the models that are open. It listens before most of
 * its program is loaded: the page asks for what it needs meanwhile. Node only.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import type { EngineClient } from "../../engine/host/engine-client.ts";
import { closeHttp, createHttpServer, listen } from "../http-server.ts";
import { createFront } from "./front.ts";
import { studioGuard } from "./guard.ts";
import type { JobView } from "./protocol.ts";
import type { StudioOptions } from "./studio-options.ts";
import { wayIn } from "./way-in.ts";

export interface RunningStudio {
  readonly port: number;
  /** Without the token. */
  readonly url: string;
  readonly token: string | null;
  /** What gives the token once, within a minute of the start: for an address that others may see. */
  readonly code: string | null;
  /** The name of what lies at a path below a root. @throws ApiError 404 for any other */
  nameOf(path: string): string;
  /** Opens a model, as the page would. @throws ApiError */
  openModel(model: string): Promise<JobView>;
  /** The engine of an open model; null for any other. */
  engineOf(model: string): EngineClient | null;
  /** Jobs that wait or run. */
  running(): Promise<readonly JobView[]>;
  /** Stops every job, closes every model, ends every connection. */
  close(): Promise<void>;
}

/** Where the page is built, in the source tree and in the package. */
export const STUDIO_PAGE = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../../../dist/studio" : "../../studio", import.meta.url),
);

const HOST = "127.0.0.1";

/** Starts listening; models are opened later. @throws ConfigError if the port cannot be had, FileError for a root */
export async function startStudio(options: StudioOptions): Promise<RunningStudio> {
  const { port, allowHosts = [], log = () => {}, page = STUDIO_PAGE } = options;
  const token = options.withoutToken ? null : randomBytes(32).toString("base64url");
  let ownPort = port;
  const entrance = token === null ? null : wayIn(token);
  const guard = studioGuard({ port: () => ownPort, allowHosts, token });
  let begin: () => void = () => {};
  // Nothing is loaded before the port is had.
  const listening = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const opening = listening.then(async () => {
    const { openParts } = await import("./studio-parts.ts");
    return await openParts(options, randomUUID());
  });
  opening.catch(() => {});
  const front = createFront({ guard, wayIn: entrance, page, log, routes: async () => (await opening).app });
  const server = createHttpServer(front.fetch, log);
  await listen(server, port, HOST);
  ownPort = (server.address() as AddressInfo).port;
  const url = `http://${HOST}:${ownPort}/`;
  options.onListening?.({ url, token, code: entrance?.code ?? null });
  begin();
  const {
    roots,
    jobs,
    open,
    plans,
    close: closeParts,
  } = await opening.catch((error: unknown) => {
    closeHttp(server);
    server.closeAllConnections();
    throw error;
  });
  let closing: Promise<void> | null = null;

  async function close(): Promise<void> {
    const ended = closeHttp(server);
    await closeParts();
    // Readers of events get their last line out.
    if (!(await ended(500))) server.closeAllConnections();
  }

  return {
    ...{ port: ownPort, url, token, code: entrance?.code ?? null },
    nameOf: (path) => roots.nameOf(path),
    async openModel(model) {
      const plan = await plans.plan("open", new Map([["model", model]]), false);
      return await jobs.add({ kind: "open", plan, request: model });
    },
    engineOf: (model) => open.engineOf(model),
    running: () => jobs.open(),
    close: () => (closing ??= close()),
  };
}
