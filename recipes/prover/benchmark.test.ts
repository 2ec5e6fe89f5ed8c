/** The committed test set holds what its name promises, without asking Lean again. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { baselineProofs } from "../../src/prove/corpus/automation.ts";
import type { BenchmarkRow } from "../../src/prove/corpus/benchmark.ts";
import { BENCHMARK_FAMILIES } from "../../src/prove/corpus/compose.ts";
import { placeOf } from "../../src/prove/corpus/split.ts";
import { canonicalForm } from "../../src/prove/text/canonical.ts";
import { baselineTable, familyTable, parts, scripted } from "./table.ts";

const text = readFileSync(new URL("mini-coref2f.jsonl", import.meta.url), "utf8");
const rows = text
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as BenchmarkRow);
const families = [...new Set(rows.map(({ family }) => family))];
const page = readFileSync(new URL("README.md", import.meta.url), "utf8");

test("24 statements of each family that is there, each once, in the order of the table", () => {
  expect(families.length).toBeGreaterThanOrEqual(10);
  expect(families).toEqual(BENCHMARK_FAMILIES.filter((family) => families.includes(family)));
  for (const family of families)
    expect(
      rows.filter((row) => row.family === family),
      family,
    ).toHaveLength(24);
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  const forms = rows.map((row) => `${row.preamble} | ${canonicalForm(row.formal_statement)}`);
  expect(new Set(forms).size).toBe(rows.length);
});

test("fixed scripts prove at most 35 %, and at least half has a new structure", () => {
  const share = (of: (row: BenchmarkRow) => boolean) => rows.filter(of).length / rows.length;
  expect(share(({ automation }) => automation.length > 0)).toBeLessThanOrEqual(0.35);
  expect(share(({ novelty }) => novelty === "structure")).toBeGreaterThanOrEqual(0.5);
  for (const { automation, preamble, formal_statement } of rows) {
    const { proofs } = baselineProofs({ preamble, statement: formal_statement });
    for (const each of automation) {
      // B2's last rung is B1, which is not tried twice.
      expect(proofs[each as "B1"].length + (each === "B2" ? 1 : 0)).toBeGreaterThan(0);
    }
  }
});

test("every statement lies in the test split", () => {
  for (const { name, preamble, formal_statement, novelty, split, header, goal } of rows) {
    expect(placeOf(preamble, formal_statement), name).toMatchObject({ split: "test", novelty });
    expect(split).toBe("test");
    expect(header).toContain("autoImplicit false");
    expect(goal).toContain("⊢ ");
    expect(formal_statement.startsWith(`theorem ${name} `)).toBe(true);
  }
});

/** A table without the blanks that align its columns. */
const cells = (markdown: string) => markdown.replace(/ *\| */g, "|").replace(/-{3,}/g, "---");

test("the page shows the table and the hash of this file", () => {
  expect(page).toContain(createHash("sha256").update(text).digest("hex"));
  expect(cells(page)).toContain(cells(baselineTable(rows)));
  expect(cells(page)).toContain(cells(familyTable()));
});

test("counts theorems of a conjunction outside brackets", () => {
  expect(parts("theorem t : (∃ x : Nat, x = 1 ∧ x < 2) ∧ (∀ p : Prop, p → p) := by\n")).toBe(2);
  expect(parts("theorem t (p q : Prop) (h : p ∧ q) : q := by\n")).toBe(1);
  const row = { ...rows[0], family: "conj", level: 2 as const };
  expect(scripted({ ...row, formal_statement: "theorem t : True ∧ True ∧ True := by\n" })).toBe(false);
  expect(scripted({ ...row, formal_statement: "theorem t : True ∧ True := by\n" })).toBe(true);
  expect(scripted({ ...row, family: "mod", level: 3 })).toBe(false);
});
