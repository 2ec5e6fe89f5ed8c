/** What tests of a running server share: one over a small random model, requests to it, waiting. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { expect } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { type RunningServer, startServer } from "./server.ts";

export const user = (content: string) => [{ role: "user" as const, content }];
export const greedy = { model: "tiny", temperature: 0, max_tokens: 12 };

/** Sends a body, JSON unless it is text already. */
export async function post(
  server: RunningServer,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(server.url + path, {
    method: "POST",
    body: text,
    headers: { "content-type": "application/json", ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** Sends bytes to the server as they are and gives what comes back until the connection ends. */
export function raw(server: RunningServer, bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(server.port, "127.0.0.1", () => socket.write(bytes));
    socket.setEncoding("utf8").on("data", (part: string) => (text += part));
    socket.on("close", () => resolve(text)).on("error", reject);
  });
}

/** Makes one row of an f32 tensor of a model's folder NaN. */
export function damageRow(folder: string, tensor: string, row: number): void {
  const path = join(folder, "model.safetensors");
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const { shape, data_offsets: offsets } = JSON.parse(bytes.toString("utf8", 8, 8 + length))[tensor];
  const rowBytes = 4 * shape[1];
  const start = 8 + length + offsets[0] + row * rowBytes;
  for (let at = start; at < start + rowBytes; at += 4) bytes.writeFloatLE(Number.NaN, at);
  writeFileSync(path, bytes);
}

export async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it did not happen");
}

/** Value of a metric of a server, labels being part of the name; 0 if there is none. */
export async function metricOf({ url }: RunningServer, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  return line === undefined ? 0 : Number(line.slice(name.length));
}

export interface TestServer extends AsyncDisposable {
  readonly folder: string;
  readonly server: RunningServer;
  readonly client: OpenAI;
  /** Sends a body to it. */
  post(path: string, body: unknown, headers?: Record<string, string>): ReturnType<typeof post>;
  /** Value of a metric, labels being part of the name; 0 if there is none. */
  metric(name: string): Promise<number>;
  /** Id of the token that a text is, all of it. */
  tokenId(text: string): Promise<string>;
}

/** A server named "tiny"; disposing it fails if it has logged anything. */
export async function startTestServer(): Promise<TestServer> {
  const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-serve-"));
  const problems: string[] = [];
  await writeModelFolder(folder, { maxPositions: 4096 });
  const server = await startServer({
    port: 0,
    servedName: ["tiny", "deepseek-chat"],
    allowOrigins: ["http://page.example"],
    bodyLimit: 100_000,
    log: (line) => problems.push(line),
    engine: { model: folder, threads: 1, maxBatch: 8, maxQueue: 32 },
  });
  return {
    folder,
    server,
    client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 0 }),
    post: (path, body, headers) => post(server, path, body, headers),
    metric: (name) => metricOf(server, name),
    async tokenId(text) {
      const { body } = await post(server, "/tokenize", { text, parse_special: true });
      expect(body.count).toBe(1);
      return String(body.tokens[0]);
    },
    async [Symbol.asyncDispose]() {
      await server.close(1);
      rmSync(folder, { recursive: true, force: true });
      expect(problems).toEqual([]);
    },
  };
}
