/** `serve` as a process: what it says, how it stops, how it ends if its engine crashes. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { writeModelFolder } from "../../engine/testing-folder.ts";
import { apiKeys, serveCommand } from "./serve.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-serve-cli-"));
const model = join(work, "tiny-model");
const program = join(work, "program.ts");
const crashing = join(work, "crashing.mjs");
/** The seed of a request at which the engine's thread dies. */
const DEADLY = 13;
/** However busy the machine is. */
const PATIENT = { timeout: 30_000, interval: 5 };
const started: ChildProcess[] = [];
beforeAll(async () => {
  await writeModelFolder(model, { maxPositions: 16_384 });
  // The command alone, so that the test does not depend on the others.
  const command = JSON.stringify(new URL("./serve.ts", import.meta.url).href);
  writeFileSync(
    program,
    `import { serveCommand } from ${command};\n` +
      `await serveCommand().parseAsync(process.argv.slice(2), { from: "user" });\n`,
  );
  // Runs in every thread before its file.
  writeFileSync(
    crashing,
    `import { parentPort, workerData } from "node:worker_threads";
    if (workerData?.model !== undefined) {
      if (process.env.CRASH === "loading") throw new Error("the roof fell in");
      parentPort.on("message", ({ type, request }) => {
        if (type === "submit" && request.seed === ${DEADLY}) throw new Error("the roof fell in");
      });
    }`,
  );
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const start = (...args: string[]) => startNode([], args);

function startNode(nodeOptions: string[], args: string[], variables: Record<string, string> = {}) {
  const env = { ...process.env, DEEPSEEK_TS_API_KEY: "from-the-environment", ...variables };
  const fixed = [program, model, "--port", "0", "--threads", "1"];
  const child = spawn(process.execPath, [...nodeOptions, ...fixed, ...args], { env });
  started.push(child);
  let [out, err] = ["", ""];
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const url = new Promise<string>((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      out += `${line}\n`;
      const found = /^listening on (\S+)\/v1$/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, out, err }));
  return { child, url, ended };
}

const headers = { authorization: "Bearer from-the-environment", "content-type": "application/json" };

it("says what it serves and where, and ends with status 0 once its streams have", async () => {
  // The engine's thread starts whatever options Node got.
  const { child, url, ended } = startNode(["--max-old-space-size=1000"], ["--served-name", "mine"]);
  const body = JSON.stringify({ prompt: "the", max_tokens: 300, ignore_eos: true, stream: true });
  expect((await fetch(`${await url}/v1/models`)).status).toBe(401);
  const response = await fetch(`${await url}/v1/completions`, { method: "POST", body, headers });
  expect(response.status).toBe(200);
  child.kill("SIGTERM");
  expect((await response.text()).endsWith("data: [DONE]\n\n")).toBe(true);
  const { code, out, err } = await ended;
  expect(code).toBe(0);
  expect(out).toMatch(/^mine: deepseek_v3, [\d.]+k parameters/);
  expect(out).toContain("/v1/chat/completions");
  expect(out).not.toContain("from-the-environment");
  expect(err).toContain("shutting down");
});

/** The Authorization header that a shell makes of a line of the start. */
const inShell = (header: string, variable: string) =>
  execFileSync("sh", ["-c", `printf %s ${header}`], {
    env: { DEEPSEEK_TS_API_KEY: variable },
    encoding: "utf8",
  });

it("shows a header that carries a key, but no key that came from the environment", () => {
  expect(apiKeys([], undefined)).toEqual({ all: [], header: null });
  expect(apiKeys([], " , ")).toEqual({ all: [], header: null });
  expect(apiKeys(["a"], "b,a")).toEqual({ all: ["a", "b"], header: "'Authorization: Bearer a'" });
  for (const [variable, all] of [
    ["s3cret", ["s3cret"]],
    ["s3cret,other", ["s3cret", "other"]],
  ] as const) {
    const keys = apiKeys([], variable);
    expect(keys.all).toEqual(all);
    expect(keys.header).not.toContain("s3cret");
    expect(inShell(keys.header!, variable)).toBe("Authorization: Bearer s3cret");
  }
  expect(apiKeys([], " s3cret ,b").header).toBe('"Authorization: Bearer <a key of DEEPSEEK_TS_API_KEY>"');
  const odd = apiKeys(["it's$(id)`id`\\"], undefined);
  expect(inShell(odd.header!, "")).toBe("Authorization: Bearer it's$(id)`id`\\");
});

it("refuses keys that no header can carry, without showing them", async () => {
  for (const key of ["a b", "", "k\u00e9y", "tab\t"]) {
    const { code, out, err } = await start("--api-key", key).ended;
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain("cannot be sent in a header");
    if (key !== "") expect(err).not.toContain(key);
  }
});

it("answers under all the names it was given, and to hosts and pages that are let in", async () => {
  const names = ["--served-name", "it's", "--served-name", "two"];
  const { child, url, ended } = start(
    ...names,
    "--allow-host",
    "proxy.example",
    "--allow-origin",
    "https://a.example",
  );
  const response = await fetch(`${await url}/models`, {
    headers: { ...headers, origin: "https://a.example" },
  });
  expect((await response.json()).data.map(({ id }: { id: string }) => id)).toEqual(["it's", "two"]);
  expect(response.headers.get("access-control-allow-origin")).toBe("https://a.example");
  child.kill("SIGTERM");
  const { out } = await ended;
  const data = /-d (.*)$/m.exec(out)![1];
  expect(JSON.parse(execFileSync("sh", ["-c", `printf %s ${data}`], { encoding: "utf8" })).model).toBe(
    "it's",
  );
});

it("stops waiting where it may not", async () => {
  const { child, url, ended } = start("--drain", "0");
  const body = JSON.stringify({ prompt: "the", max_tokens: 4000, ignore_eos: true, stream: true });
  const response = await fetch(`${await url}/v1/completions`, { method: "POST", body, headers });
  child.kill("SIGINT");
  expect(await response.text()).toContain("shutting_down");
  expect((await ended).code).toBe(0);
});

it("ends with status 1 where the engine's thread crashes, and leaves nobody waiting", async () => {
  const { url, ended } = startNode(["--import", pathToFileURL(crashing).href], ["--max-batch", "1"]);
  const endless = { prompt: "the", max_tokens: 16_000, ignore_eos: true };
  const complete = async (more: object) =>
    fetch(`${await url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ ...endless, ...more }),
      headers,
    });
  // Somebody who never sends the rest of a request.
  const slow = connect({ port: Number(new URL(await url).port), host: "127.0.0.1" });
  slow.on("error", () => {}).resume();
  const slowClosed = new Promise((resolve) => slow.on("close", resolve));
  slow.write(
    "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer from-the-environment\r\n" +
      "Content-Length: 100\r\n\r\n{",
  );
  const streamed = await complete({ stream: true });
  expect(streamed.status).toBe(200);
  const waiting = complete({});
  await vi.waitFor(async () => {
    expect(await (await fetch(`${await url}/health`)).json()).toMatchObject({ status: "ok", active: 2 });
  }, PATIENT);
  const deadly = complete({ seed: DEADLY });
  const events = await streamed.text();
  const last = JSON.parse(
    events
      .trim()
      .split("\n\n")
      .at(-1)!
      .replace(/^data: /, ""),
  );
  expect(last.error).toMatchObject({ type: "server_error", code: "engine_failed" });
  expect(last.error.message).toContain("the roof fell in");
  for (const response of await Promise.all([waiting, deadly])) {
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual(last);
  }
  const { code, err } = await ended;
  expect(code).toBe(1);
  expect(err).toContain("error: the engine failed: the roof fell in\n");
  expect(err).toContain("crashing.mjs");
  await slowClosed;
});

it("ends with status 1 where the engine's thread crashes before its model is open", async () => {
  const node = ["--import", pathToFileURL(crashing).href];
  const { code, out, err } = await startNode(node, [], { CRASH: "loading" }).ended;
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toContain("the roof fell in");
});

it("fails where there is no model, and has help with examples", async () => {
  const child = spawn(process.execPath, [program, join(work, "none"), "--port", "0"]);
  const [code] = (await once(child, "close")) as [number];
  expect(code).toBe(1);
  let help = "";
  serveCommand()
    .configureOutput({ writeOut: (text) => (help += text) })
    .outputHelp();
  expect(help).toMatch(/Examples:\n {2}deepseek-ts serve/);
  expect(help).toContain("--max-queue");
});
