/** `deepseek-ts prove --queue` with workers in processes of their own: the small prover, real Lean, a real Redis or Valkey. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { redisProgram, startRedis } from "../../src/jobs/testing-redis.ts";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-workers-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const { start, run } = commandsIn(work, { DEEPSEEK_TS_CACHE: cache });

const row = (name: string, formal_statement: string) =>
  `${JSON.stringify({ name, split: "test", header: "", formal_statement })}\n`;

it("refuses a worker of no kind, or without a queue", { timeout: LIMIT }, async () => {
  const kind = await run("prover-worker", "all", "--queue", "redis://127.0.0.1:1", "--store", "a.sqlite");
  expect([kind.code, kind.err]).toEqual([2, expect.stringContaining("generate, verify, search")]);
  const place = ["--queue", "redis://127.0.0.1:1", "--store", "a.sqlite"];
  const other = await run("prover-worker", "search", ...place, "--dtype", "q4", "--no-download");
  expect([other.code, other.err]).toEqual([
    2,
    expect.stringContaining("--no-download, --dtype: not for workers of kind search"),
  ]);
  const queue = await run("prover-worker", "verify", "--store", "a.sqlite");
  expect([queue.code, queue.err]).toEqual([2, expect.stringContaining("--queue")]);
  const none = await run("prover-worker", "search", "--queue", "redis://127.0.0.1:1", "--store", "a.sqlite");
  expect([none.code, none.err]).toEqual([1, expect.stringMatching(/no Redis or Valkey answers/)]);
});

it.skipIf(missing !== null || redisProgram === null)(
  "proves a benchmark by workers, with the results of one process",
  { timeout: 20 * LIMIT },
  async () => {
    writeFileSync(
      join(work, "bench.jsonl"),
      row("sum", "theorem sum (a b : Nat) : a + b = b + a := by\n") +
        row("odd", "theorem odd (n : Nat) (h : 2 * n = 3) : n = 7 := by\n") +
        row("wrong", "theorem wrong (n : Nat) : n < 5 := by\n"),
    );
    using redis = await startRedis();
    const shared = ["--queue", redis.url, "--store", "shared.sqlite"];
    const own = { generate: ["--threads", "1"], verify: ["--parallel", "1"], search: [] };
    const ready = { generate: "writes with", verify: "checks with", search: "searches with" };
    const workers = (["generate", "verify", "search"] as const).map((kind) => {
      const { child, ended } = start(["prover-worker", kind, ...shared, ...own[kind]]);
      const says = new Promise<void>((resolve, reject) => {
        let said = "";
        child.stderr.on("data", (text: string) => {
          said += text;
          if (said.includes(ready[kind])) resolve();
        });
        child.once("close", () => reject(new Error(said)));
      });
      return { child, ended, says };
    });
    try {
      await Promise.all(workers.map(({ says }) => says));
      const args = ["prove", "bench.jsonl", "--samples", "6", "--seed", "5", "--json"];
      const queued = await run(...args, ...shared);
      expect([queued.code, queued.err]).toEqual([1, expect.stringContaining("left    odd")]);
      const results = (out: string) =>
        out
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line) as Record<string, unknown>)
          .filter(({ type }) => type === "ended" || type === "report");
      const found = results(queued.out);
      expect(found.map(({ name, samples }) => [name, samples])).toEqual([
        ["sum", 6],
        ["wrong", 6],
        [undefined, 12],
      ]);
      expect(found[0].right).toBeGreaterThan(0);
      for (const { child } of workers) child.kill("SIGINT");
      expect((await Promise.all(workers.map(({ ended }) => ended()))).map(({ code }) => code)).toEqual([
        ...[130, 130, 130],
      ]);
      // One process with the same store has nothing left to do.
      const alone = await run(...args, "--store", "shared.sqlite", "--parallel", "1");
      expect(results(alone.out)).toEqual(found);
      expect(alone.out).not.toContain('"type":"sample"');
    } finally {
      for (const { child } of workers) child.kill("SIGKILL");
    }
  },
);
