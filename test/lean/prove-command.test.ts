/** `deepseek-ts prove` as people start it, with the small prover of the repository. */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";

const example = fileURLToPath(new URL("../../examples/prove/basics.lean", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "deepseek-ts-prove-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const { run } = commandsIn(work, { DEEPSEEK_TS_CACHE: cache });
const at = (name: string) => join(work, name);
const read = (name: string) => readFileSync(at(name), "utf8");

describe("prove", () => {
  it("refuses what it cannot do, before anything is loaded", { timeout: LIMIT }, async () => {
    const both = await run("prove", example, "--write", "--patch", "a.patch");
    expect([both.code, both.err]).toEqual([2, expect.stringContaining("exclude each other")]);
    const gone = await run("prove", "gone.lean");
    expect([gone.code, gone.err]).toEqual([1, expect.stringMatching(/gone\.lean: no such file/)]);
    for (const [args, message] of [
      [["a.jsonl", example], "apart"],
      [["a.jsonl", "--write"], "--write: for Lean files only"],
      [[example, "--split", "test"], "--split: for benchmarks only"],
      [[example, "--queue", "redis://127.0.0.1:1", "--store", "a", "--dtype", "q4"], "--dtype: with --queue"],
      [["a.jsonl", "--queue", "redis://127.0.0.1:1"], "--queue needs --store"],
    ] as const) {
      const wrong = await run("prove", ...args);
      expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining(message)]);
    }
    const name = await run("prove", example, "--theorem", "add_swap", "--theorem", "add_swop");
    expect([name.code, name.err]).toEqual([1, expect.stringMatching(/--theorem.*add_swap.*found: add_swop/)]);
    const model = await run("prove", example, "--model", "./nowhere");
    expect([model.code, model.err]).toEqual([1, expect.stringContaining("nowhere")]);
  });

  it.skipIf(missing !== null)(
    "fills the example, as a patch and in place; what it found is kept",
    { timeout: 20 * LIMIT },
    async () => {
      copyFileSync(example, at("basics.lean"));
      const source = read("basics.lean");
      const kept = ["--store", "proofs.sqlite", "--samples", "400", "--parallel", "1", "--batch", "4"];
      const first = await run("prove", "basics.lean", ...kept);
      expect(first.err).toMatch(/proved {2}theorem add_swap, line 4/);
      expect(first.err).toMatch(/6 of 6 sorries proved by world-prover/);
      expect(first.code).toBe(0);
      expect(first.out).toMatch(/^--- a\/basics.lean\n\+\+\+ b\/basics.lean\n@@/);
      expect(read("basics.lean")).toBe(source);
      // The same again asks nothing of the model: the whole searches are in the store.
      const second = await run("prove", "basics.lean", ...kept, "--write", "--json");
      expect(second.code).toBe(0);
      const lines = second.out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { type: string });
      expect(lines.filter(({ type }) => type === "ended").length).toBe(6);
      const filled = read("basics.lean");
      expect(filled).not.toMatch(/\bsorry\b/);
      // Every line that held no sorry is there, in its order.
      const rest = source.split("\n").filter((line) => !line.includes("sorry"));
      let from = 0;
      for (const line of rest) {
        const found = filled.indexOf(line, from);
        expect(found, line).toBeGreaterThanOrEqual(from);
        from = found + line.length;
      }
      const verified = await run("verify", "basics.lean", "--parallel", "1");
      expect([verified.code, verified.out]).toEqual([0, expect.not.stringMatching(/error|sorry/)]);
      expect(existsSync(at("proofs.sqlite"))).toBe(true);
      // Without a model or a Lean.
      const nothing = await run("prove", "basics.lean", "--model", "./nowhere");
      expect([nothing.code, nothing.err]).toEqual([0, expect.stringContaining("nothing to prove")]);
    },
  );

  it("counts as open what stands in no theorem, and loads nothing for it", { timeout: LIMIT }, async () => {
    writeFileSync(at("loose.lean"), "#check (sorry : Nat)\n");
    const loose = await run("prove", "loose.lean", "--model", "./nowhere", "--json");
    expect([loose.code, loose.err]).toEqual([
      1,
      expect.stringContaining("left    line 1: it stands in no declaration"),
    ]);
    expect(JSON.parse(loose.out)).toEqual({ type: "plan", file: "loose.lean", units: [] });
  });

  it("names files that cannot be read, and goes on with the others", { timeout: LIMIT }, async () => {
    writeFileSync(at("loose.lean"), "#check (sorry : Nat)\n");
    writeFileSync(at("latin.lean"), Uint8Array.of(0x2d, 0x2d, 0xe4, 0x0a));
    const files = ["gone.lean", "loose.lean", "latin.lean"];
    const some = await run("prove", ...files, "--model", "./nowhere", "--json");
    expect(some.code).toBe(1);
    expect(some.err).toMatch(/^error: .*gone\.lean: no such file/m);
    expect(some.err).toMatch(/^error: .*latin\.lean/m);
    expect(some.err).toContain("left    line 1: it stands in no declaration");
    const lines = some.out.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { type: "failed", file: "gone.lean", reason: expect.stringContaining("no such file") },
      { type: "failed", file: "latin.lean" },
      { type: "plan", file: "loose.lean", units: [] },
    ]);
    // A theorem may be in the file that is gone.
    const named = await run("prove", ...files, "--theorem", "add_swop");
    expect([named.code, named.err]).toEqual([1, expect.not.stringContaining("--theorem")]);
  });

  it.skipIf(missing !== null)(
    "names files that Lean does not accept, and proves the others",
    { timeout: 10 * LIMIT },
    async () => {
      writeFileSync(at("broken.lean"), "theorem broken : Nonsense := by\n  sorry\n");
      writeFileSync(at("plain.lean"), "theorem plain (a b : Nat) : a + b = b + a := by\n  sorry\n");
      const args = ["--samples", "32", "--parallel", "1", "--batch", "4", "--write"];
      const some = await run("prove", "broken.lean", "gone.lean", "plain.lean", ...args);
      expect(some.err).toMatch(/^error: .*broken\.lean.*Nonsense/m);
      expect(some.err).toMatch(/1 of 1 sorry proved by .*; failed: gone\.lean, broken\.lean$/m);
      expect(some.code).toBe(1);
      expect(read("plain.lean")).not.toContain("sorry");
      expect(read("broken.lean")).toContain("sorry");
    },
  );

  it.skipIf(missing !== null)(
    "leaves open what is not provable, with exit status 1, and touches nothing",
    { timeout: 10 * LIMIT },
    async () => {
      const source = "theorem wrong (n : Nat) : n < 5 := by\r\n  sorry\r\n";
      writeFileSync(at("wrong.lean"), source);
      const left = await run("prove", "wrong.lean", "--samples", "2", "--write", "--parallel", "1");
      expect([left.code, left.err]).toEqual([1, expect.stringContaining("open    theorem wrong, line 2")]);
      expect(read("wrong.lean")).toBe(source);
    },
  );

  it.skipIf(missing !== null)(
    "runs a benchmark: looks at its statements first, and counts on from the store",
    { timeout: 20 * LIMIT },
    async () => {
      const row = (name: string, formal_statement: string, split = "test") =>
        JSON.stringify({ name, split, header: "", formal_statement, family: name });
      const rows = [
        row("sum", "theorem sum (a b : Nat) : a + b = b + a := by\n"),
        row("odd", "theorem odd (n : Nat) (h : 2 * n = 3) : n = 7 := by\n"),
        row("gone", "theorem gone : Nonsense := by\n"),
        row("other", "theorem other : True := by\n", "valid"),
        row("wrong", "theorem wrong (n : Nat) : n < 5 := by\n"),
      ];
      writeFileSync(at("bench.jsonl"), `${rows.join("\n")}\n`);
      const args = ["bench.jsonl", "--split", "test", "--samples", "8", "--parallel", "1", "--seed", "5"];
      const kept = ["--store", "bench.sqlite"];
      const first = await run("prove", ...args, ...kept);
      expect(first.err).toMatch(/left {4}odd: its hypotheses contradict each other \(omega\)/);
      expect(first.err).toMatch(/left {4}gone: Lean does not accept it: .*Nonsense/);
      expect(first.out).toMatch(/5 rows, split test: 4 chosen, 1 that Lean does not accept, 1 whose/);
      expect(first.out).toMatch(/1 of 2 proved, 16 samples/);
      expect(first.out).toMatch(/pass@8: 50\.0 % \(95 %: /);
      expect(first.code).toBe(1);
      const second = await run("prove", ...args, ...kept, "--json");
      const lines = second.out.trim().split("\n");
      const objects = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(objects.map(({ type }) => type)).toEqual([
        ...["benchmark", "unusable", "unusable", "ended", "ended", "report"],
      ]);
      expect(objects.at(-1)).toMatchObject({ proved: 1, samples: 16, hash: objects[0].hash });
      expect(objects[3]).toMatchObject({ name: "sum", axioms: expect.any(Array) });
      const other = await run("prove", ...args, "--split", "train");
      expect([other.code, other.err]).toEqual([1, expect.stringContaining("expected: test, valid")]);
    },
  );
});
