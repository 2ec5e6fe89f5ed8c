/** Requests as clients of OpenAI-compatible servers send them, made after public bug reports and captured from real clients. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningServer, startServer } from "../../src/serve/server.ts";
import { completionsAndRoutes } from "./completions-and-routes.ts";
import { historiesAndTools } from "./histories-and-tools.ts";
import { type RequestCase, sendAll, tinyModel } from "./request-cases.ts";
import { responses } from "./responses.ts";
import { samplingAndStreams } from "./sampling-and-streams.ts";

const main = join(import.meta.dirname, "../../src/cli/main.ts");
const groups: readonly (readonly [string, readonly RequestCase[]])[] = [
  ["the Responses interface", responses],
  ["histories and tools", historiesAndTools],
  ["completions and routes", completionsAndRoutes],
  ["sampling and streams", samplingAndStreams],
];

let server: RunningServer;
const problems: string[] = [];
beforeAll(async () => {
  server = await startServer({
    port: 0,
    servedName: "tiny",
    log: (line) => problems.push(line),
    engine: { model: tinyModel, threads: 1 },
  });
}, 60_000);
afterAll(async () => {
  await server.close(1);
  expect(problems).toEqual([]);
});

describe.each(groups)("%s", (_, cases) => {
  it.each(cases.filter(({ options }) => options === undefined))("$title", (entry) =>
    sendAll(server.url, entry),
  );
});

/** The address that `serve` prints. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const read = (part: Buffer) => {
      text += part;
      const found = /listening on (http:\S+?)\/v1/.exec(text);
      if (found) resolve(found[1]);
    };
    child.stdout!.on("data", read);
    child.stderr!.on("data", read);
    child.on("exit", () => reject(new Error(`serve ended: ${text}`)));
  });
}

describe("with options of the command", () => {
  const cases = groups.flatMap(([, entries]) => entries).filter(({ options }) => options !== undefined);
  it.each(cases)("$title", async (entry) => {
    const args = [main, "serve", tinyModel, "--port", "0", "--threads", "1", ...entry.options!];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    try {
      await sendAll(await listening(child), entry);
    } finally {
      child.kill("SIGKILL");
      await once(child, "close");
    }
  });
});
