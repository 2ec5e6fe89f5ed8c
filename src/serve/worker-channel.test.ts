/** The engine's thread as a thread that dies, in several ways, and what the server makes of it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { type RunningServer, startServer } from "./server.ts";
import { post } from "./test-server.ts";
import { startEngineThread } from "./worker-channel.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-thread-"));
const model = join(folder, "model");
const thread = join(folder, "thread.mjs");
const broken = join(folder, "broken.mjs");
const ending = join(folder, "ending.mjs");
const LENGTH = 16_000;
/** However busy the machine is. */
const PATIENT = { timeout: 30_000, interval: 5 };

beforeAll(async () => {
  await writeModelFolder(model, { maxPositions: LENGTH });
  const worker = JSON.stringify(new URL("./engine-worker.ts", import.meta.url).href);
  // The engine's thread, but that the seed of a request says how it dies.
  writeFileSync(
    thread,
    `import threads, { parentPort } from "node:worker_threads";
    import { syncBuiltinESMExports } from "node:module";
    const kernels = [];
    threads.Worker = class extends threads.Worker {
      constructor(...given) {
        super(...given);
        kernels.push(this);
      }
    };
    syncBuiltinESMExports();
    const ways = {
      1: () => { throw new Error("the roof fell in"); },
      2: () => process.exit(7),
      3: () => { for (const kernel of kernels) kernel.terminate(); },
    };
    parentPort.on("message", ({ type, request }) => {
      if (type === "submit") ways[request.seed]?.();
    });
    await import(${worker});`,
  );
  writeFileSync(broken, `throw new Error("no roof at all");`);
  writeFileSync(ending, "process.exit(3);");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(file: string, log: (line: string) => void = () => {}): Promise<RunningServer> {
  const settings = { model, threads: 2, maxBatch: 2, cacheTokens: 4 * LENGTH };
  const engine = startEngineThread(settings, pathToFileURL(file));
  const server = await startServer({ port: 0, servedName: "tiny", engine, log });
  onTestFinished(() => server.close(0));
  return server;
}

it.each([
  { way: "an error that nobody catches", seed: 1, reason: /the roof fell in/, where: "thread.mjs" },
  { way: "its end", seed: 2, reason: /its thread ended with code 7/, where: "" },
  { way: "the end of a thread of its device", seed: 3, reason: /one of its threads has stopped/, where: "" },
])("tells everybody where the engine's thread dies: $way", async ({ seed, reason, where }) => {
  const lines: string[] = [];
  const server = await start(thread, (line) => lines.push(line));
  const complete = (more: object = {}) => {
    const body = { prompt: "the", max_tokens: LENGTH - 100, ignore_eos: true, seed: 9, ...more };
    return post(server, "/v1/completions", body);
  };
  const body = JSON.stringify({
    prompt: "of",
    max_tokens: LENGTH - 100,
    ignore_eos: true,
    seed: 9,
    stream: true,
  });
  const streamed = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json" },
  });
  expect(streamed.status).toBe(200);
  const running = complete();
  const engine = (figures: object) =>
    vi.waitFor(async () => expect(await server.engine.figures()).toMatchObject(figures), PATIENT);
  await engine({ running: 2 });
  const queued = complete();
  await engine({ waiting: 1, running: 2 });
  const wrote = (await server.engine.figures())!.generatedTokens;
  await vi.waitFor(
    async () => expect((await server.engine.figures())!.generatedTokens).toBeGreaterThan(wrote + 50),
    PATIENT,
  );
  const deadly = complete({ seed });

  const events = (await streamed.text()).trim().split("\n\n");
  expect(events.length).toBeGreaterThan(1);
  const last = JSON.parse(events.at(-1)!.replace(/^data: /, ""));
  expect(last.error).toMatchObject({ type: "server_error", code: "engine_failed" });
  expect(last.error.message).toMatch(reason);
  for (const { status, body } of await Promise.all([running, queued, deadly])) {
    expect(status).toBe(503);
    expect(body).toEqual(last);
  }
  expect(await server.failed).toMatch(reason);
  // And everybody who comes later.
  for (const path of ["/health", "/metrics", "/v1/models"]) {
    const response = await fetch(server.url + path);
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual(last);
  }
  expect(await complete()).toMatchObject({ status: 503, body: last });
  expect(server.engine.active).toBe(0);
  const log = lines.join("\n");
  expect(log).toContain("error: the engine failed: ");
  expect(log).toMatch(reason);
  expect(log).toContain(where);
  await server.close(0);
  await expect(fetch(`${server.url}/health`)).rejects.toThrow();
});

it("does not start a server over a thread that dies before its model is open", async () => {
  await expect(start(broken)).rejects.toThrow("no roof at all");
  await expect(start(ending)).rejects.toThrow("its thread ended with code 3");
});
