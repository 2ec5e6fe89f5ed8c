/** What happens to checks when servers die, hang, are closed, or are sent what no program would send. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { type PreparedLean, prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { cache, LIMIT, leanChildren, missing, openLean } from "./embedded-lean.ts";

const program = fileURLToPath(new URL("../../src/prove/lean/wasm/lean-process.ts", import.meta.url));
const sum = { statement: "theorem t (n : Nat) : n + 0 = n := sorry" };
const proof = "theorem t (n : Nat) : n + 0 = n := by simp";

describe.skipIf(missing !== null)(`a session of the embedded Lean ${missing ?? ""}`, () => {
  let lean: LeanSession;
  beforeAll(async () => {
    lean = await openLean();
    await lean.ready();
  }, 10 * LIMIT);
  afterAll(() => lean?.[Symbol.asyncDispose]());

  it("ends a check at its limit, and goes on", { timeout: 5 * LIMIT }, async () => {
    const slow = "theorem t : (List.range 400000).foldl (· + ·) 0 = 1 := by decide +kernel";
    const statement = "theorem t : (List.range 400000).foldl (· + ·) 0 = 1 := sorry";
    const late = await lean.verify({ statement }, slow, { timeout: 300, heartbeats: 0 });
    expect(["timeout", "kernel", "error"]).toContain(late.verdict);
    expect((await lean.verify(sum, proof, { timeout: LIMIT })).verdict).toBe("proved");
  });

  it("answers a stopped caller at once, and the next one too", { timeout: 5 * LIMIT }, async () => {
    const controller = new AbortController();
    const stopped = lean.verify(sum, proof, { timeout: LIMIT, signal: controller.signal });
    const next = lean.verify(sum, proof, { timeout: LIMIT });
    controller.abort(new Error("enough"));
    await expect(stopped).rejects.toThrow("enough");
    expect((await next).verdict).toBe("proved");
    await expect(lean.verify(sum, proof, { signal: controller.signal })).rejects.toThrow("enough");
  });

  it("refuses what Lean would not survive, without asking it", async () => {
    const deep = await lean.verify(sum, `theorem t := ${"(".repeat(2000)}`);
    expect(deep).toMatchObject({ verdict: "refused", detail: expect.stringContaining("nested too deeply") });
    expect((await lean.verify(sum, "x".repeat(100_000))).verdict).toBe("refused");
    expect((await lean.verify({ statement: "x".repeat(100_000) }, proof)).verdict).toBe("bad statement");
    expect((await lean.check({ code: "a\ud800" })).refused?.reason).toContain("surrogate");
    const mathlib = await lean.verify({ ...sum, imports: ["Mathlib"] }, proof);
    expect(mathlib).toMatchObject({ verdict: "bad preamble", detail: expect.stringContaining("Mathlib") });
  });

  it.skipIf(process.platform !== "linux")(
    "asks again when someone kills the server in the middle, and leaves no process",
    { timeout: 10 * LIMIT },
    async () => {
      const before = leanChildren();
      expect(before).toHaveLength(1);
      const asked = Array.from({ length: 6 }, (_, i) =>
        lean.verify(
          { statement: `theorem t : ${i} + ${i} = ${2 * i} := sorry` },
          `theorem t : ${i} + ${i} = ${2 * i + (i % 2)} := by decide`,
          { timeout: LIMIT },
        ),
      );
      process.kill(before[0], "SIGKILL");
      const verdicts = (await Promise.all(asked)).map(({ verdict }) => verdict);
      expect(verdicts).toEqual(["proved", "error", "proved", "error", "proved", "error"]);
      expect(leanChildren()).not.toEqual(before);
      await lean[Symbol.asyncDispose]();
      expect(leanChildren()).toEqual([]);
      await expect(lean.verify(sum, proof)).rejects.toThrow(/closed/);
    },
  );
});

/** One server, spoken to directly. */
class RawServer {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  #rest = "";
  readonly #lines: Record<string, unknown>[] = [];
  #arrived: () => void = () => {};

  constructor({ base, server }: PreparedLean) {
    this.child = spawn(process.execPath, [program, "serve", base, server], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.child.stdin.on("error", () => {});
    this.child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop()!;
      this.#lines.push(...lines.map((line) => JSON.parse(line) as Record<string, unknown>));
      this.#arrived();
    });
  }

  /** The next line that says more than how much memory there is. */
  async next(): Promise<Record<string, unknown>> {
    for (;;) {
      const line = this.#lines.shift();
      if (line === undefined) await new Promise<void>((resolve) => (this.#arrived = resolve));
      else if (!("memory" in line)) return line;
    }
  }
}

describe.skipIf(missing !== null)(`the server process ${missing ?? ""}`, () => {
  let server: RawServer;
  let prepared: PreparedLean;
  beforeAll(async () => {
    prepared = await prepareLean({ cache });
    server = new RawServer(prepared);
    expect(await server.next()).toMatchObject({ ready: true });
  }, 10 * LIMIT);
  afterAll(() => void server?.child.kill("SIGKILL"));

  it("takes a request in pieces that end inside a character", { timeout: LIMIT }, async () => {
    const code = 'theorem t : "∀𝔸é".length = 3 := by decide';
    const bytes = Buffer.from(`${JSON.stringify({ id: "p", op: "check", code })}\n`);
    const cut = bytes.indexOf(Buffer.from("∀")) + 1;
    server.child.stdin.write(bytes.subarray(0, cut));
    await wait(50);
    server.child.stdin.write(bytes.subarray(cut, cut + 3));
    await wait(50);
    server.child.stdin.write(bytes.subarray(cut + 3));
    expect(await server.next()).toMatchObject({ id: "p", complete: true, messages: [] });
  });

  it("takes a line of a megabyte, and lines that are no requests", { timeout: 3 * LIMIT }, async () => {
    const send = (text: string) => server.child.stdin.write(`${text}\n`);
    send(
      JSON.stringify({ id: 1, op: "check", code: `-- ${"é".repeat(500_000)}\ntheorem t : True := trivial` }),
    );
    expect(await server.next()).toMatchObject({ id: 1, complete: true });
    send("no JSON");
    expect(await server.next()).toMatchObject({ id: null, error: expect.stringContaining("bad JSON") });
    send(JSON.stringify({ id: 2, op: "dance" }));
    expect(await server.next()).toMatchObject({ id: 2, error: expect.stringContaining("dance") });
    send(JSON.stringify({ id: 3, op: "check", env: 7, code: "" }));
    expect(await server.next()).toMatchObject({ id: 3, error: "unknown environment" });
    send(JSON.stringify({ id: 4, op: "ping" }));
    expect(await server.next()).toMatchObject({ id: 4, pong: true });
  });

  it("ends with its input, whatever it is doing", { timeout: LIMIT }, async () => {
    const code = `theorem t : ${"9".repeat(50_000)} * ${"9".repeat(50_000)} = 0 := by decide`;
    server.child.stdin.write(`${JSON.stringify({ id: "long", op: "check", code })}\n`);
    const ended = once(server.child, "exit");
    server.child.stdin.end();
    await ended;
    expect(server.child.signalCode).toBe("SIGKILL");
  });
});
