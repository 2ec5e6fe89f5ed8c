/** `serve` as a process: what it says, how it stops. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeModelFolder } from "../../serve/testing.ts";
import { serveCommand } from "./serve.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-serve-cli-"));
const model = join(work, "tiny-model");
const program = join(work, "program.ts");
beforeAll(async () => {
  await writeModelFolder(model, { maxPositions: 4096 });
  // The command alone, so that the test does not depend on the others.
  const command = JSON.stringify(new URL("./serve.ts", import.meta.url).href);
  writeFileSync(
    program,
    `import { serveCommand } from ${command};\n` +
      `await serveCommand().parseAsync(process.argv.slice(2), { from: "user" });\n`,
  );
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function start(...args: string[]) {
  const env = { ...process.env, DEEPSEEK_TS_API_KEY: "from-the-environment" };
  const child = spawn(process.execPath, [program, model, "--port", "0", "--threads", "1", ...args], { env });
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

const headers = { authorization: "Bearer from-the-environment" };

it("says what it serves and where, and ends with status 0 once its streams have", async () => {
  const { child, url, ended } = start("--served-name", "mine");
  const body = JSON.stringify({ prompt: "the", max_tokens: 300, ignore_eos: true, stream: true });
  expect((await fetch(`${await url}/v1/models`)).status).toBe(401);
  const response = await fetch(`${await url}/v1/completions`, { method: "POST", body, headers });
  expect(response.status).toBe(200);
  child.kill("SIGTERM");
  expect((await response.text()).endsWith("data: [DONE]\n\n")).toBe(true);
  const { code, out, err } = await ended;
  expect(code).toBe(0);
  expect(out).toMatch(/^mine: deepseek_v3, [\d.]+ K parameters/);
  expect(out).toContain("/v1/chat/completions");
  expect(err).toContain("stopping");
});

it("stops waiting where it may not", async () => {
  const { child, url, ended } = start("--drain", "0");
  const body = JSON.stringify({ prompt: "the", max_tokens: 4000, ignore_eos: true, stream: true });
  const response = await fetch(`${await url}/v1/completions`, { method: "POST", body, headers });
  child.kill("SIGINT");
  expect(await response.text()).toContain("shutting_down");
  expect((await ended).code).toBe(0);
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
