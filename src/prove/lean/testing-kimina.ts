/**
 * Test helper: the HTTP interface of a Kimina Lean server over a REPL, with its habits as they are in `server/routers/check.py`,
 * `server/split.py` and `server/repl.py` of project-numina/kimina-lean-server: lines end where Python's `splitlines` ends them,
 * a REPL without imports goes on behind the text before, places in messages count from the text's first line and those in
 * trees from the first behind the imports.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type ReplCommand, ReplEnded, ReplProcess } from "./repl/process.ts";

export interface TestingKimina extends AsyncDisposable {
  readonly url: string;
}

interface Place {
  line: number;
}
interface Answer {
  messages?: { pos?: Place; endPos?: Place }[];
  env?: number;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: where Python's splitlines ends a line
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

export async function startKimina(command: ReplCommand, key: string): Promise<TestingKimina> {
  let free: { readonly header: string; readonly repl: ReplProcess } | null = null;
  const running = new Set<ReplProcess>();
  const start = () => {
    const repl = new ReplProcess(command);
    running.add(repl);
    return repl;
  };

  async function run(code: string, seconds: number, infotree: string | null): Promise<object> {
    const lines = code.split(LINE_END);
    let count = 0;
    while (count < lines.length && (lines[count].trim() === "" || lines[count].trim().startsWith("import ")))
      count++;
    const header = [...new Set(lines.slice(0, count).map((line) => line.trim()))]
      .filter((line) => line !== "")
      .join("\n");
    const body = lines.slice(count).join("\n");
    const limits = { timeout: seconds * 1000, memory: Number.POSITIVE_INFINITY };
    const reused = free?.header === header && !free.repl.ended ? free.repl : null;
    if (reused === null) free?.repl.kill();
    const repl = reused ?? start();
    free = null;
    let what = "header command";
    try {
      if (reused === null && header !== "") await repl.ask({ cmd: header }, limits);
      what = "command";
      const env = repl.uses > 0 ? { env: 0 } : {};
      const answer = (await repl.ask(
        { cmd: body, ...env, ...(infotree ? { infotree } : {}) },
        limits,
      )) as Answer;
      for (const { pos, endPos } of answer.messages ?? []) {
        if (pos) pos.line += count;
        if (endPos) endPos.line += count;
      }
      free = { header, repl };
      return { response: answer };
    } catch (error) {
      repl.kill();
      if (error instanceof ReplEnded && error.why === "timeout") {
        return { error: `Lean REPL ${what} timed out in ${seconds.toFixed(1)} seconds` };
      }
      throw error;
    }
  }

  const server: Server = createServer(async (request, response) => {
    const reply = (status: number, body: object) =>
      void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (request.method !== "POST" || request.url !== "/api/check") return reply(404, { detail: "Not Found" });
    if (request.headers.authorization !== `Bearer ${key}`) return reply(401, { detail: "Invalid API key" });
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk;
    const { snippets, timeout, infotree = null } = JSON.parse(text);
    if (!Number.isInteger(timeout) || snippets.length !== 1) return reply(422, { detail: "Unprocessable" });
    const [{ id, code }] = snippets;
    if (free === null && running.size > 0 && [...running].some((repl) => !repl.ended))
      return reply(429, { detail: "No available REPLs" });
    try {
      return reply(200, { results: [{ id, time: 0.1, ...(await run(code, timeout, infotree)) }] });
    } catch (error) {
      return reply(500, { detail: String(error) });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const repl of running) repl.kill();
      server.closeAllConnections();
      server.close();
    },
  };
}
