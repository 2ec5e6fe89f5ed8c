/** `deepseek-ts synthesize` with the small prover of the repository: killed, resumed, its proofs verified, its model used. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-synthesize-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const { start, run } = commandsIn(work, { DEEPSEEK_TS_CACHE: cache });
const rows = (name: string): Record<string, unknown>[] =>
  readFileSync(join(work, name), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** The small prover translates them to other existence statements than these, some of them true and some false. */
const PROBLEMS = [
  "Show that some natural number y is such that 3y is equal to 72.",
  "Show that there is a natural number s such that s is greater than 17 and 722 is the same as 2s^2.",
  "Why is it true that there is a natural number b such that 199 is equal to 8b + 7 and 22 is less than b?",
  "Show that some integer k is such that -2k + 26 = 86.",
  "Show that some integer s is such that -11s is equal to 319.",
  "Is it true that some natural number u is such that 98 equals 7u? Show that it is.",
];
const args = ["synthesize", "problems.jsonl", "--out", "out", "--per-statement", "8", "--translations", "2"];
const small = ["--no-grading", "--parallel", "1", "--epochs", "1", "--seed", "1"];

beforeAll(() => {
  const lines = PROBLEMS.map((informal, i) => JSON.stringify({ informal, name: `p${i}`, truth: "true" }));
  writeFileSync(join(work, "problems.jsonl"), `${lines.join("\n")}\n`);
});

describe.skipIf(missing !== null)("synthesize", () => {
  it("goes on after a kill, keeps every proof with its provenance, and gives a model", {
    timeout: 20 * LIMIT,
  }, async () => {
    const { child, ended } = start([...args, ...small, "--json"]);
    let lines = 0;
    child.stdout.on("data", (data: string) => {
      lines += data.split("\n").length - 1;
      // In the middle of the round.
      if (lines > 24) child.kill("SIGKILL");
    });
    const killed = await ended();
    expect(killed.signal).toBe("SIGKILL");
    const again = await run(...args, ...small);
    expect([again.code, again.err]).toEqual([1, expect.stringContaining("--resume")]);
    const other = await run(...args, ...small, "--resume", "--per-statement", "9");
    expect([other.code, other.err]).toEqual([
      1,
      expect.stringMatching(/perStatement 8; found: perStatement 9/),
    ]);
    const whole = await run(...args, ...small, "--resume");
    expect(whole.err).toContain("1 round done");
    expect(whole.code).toBe(0);
    expect(whole.out).toMatch(/after round 1\nformalize .*\n[\s\S]*refutation: .* precision/);
    const statements = rows("out/statements.jsonl");
    const places = statements.map(({ source, round, sample }) => `${source} ${round} ${sample}`);
    expect(new Set(places).size).toBe(2 * PROBLEMS.length);
    expect(places.length).toBe(2 * PROBLEMS.length);
    const proofs = rows("out/proofs.jsonl");
    expect(proofs.length).toBeGreaterThan(0);
    for (const { model, search, side } of proofs) {
      expect([model, search, side]).toEqual([
        expect.stringContaining("world-prover"),
        expect.stringMatching(/^(prove 0|vacuity)$/),
        expect.stringMatching(/^(statement|negation|vacuous)$/),
      ]);
    }
    const decided = statements.filter(({ outcome }) => /^(proved|refuted|vacuous)$/.test(outcome as string));
    expect(new Set(proofs.map(({ statement_id }) => statement_id)).size).toBe(decided.length);
    const verified = await run("verify", "out/proofs.jsonl", "--parallel", "1");
    expect([verified.code, verified.err]).toEqual([
      0,
      expect.stringContaining(`${proofs.length} of ${proofs.length} theorem`),
    ]);
    expect(existsSync(join(work, "out", "training-1", "step-00000001"))).toBe(false);
    // Nothing is left to do, so nothing is asked and nothing changes.
    const nothing = await run(...args, ...small, "--resume");
    expect([nothing.code, nothing.out]).toEqual([0, ""]);
    expect(rows("out/proofs.jsonl")).toEqual(proofs);
    const described = await run("inspect", "out/round-1");
    expect([described.code, described.out]).toEqual([0, expect.stringMatching(/type +llama/)]);
  });

  it("refuses a folder with something else", { timeout: LIMIT }, async () => {
    writeFileSync(join(work, "note.txt"), "mine");
    const found = await run("synthesize", "problems.jsonl", "--out", ".", "--parallel", "1");
    expect([found.code, found.err]).toEqual([1, expect.stringContaining("something else")]);
  });
});
