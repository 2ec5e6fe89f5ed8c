/** The commands that check proofs, as people start them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, leanChildren, missing } from "./embedded-lean.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-verify-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const { run, start } = commandsIn(work, { DEEPSEEK_TS_CACHE: cache });

function write(name: string, text: string): string {
  writeFileSync(join(work, name), text);
  return name;
}
const rows = (...items: readonly object[]) => `${items.map((item) => JSON.stringify(item)).join("\n")}\n`;

describe("verify", () => {
  it("refuses what it cannot read, by line and name, and options that do not fit", {
    timeout: LIMIT,
  }, async () => {
    const wrong = await run("verify", write("wrong.jsonl", rows({ statement: "theorem t : True := sorry" })));
    expect([wrong.code, wrong.err]).toEqual([
      1,
      expect.stringMatching(/wrong\.jsonl, line 1: a field is missing; expected: proof/),
    ]);
    const gone = await run("verify", "gone.lean");
    expect([gone.code, gone.err]).toEqual([1, expect.stringMatching(/gone\.lean: no such file/)]);
    const usage = await run(
      "verify",
      write("a.lean", "theorem t : True := trivial\n"),
      "--against",
      "wrong.jsonl",
    );
    expect([usage.code, usage.err]).toEqual([2, expect.stringContaining("--against goes with JSON lines")]);
    // More than a timer can wait for.
    const late = await run("verify", "wrong.jsonl", "--timeout", "3000000");
    expect([late.code, late.err]).toEqual([2, expect.stringContaining("1,000,000 at most")]);
    mkdirSync(join(work, "empty"), { recursive: true });
    const none = await run(
      "verify",
      write("ok.jsonl", rows({ statement: "x", proof: "y" })),
      "--project",
      "empty",
    );
    expect([none.code, none.err]).toEqual([3, expect.stringContaining("no Lean project")]);
  });

  it.skipIf(missing !== null)(
    "says of each proof whether it holds, and of a file of each theorem",
    { timeout: 20 * LIMIT },
    async () => {
      const statements = rows(
        { name: "sum", statement: "theorem t (n : Nat) : n + 0 = n := sorry" },
        { name: "false", statement: "theorem t : (1 : Nat) = 2 := sorry" },
      );
      const proofs = rows(
        { name: "sum", proof: "theorem t (n : Nat) : n + 0 = n := by simp" },
        { name: "false", statement: "theorem t : True := sorry", proof: "theorem t : True := trivial" },
        {
          name: "sum",
          proof:
            "theorem t (n : Nat) : n + 0 = n := by\n  have h : n = n := Classical.byContradiction fun h => h rfl\n  sorry",
        },
      );
      const against = ["--against", write("statements.jsonl", statements)];
      const told = await run(
        "verify",
        write("proofs.jsonl", proofs),
        ...against,
        "--json",
        "--timeout",
        "120",
        "--parallel",
        "1",
      );
      expect(
        told.out
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line)),
      ).toEqual([
        { type: "verdict", name: "sum", verdict: "proved", axioms: [], detail: "" },
        { type: "verdict", name: "false", verdict: "changed statement", axioms: [], detail: "" },
        { type: "verdict", name: "sum", verdict: "sorry", axioms: ["sorryAx"], detail: "sorryAx" },
      ]);
      expect(told.code).toBe(1);
      const file = "import Init\ntheorem a : 1 + 1 = 2 := rfl\ntheorem b (p : Prop) (h : p) : p := h\n";
      const whole = await run("verify", write("whole.lean", file), "--parallel", "1");
      expect([whole.code, whole.out]).toEqual([0, "proved   a\nproved   b\n"]);
      expect(whole.err).toMatch(/2 of 2 theorems proved/);
    },
  );

  it.skipIf(missing !== null || process.platform !== "linux")(
    "stops at Ctrl-C, and Lean with it",
    { timeout: 5 * LIMIT },
    async () => {
      const { child, ended } = start([
        "verify",
        write("two.lean", "theorem a : 1 + 1 = 2 := rfl\n"),
        "--parallel",
        "1",
      ]);
      let leans: number[] = [];
      while (leans.length === 0) {
        await wait(50);
        leans = leanChildren(child.pid);
      }
      child.kill("SIGINT");
      const { code, out } = await ended();
      expect([code, out]).toEqual([130, ""]);
      for (const pid of leans) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    },
  );
});
