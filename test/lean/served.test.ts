/** /v1/verify with the embedded Lean behind it: what clients get while other checks end early, are left, or lose their Lean. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../../src/engine/testing-folder.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { type RunningServer, startServer } from "../../src/serve/server.ts";
import { metricOf, post, until } from "../../src/serve/test-server.ts";
import { LIMIT, leanChildren, missing, openLean } from "./embedded-lean.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-served-"));
const problems: string[] = [];
const options = { timeoutMs: LIMIT };
const sum = "theorem t (n : Nat) : n + 0 = n";
/** Does not look at its limit, and takes minutes. */
const digits = "9".repeat(30_000);
const endless = {
  ...{ name: "endless", statement: `theorem t : ${digits} * ${digits} = 0 := sorry` },
  ...{ proof: `theorem t : ${digits} * ${digits} = 0 := by decide`, options },
};

describe.skipIf(missing !== null)(`proofs over HTTP ${missing ?? ""}`, () => {
  let lean: LeanSession;
  let server: RunningServer;
  beforeAll(async () => {
    lean = await openLean();
    await writeModelFolder(folder, { maxPositions: 256 });
    server = await startServer({
      ...{ port: 0, lean, log: (line: string) => void problems.push(line) },
      engine: { model: folder, threads: 1 },
    });
    await lean.ready();
  }, 10 * LIMIT);
  afterAll(async () => {
    await server?.close(1);
    await lean?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
    expect(problems).toEqual([]);
  });

  const item = (name: string, proof: string) => ({ name, statement: `${sum} := sorry`, proof, options });
  const mixed = [
    item("honest", `${sum} := by simp`),
    item("another statement", "theorem t (n : Nat) : True := trivial"),
    item("an axiom", `axiom cheat (p : Prop) : p\n${sum} := cheat _`),
    item("left out", `${sum} := by sorry`),
    { ...item("with a preamble", "theorem u : two = 2 := rfl"), statement: "theorem u : two = 2 := sorry" },
  ];
  mixed[4] = { ...mixed[4], preamble: "def two : Nat := 2" } as (typeof mixed)[0];
  const right = [
    ["honest", "proved"],
    ["another statement", "changed statement"],
    ["an axiom", "refused"],
    ["left out", "sorry"],
    ["with a preamble", "proved"],
  ];
  const told = (data: readonly { name: string; verdict: string }[]) =>
    data.map(({ name, verdict }) => [name, verdict]);

  it("proves what holds and refuses cheats", { timeout: 5 * LIMIT }, async () => {
    const { status, body } = await post(server, "/v1/verify", { items: mixed });
    expect([status, told(body.data)]).toEqual([200, right]);
    const one = await post(server, "/v1/verify", mixed[0]);
    expect(one.body).toMatchObject({ object: "verdict", verdict: "proved", theorem: "t", axioms: [] });
  });

  it.skipIf(process.platform !== "linux")(
    "asks a new Lean for those whose Lean is killed",
    { timeout: 10 * LIMIT },
    async () => {
      const [child] = leanChildren();
      const answer = post(server, "/v1/verify", { items: mixed });
      await until(async () => (await metricOf(server, "deepseek_ts_proofs_waiting")) > 0);
      process.kill(child, "SIGKILL");
      expect(told((await answer).body.data)).toEqual(right);
      expect(leanChildren()).not.toContain(child);
    },
  );

  it("ends the check of a client that has left, and serves the next", { timeout: 10 * LIMIT }, async () => {
    const leaving = new AbortController();
    const left = fetch(`${server.url}/v1/verify`, {
      ...{ method: "POST", signal: leaving.signal, headers: { "content-type": "application/json" } },
      body: JSON.stringify(endless),
    });
    await until(async () => (await metricOf(server, "deepseek_ts_proofs_waiting")) === 1);
    leaving.abort();
    await expect(left).rejects.toThrow();
    const { body } = await post(server, "/v1/verify", { items: mixed });
    expect(told(body.data)).toEqual(right);
    expect(await metricOf(server, "deepseek_ts_proofs_waiting")).toBe(0);
  });
});
