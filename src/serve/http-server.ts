/**
 * Node's HTTP server under the routes: limits on connections, headers and slow requests, and errors below the routes
 * (no HTTP, headers too large, requests that never arrive) in the form of all others. Node only.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import { ConfigError } from "../tensor/errors.ts";
import { type ApiError, errorBody, internal, invalidRequest } from "./errors.ts";

/** Connections at once; further ones are closed unanswered. */
const CONNECTIONS = 2048;
const HEADERS_MS = 20_000;
/** For headers and body together: 8 MiB take so long at 70 kB/s. */
const REQUEST_MS = 120_000;

type Fetch = Parameters<typeof getRequestListener>[0];

function answerRaw(socket: Duplex, status: string, message: string, code: string): void {
  const body = JSON.stringify(errorBody(invalidRequest(message, null, code).shape));
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`);
}

/** A connection whose request could not be read at all. */
function onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  // A response has already started, or the client has disconnected.
  const answered = "_httpMessage" in socket && socket._httpMessage !== null;
  if (error.code === "ECONNRESET" || !socket.writable || answered) {
    socket.destroy();
    return;
  }
  if (error.code === "HPE_HEADER_OVERFLOW") {
    answerRaw(
      socket,
      "431 Request Header Fields Too Large",
      "The headers are larger than 16 KiB.",
      "headers_too_large",
    );
  } else if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
    answerRaw(socket, "408 Request Timeout", "The request did not arrive in time.", "request_timeout");
  } else {
    answerRaw(socket, "400 Bad Request", "This is not an HTTP/1.1 request.", "invalid_http");
  }
}

const asResponse = ({ shape }: ApiError) => Response.json(errorBody(shape), { status: shape.status });

/** An HTTP server, not yet listening, that answers by `fetch`. */
export function createHttpServer(fetch: Fetch, log: (line: string) => void): Server {
  const listener = getRequestListener(fetch, {
    overrideGlobalObjects: false,
    errorHandler(error) {
      // What the adapter refuses before any route sees it: hosts and targets that make no address.
      if (error instanceof Error && error.name === "RequestError") {
        return asResponse(
          invalidRequest("The request's target or its Host header is no address.", null, "invalid_url"),
        );
      }
      log(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      return asResponse(internal());
    },
  });
  const server = createServer(
    { headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: 5_000 },
    listener,
  );
  server.maxConnections = CONNECTIONS;
  server.on("clientError", onClientError);
  return server;
}

const REASONS: Readonly<Record<string, { message: string; hint: string }>> = {
  EADDRINUSE: {
    message: "another program listens on this port",
    hint: "Choose another one with --port; 0 picks a free one.",
  },
  EACCES: { message: "no permission to use this port", hint: "Choose one above 1023 with --port." },
  EADDRNOTAVAIL: { message: "not an address of this machine", hint: "Choose one with --host." },
  ENOTFOUND: { message: "unknown host name", hint: "Give an address of this machine with --host." },
};

/** Listens. @throws ConfigError if port or address cannot be had */
export async function listen(server: Server, port: number, host: string): Promise<void> {
  if (!(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
    throw new ConfigError("invalid port", {
      where: "serve",
      name: "port",
      expected: "0 to 65535",
      found: port,
    });
  }
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (cause) {
    const { code = "", message } = cause as NodeJS.ErrnoException;
    const reason = REASONS[code] ?? { message: `cannot listen: ${message}`, hint: "See --port and --host." };
    throw new ConfigError(reason.message, { where: `${host}:${port}`, hint: reason.hint, cause });
  }
}

/** Waits until `done` or for `ms`, whichever comes first; whether it was done. */
async function within(done: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  return Promise.race([done.then(() => true), late]).finally(() => clearTimeout(timer));
}

/** Stops accepting; the result waits up to `ms` for all connections to end and says whether they did. */
export function closeHttp(server: Server): (ms: number) => Promise<boolean> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  return async (ms) => {
    server.closeIdleConnections();
    // A connection becomes idle whenever its answer ends.
    const sweep = setInterval(() => server.closeIdleConnections(), 20);
    return within(closed, ms).finally(() => clearInterval(sweep));
  };
}
