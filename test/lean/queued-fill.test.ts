/** The `sorry`s of a file, filled by processes that meet in a real Redis or Valkey, each of which is killed once. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { redisProgram, startRedis } from "../../src/jobs/testing-redis.ts";
import type { UnitEnd } from "../../src/prove/fill/fill.ts";
import { Prover } from "../../src/prove/prover/prover.ts";
import { LIMIT, missing, openLean } from "./embedded-lean.ts";
import { OPTIONS, PARTS, SOURCE, writer } from "./fill-worker.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-queued-fill-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const program = fileURLToPath(new URL("fill-worker.ts", import.meta.url));
const at = (name: string) => join(work, name);

/** The same in one process. */
async function direct() {
  await using lean = await openLean();
  const close = async () => {};
  await using prover = new Prover({ ...PARTS, generator: writer(), lean, store: null, close });
  writeFileSync(at("alone.lean"), SOURCE);
  return await prover.fill(at("alone.lean"), OPTIONS);
}

const withoutChecks = (ends: readonly UnitEnd[]) =>
  ends.map((end) => ("cost" in end ? { ...end, cost: { ...end.cost, checks: 0 } } : end));

it.skipIf(missing !== null || redisProgram === null)(
  "fills a file as one process does: nothing is lost or counted twice when those who work, and who asks, are killed",
  { timeout: 20 * LIMIT },
  async () => {
    const wanted = await direct();
    expect(wanted.units.map(({ end }) => end.outcome)).toEqual([
      ...["proved", "proved", "proved", "proved", "proved", "open"],
    ]);
    using redis = await startRedis();
    const file = at("shared.lean");
    writeFileSync(file, SOURCE);
    const children: ChildProcess[] = [];
    let said = "";
    const start = (kind: string): ChildProcess => {
      const child = spawn(process.execPath, [program, redis.url, at("store.sqlite"), kind, file], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      children.push(child);
      child.stdout!.setEncoding("utf8").on("data", (text: string) => {
        if (kind === "fill") said += text;
      });
      return child;
    };
    const ended = () => said.split("\n").filter((line) => line === "ended").length;
    try {
      const workers = new Map(["generate", "verify", "search"].map((kind) => [kind, start(kind)]));
      const first = start("fill");
      await expect.poll(ended, { timeout: 10 * LIMIT }).toBeGreaterThanOrEqual(1);
      for (const [kind, child] of workers) {
        child.kill("SIGKILL");
        start(kind);
      }
      await expect.poll(ended, { timeout: 10 * LIMIT }).toBeGreaterThanOrEqual(2);
      first.kill("SIGKILL");
      await once(first, "close");
      expect(readFileSync(file, "utf8")).toBe(SOURCE);
      said = "";
      await once(start("fill"), "close");
      // With what they cost. Checks are those of the process that tells, which are none here.
      expect(withoutChecks(JSON.parse(said.trim().split("\n").at(-1)!))).toEqual(
        withoutChecks(wanted.units.map(({ end }) => end)),
      );
      expect(readFileSync(file, "utf8")).toBe(wanted.text);
    } finally {
      for (const child of children) child.kill("SIGKILL");
    }
  },
);
