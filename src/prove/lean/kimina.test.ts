/** What a session does around a Kimina server; a script answers. Real Lean: `own-lean.test.ts`. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { KiminaLean, type KiminaLeanOptions, openKimina } from "./kimina.ts";

interface Asked {
  readonly snippets: readonly { readonly id: string; readonly code: string }[];
  readonly timeout: number;
  readonly infotree: string | null;
}
type Script = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function serve(script: Script): Promise<string> {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    script(JSON.parse(body), response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const reply = (response: ServerResponse, result: object) =>
  response.end(JSON.stringify({ results: [result] }));
const answer = (
  { snippets: [{ id }] }: Asked,
  response: ServerResponse,
  messages: object[] = [],
  infotree?: unknown,
) =>
  reply(response, {
    id,
    time: 0.1,
    response: { env: 1, ...(messages.length > 0 ? { messages } : {}), infotree },
  });
const message = (line: number, data: string, severity = "info") => ({
  severity,
  pos: { line, column: 0 },
  data,
});

const open = async (script: Script, options: Partial<KiminaLeanOptions> = {}) =>
  new KiminaLean({ url: await serve(script), pause: 1, ...options }, "scripted");

const CODE = "theorem t : P := by\n  skip";

test("sends one text with imports, settings and limits, and places what is said in its part", async () => {
  const sent: Asked[] = [];
  const lean = await open(
    (asked, response, { headers }) => {
      sent.push(asked);
      expect(headers.authorization).toBe("Bearer secret");
      const info = (kind: string, line: number, children: object[] = []) => {
        const range = { synthetic: false, start: { line, column: 2 }, finish: { line, column: 6 } };
        const node = { name: kind, stx: { kind, range }, goalsBefore: ["⊢ P"], goalsAfter: [] };
        return { kind: "TacticInfo", children, node };
      };
      answer(
        asked,
        response,
        [message(9, "unsolved goals\n⊢ P", "error")],
        // Those of the preamble and behind the text are not asked for.
        [info("Lean.Parser.Tactic.tacticSeq", 3, [info("intro", 4), info("skip", 7), info("exact", 8)])],
      );
    },
    { key: "secret", imports: ["Mathlib", "Aesop"] },
  );
  const { messages, steps, complete } = await lean.check(
    { code: CODE, preamble: "open Nat\n-- 𝔸" },
    { steps: true, timeout: 2500, heartbeats: 7 },
  );
  expect(sent[0].snippets[0].code.split("\n")).toEqual([
    ...[
      "import Mathlib",
      "import Aesop",
      "set_option autoImplicit false",
      "set_option relaxedAutoImplicit false",
    ],
    ...["open Nat", "-- 𝔸", "set_option maxHeartbeats 7", "theorem t : P := by", "  skip"],
  ]);
  expect([sent[0].timeout, sent[0].infotree, complete]).toEqual([3, "original", false]);
  expect(messages.map(({ start, kind }) => [start.line, kind])).toEqual([[2, "Tactic.unsolvedGoals"]]);
  expect(steps.map(({ start, kind }) => [start.line, CODE.slice(start.index), kind])).toEqual([
    [2, "skip", "skip"],
  ]);
});

test("asks no more at once than the server has REPLs, in order; what is given up leaves its place", async () => {
  let [running, most] = [0, 0];
  const order: string[] = [];
  const lean = await open(
    (asked, response) => {
      most = Math.max(most, ++running);
      order.push(/-- (\w+)/.exec(asked.snippets[0].code)![1]);
      setTimeout(() => {
        running--;
        answer(asked, response);
      }, 20);
    },
    { slots: 2 },
  );
  const stop = new AbortController();
  const checks = ["a", "b", "c", "d", "e", "f"].map((name) =>
    lean.check({ code: `${CODE} -- ${name}` }, name === "d" ? { signal: stop.signal } : {}),
  );
  stop.abort(new Error("enough"));
  const ended = await Promise.allSettled(checks);
  expect(ended.map(({ status }) => status === "fulfilled")).toEqual([true, true, true, false, true, true]);
  expect(ended[3]).toMatchObject({ reason: { message: "enough" } });
  expect([most, running]).toEqual([2, 0]);
  expect([order.slice(0, 2).sort().join(""), order.slice(2).sort().join("")]).toEqual(["ab", "cef"]);
});

test("without imports it still imports, since the server would go on behind an earlier text", async () => {
  let text = "";
  const lean = await open((asked, response) => {
    text = asked.snippets[0].code;
    answer(asked, response);
  });
  await lean.check({ code: CODE });
  expect(text.split("\n")[0]).toBe("import Init");
});

test("asks once what the statement is called, and believes only what is said of the judged theorem", async () => {
  const texts: string[] = [];
  let forged = false;
  const lean = await open((asked, response) => {
    const lines = asked.snippets[0].code.split("\n");
    texts.push(asked.snippets[0].code);
    const at = (part: string) => lines.findIndex((line) => line.includes(part)) + 1;
    const check = /#check @(\S+)/.exec(asked.snippets[0].code)?.[1];
    const judged = /#print axioms (\S+)/.exec(asked.snippets[0].code)?.[1];
    if (check) return void answer(asked, response, [message(at("#check"), `${check} : P`)]);
    const name = forged ? "t" : judged;
    answer(asked, response, [
      message(at("#print _root_.t"), "theorem t : P"),
      message(at("#print axioms"), `'${name}' depends on axioms: [propext]`),
    ]);
  });
  const problem = { statement: "theorem t : P := sorry" };
  expect(await lean.verify(problem, CODE)).toMatchObject({
    verdict: "proved",
    name: "t",
    axioms: ["propext"],
  });
  expect((await lean.verify(problem, CODE)).verdict).toBe("proved");
  expect(texts.map((text) => /#check/.test(text))).toEqual([true, false, false]);
  const order = ["theorem _reference", "theorem t : P", "theorem _root_._judged"].map((part) =>
    texts[1].indexOf(part),
  );
  expect(order).toEqual([...order].sort((a, b) => a - b));
  expect(texts[1].match(/_judged_\w+/)?.[0]).not.toBe(texts[2].match(/_judged_\w+/)?.[0]);
  forged = true;
  expect((await lean.verify(problem, CODE)).verdict).toBe("error");
});

test("busy servers are asked again with a limit, text that breaks Lean once", async () => {
  let asked = 0;
  const busy = await open((request, response) => {
    if (++asked % 3 !== 0) response.writeHead(asked % 2 ? 429 : 503).end();
    else answer(request, response);
  });
  expect((await busy.check({ code: CODE })).complete).toBe(true);
  expect(asked).toBe(3);
  asked = 0;
  const always = await open(
    (_, response) => {
      asked++;
      response.writeHead(429).end();
    },
    { retries: 4 },
  );
  await expect(always.check({ code: CODE })).rejects.toThrow("found: HTTP 429");
  expect(asked).toBe(5);
  asked = 0;
  const broken = await open((_, response) => {
    asked++;
    response.writeHead(500).end("Snippet execution failed");
  });
  expect(await broken.check({ code: CODE })).toMatchObject({ failure: "crash", complete: false });
  expect(asked).toBe(2);
});

test("servers that are none, are away or want a key are errors that say what to do", async () => {
  const status = async (code: number, body = "") => {
    const lean = await open((_, response) => void response.writeHead(code).end(body));
    return lean.check({ code: CODE }).then(
      () => "answered",
      ({ message }) => message,
    );
  };
  expect(await status(401)).toContain("LEAN_SERVER_API_KEY");
  expect(await status(404)).toContain("address of a Kimina Lean server");
  expect(await status(200, "<html>")).toContain("no JSON: <html>");
  expect(await status(200, '{"results": []}')).toContain("no result");
  const gone = new KiminaLean({ url: "http://127.0.0.1:9", pause: 1, retries: 1 }, "");
  await expect(gone.check({ code: CODE })).rejects.toThrow("It was asked 2 times");
  await expect(openKimina({ url: "localhost:8000" })).rejects.toThrow("http://localhost:8000");
});

test("a check that timed out is no error, and imports of a new Lean have a time of their own", async () => {
  const late = await open(
    ({ snippets: [{ id }] }, response) =>
      void reply(response, { id, error: "Lean REPL command timed out in 1.0 seconds" }),
  );
  expect((await late.check({ code: CODE }, { timeout: 1000 })).failure).toBe("timeout");
  await expect(late.check({ code: CODE }, { timeout: 1e12 })).rejects.toThrow(/timeout; .*1000000000/);
  const times: [number, number][] = [];
  const cold = await open(
    (asked, response) => {
      times.push([asked.timeout, asked.snippets[0].code.split("\n").length]);
      const { id } = asked.snippets[0];
      if (times.length === 1)
        reply(response, { id, error: "Lean REPL header command timed out in 1.0 seconds" });
      else answer(asked, response);
    },
    { startTimeout: 60_000 },
  );
  expect((await cold.check({ code: CODE }, { timeout: 1000 })).failure).toBeNull();
  expect(times).toEqual([
    [1, 6],
    [60, 3],
    [1, 6],
  ]);
});

test("a signal ends the wait for an answer and the pause before the next try; closing ends all", async () => {
  const silent = await open(() => {});
  const controller = new AbortController();
  const waiting = silent.check({ code: CODE }, { signal: controller.signal });
  setTimeout(() => controller.abort(new Error("enough")), 50);
  await expect(waiting).rejects.toThrow("enough");
  const busy = await open((_, response) => void response.writeHead(429, { "retry-after": "20" }).end());
  await expect(busy.check({ code: CODE }, { signal: AbortSignal.timeout(50) })).rejects.toThrow("timeout");
  const closed = silent.check({ code: CODE });
  await silent[Symbol.asyncDispose]();
  await expect(closed).rejects.toThrow("closed");
});

test("the version is asked, or named by the user", async () => {
  const url = await serve((asked, response) => answer(asked, response, [message(4, '"4.26.0"')]));
  expect((await openKimina({ url })).version).toBe(`leanprover/lean4:v4.26.0 at ${url}`);
  expect((await openKimina({ url: "http://127.0.0.1:9", version: "mine" })).version).toBe("mine");
  const mute = await serve((asked, response) => answer(asked, response));
  await expect(openKimina({ url: mute })).rejects.toThrow("does not say its version");
});
