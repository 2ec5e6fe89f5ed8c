/** /v1/verify over HTTP before a session that a test steers: order, limits, what is refused, clients that leave, the end. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { LeanError } from "../prove/lean/lean-error.ts";
import type { CheckOptions, LeanProblem, LeanSession, VerifyAnswer } from "../prove/lean/session.ts";
import { type RunningServer, startServer } from "./server.ts";
import { metricOf, post, until } from "./test-server.ts";
import { MOST_PROOFS } from "./verify-request.ts";

interface Asked {
  readonly problem: LeanProblem;
  readonly code: string;
  readonly options: CheckOptions;
  answer(part: Partial<VerifyAnswer>): void;
  fail(error: Error): void;
}

const nothing: VerifyAnswer = {
  ...{ complete: true, messages: [], sorries: [], refused: null, failure: null, steps: [], milliseconds: 3 },
  ...{ verdict: "proved", detail: "", name: "t", axioms: [] },
};

/** Waits for the test to answer; at most two at a time, as a pool of two Leans. */
class SteeredLean implements LeanSession {
  readonly kind = "wasm";
  readonly version = "Lean of this test";
  readonly slots = 2;
  readonly asked: Asked[] = [];
  stopped = 0;

  async check(): Promise<never> {
    throw new Error("only verdicts are asked for");
  }
  verify(problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.stopped++;
        reject(options.signal?.reason);
      };
      if (options.signal?.aborted) return stop();
      options.signal?.addEventListener("abort", stop, { once: true });
      this.asked.push({
        ...{ problem, code, options, fail: reject },
        answer: (part) => resolve({ ...nothing, ...part }),
      });
    });
  }
  async ready(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-serve-verify-"));
const open: RunningServer[] = [];
const problems: string[] = [];
beforeAll(() => writeModelFolder(folder, { maxPositions: 256 }));
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close(0)));
  expect(problems.splice(0)).toEqual([]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(lean?: LeanSession): Promise<RunningServer> {
  const log = (line: string) => void problems.push(line);
  const server = await startServer({
    ...{ port: 0, servedName: "tiny", log, lean },
    engine: { model: folder, threads: 1 },
  });
  open.push(server);
  return server;
}

const statement = "theorem t : 1 + 1 = 2 := sorry";
const proof = "theorem t : 1 + 1 = 2 := rfl";
const item = (name: string) => ({ name, statement, proof });

describe("/v1/verify", () => {
  it("says how to have a Lean where there is none", async () => {
    const { status, body } = await post(await start(), "/v1/verify", item("a"));
    expect([status, body.error]).toEqual([
      501,
      expect.objectContaining({ code: "lean_not_started", message: expect.stringContaining("--lean wasm") }),
    ]);
  });

  it("hands a problem with its limits to Lean, and tells what it says", async () => {
    const lean = new SteeredLean();
    const server = await start(lean);
    const answer = post(server, "/v1/verify", {
      ...{
        formal_statement: "theorem t : 1 + 1 = 2 := by\n",
        formal_proof: "  rfl",
        header: "import Init\nopen Nat\n",
      },
      options: { timeoutMs: 3000, maxHeartbeats: 7 },
    });
    await until(async () => lean.asked.length === 1);
    const [{ problem, code, options, answer: give }] = lean.asked;
    expect(problem).toEqual({
      statement,
      preamble: "open Nat",
      imports: ["Init"],
      trustedPreamble: undefined,
    });
    expect([code, options.timeout, options.heartbeats]).toEqual([
      "theorem t : 1 + 1 = 2 := by\n  rfl",
      ...[3000, 7],
    ]);
    give({ verdict: "forbidden axiom", axioms: ["sneaky"], detail: "x".repeat(5000) });
    const { status, body } = await answer;
    expect([status, body]).toEqual([
      200,
      {
        ...{ object: "verdict", name: "proof", verdict: "forbidden axiom", theorem: "t", axioms: ["sneaky"] },
        ...{ detail: `${"x".repeat(4000)} ..`, milliseconds: 3 },
      },
    ]);
    expect(await metricOf(server, 'deepseek_ts_proofs_verified_total{verdict="forbidden axiom"}')).toBe(1);
  });

  it("tells verdicts in the order asked, whichever comes first, as many at a time as there are Leans", async () => {
    const lean = new SteeredLean();
    const server = await start(lean);
    const answer = post(server, "/v1/verify", { items: ["a", "b", "c"].map(item) });
    await until(async () => lean.asked.length === 2);
    expect(await metricOf(server, "deepseek_ts_proofs_waiting")).toBe(3);
    lean.asked[1].answer({ verdict: "sorry" });
    await until(async () => lean.asked.length === 3);
    lean.asked[2].answer({ verdict: "error" });
    lean.asked[0].answer({});
    const { body } = await answer;
    expect(body.data.map((one: { name: string; verdict: string }) => [one.name, one.verdict])).toEqual([
      ["a", "proved"],
      ["b", "sorry"],
      ["c", "error"],
    ]);
    expect(await metricOf(server, "deepseek_ts_proofs_waiting")).toBe(0);
  });

  it("streams verdicts as they come in order", async () => {
    const lean = new SteeredLean();
    const server = await start(lean);
    const response = await fetch(`${server.url}/v1/verify`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ items: ["a", "b"].map(item), stream: true }),
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    await until(async () => lean.asked.length === 2);
    lean.asked[0].answer({});
    expect((await reader.read()).value).toContain('"name":"a"');
    lean.asked[1].fail(new LeanError("Lean does not start", { hint: "Is there 1 GB of free memory?" }));
    let rest = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) rest += next.value;
    expect(rest).toMatch(/"message":"Lean does not start\. Is there 1 GB.*"code":"lean_unavailable"/);
  });

  it("stops the checks of a client that leaves, streamed or not", async () => {
    for (const stream of [false, true]) {
      const lean = new SteeredLean();
      const server = await start(lean);
      const leaving = new AbortController();
      const left = fetch(`${server.url}/v1/verify`, {
        ...{ method: "POST", signal: leaving.signal, headers: { "content-type": "application/json" } },
        body: JSON.stringify({ items: ["a", "b", "c", "d"].map(item), stream }),
      }).then((response) => response.text());
      await until(async () => lean.asked.length === 2);
      leaving.abort();
      await expect(left).rejects.toThrow();
      await until(async () => lean.stopped === 4);
      expect(lean.asked.length).toBe(2);
      await until(async () => (await metricOf(server, "deepseek_ts_proofs_waiting")) === 0);
    }
  });

  it("ends what runs when the server does, with the reason", async () => {
    const lean = new SteeredLean();
    const server = await start(lean);
    const answer = post(server, "/v1/verify", item("a"));
    await until(async () => lean.asked.length === 1);
    await server.close(0);
    const { status, body } = await answer;
    expect([status, body.error.code]).toEqual([503, "shutting_down"]);
  });

  it("answers 429 when too much waits, and has room again afterwards", async () => {
    const lean = new SteeredLean();
    const server = await start(lean);
    const leaving = new AbortController();
    const full = { items: Array.from({ length: MOST_PROOFS }, () => item("a")) };
    const waiting = Array.from({ length: 4 }, () =>
      fetch(`${server.url}/v1/verify`, {
        ...{ method: "POST", signal: leaving.signal, headers: { "content-type": "application/json" } },
        body: JSON.stringify(full),
      }).catch(() => null),
    );
    await until(async () => (await metricOf(server, "deepseek_ts_proofs_waiting")) === 4 * MOST_PROOFS);
    const { status, headers, body } = await post(server, "/v1/verify", item("one more"));
    expect([status, body.error.code]).toEqual([429, "queue_full"]);
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    leaving.abort();
    await Promise.all(waiting);
    await until(async () => (await metricOf(server, "deepseek_ts_proofs_waiting")) === 0);
    const asked = lean.asked.length;
    const answer = post(server, "/v1/verify", item("now"));
    await until(async () => lean.asked.length === asked + 1);
    lean.asked[asked].answer({});
    expect((await answer).status).toBe(200);
  });

  const unasked = new SteeredLean();
  let refusing: RunningServer;
  beforeAll(async () => {
    refusing = await start(unasked);
    open.splice(open.indexOf(refusing), 1);
  });
  afterAll(() => refusing.close(0));
  const many = (count: number) => Array.from({ length: count }, () => item("a"));
  it.each([
    [[], null, /must be a JSON object/],
    [{ items: {} }, "items", /must be a list/],
    [{ items: [] }, "items", /1 to 256 proofs; found 0/],
    [{ items: many(MOST_PROOFS + 1) }, "items", /1 to 256 proofs; found 257/],
    [{ items: [item("a"), 3] }, "items[1]", /items\[1\]: a proof must be an object; found: 3/],
    [{ items: [item("a"), { statement }] }, "items[1]", /expected: proof or formal_proof or code/],
    [{ items: [{ ...item("a"), proof: 3 }] }, "items[0].proof", /expected: a string; found: number/],
    [{ items: many(1), statement }, "statement", /cannot stand beside 'items'/],
    [{ ...item("a"), stream: true }, "stream", /needs 'items'/],
    [{ ...item("a"), timeout: 3 }, "timeout", /set 'options\.timeoutMs'/],
    [
      { ...item("a"), options: { trustedPreamble: true } },
      "options.trustedPreamble",
      /runs no code of requests/,
    ],
    [{ ...item("a"), options: { timeoutMs: 0 } }, "options.timeoutMs", /Too small/],
    [{ ...item("a"), options: { timeoutMs: 1e9 } }, "options.timeoutMs", /Too big/],
    [
      { items: [{ ...item("a"), options: { maxHeartbeats: 1e12 } }] },
      "items[0].options.maxHeartbeats",
      /Too big/,
    ],
    [{ ...item("a"), options: { env: 1 } }, "options.env", /an option of a proof cannot be obeyed/],
    [{ ...item("a"), imports: Array(65).fill("Init") }, "imports", /Too big/],
    [{ ...item("a"), strict: false }, "strict", /rules of text always hold/],
  ])("refuses by name before Lean is asked: %#", async (body, param, message) => {
    const answer = await post(refusing, "/v1/verify", body);
    expect([answer.status, answer.body.error]).toEqual([
      400,
      expect.objectContaining({ param, message: expect.stringMatching(message) }),
    ]);
    expect(unasked.asked).toEqual([]);
  });
});
