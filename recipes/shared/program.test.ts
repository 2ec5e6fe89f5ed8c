/** Where a recipe writes its results. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, it, vi } from "vitest";
import { type Recipe, runProgram } from "./program.ts";

const root = mkdtempSync(join(tmpdir(), "recipe-results-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let own: string;
beforeEach(() => {
  own = mkdtempSync(join(root, "own-"));
});

const runs: number[] = [];
const recipe = (): Recipe => ({
  ...{
    name: "coin",
    folder: own,
    title: "A coin",
    minutes: 1,
    comparisons: [],
    measures: ["heads"],
    notes: ".",
  },
  arms: [
    {
      ...{ name: "fair", text: "a fair coin" },
      run: async ({ seed }) => {
        runs.push(seed);
        const picture = { width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3) };
        return { scores: { heads: { right: 5, of: 10 } }, stages: {}, pictures: { coin: picture } };
      },
    },
  ],
});

/** Runs it with these flags, quietly; what it said. */
async function run(...args: string[]): Promise<{ status: number; output: string }> {
  const lines: unknown[] = [];
  const say = (...given: unknown[]) => void lines.push(...given);
  const spies = [vi.spyOn(console, "log"), vi.spyOn(console, "error")].map((spy) =>
    spy.mockImplementation(say),
  );
  try {
    const status = await runProgram(recipe(), ["--threads", "1", "--state", join(own, "state"), ...args]);
    return { status, output: lines.join("\n") };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

it("is the folder that is named, from which it goes on; the recipe's own stays as it is", async () => {
  const pilot = join(root, "pilot");
  expect((await run("--seed", "3", "--results", pilot)).status).toBe(0);
  expect(readdirSync(pilot).sort()).toEqual(["RESULTS.md", "pictures", "results.jsonl", "results.svg"]);
  expect(existsSync(join(own, "results.jsonl"))).toBe(false);
  expect(existsSync(join(own, "RESULTS.md"))).toBe(false);
  const again = await run("--seed", "3", "--results", pilot);
  expect(again.output).toMatch(/fair, seed 3: finished before/);
  expect((await run("--list", "--results", pilot)).output).toMatch(/finished: seed 3/);
  expect((await run("--list")).output).toMatch(/finished: none/);
  expect((await run("--seed", "2")).status).toBe(0);
  expect(readFileSync(join(own, "results.jsonl"), "utf8").trim().split("\n")).toHaveLength(1);
  expect(runs).toEqual([3, 2]);
});

it("is no folder of other things", async () => {
  const foreign = mkdtempSync(join(root, "foreign-"));
  writeFileSync(join(foreign, "RESULTS.md"), "mine");
  const refused = await run("--results", foreign);
  expect(refused).toEqual({
    status: 1,
    output: expect.stringMatching(/^error: --results: .*found RESULTS\.md/),
  });
  expect(readFileSync(join(foreign, "RESULTS.md"), "utf8")).toBe("mine");
  writeFileSync(join(foreign, "results.jsonl"), `${JSON.stringify({ arm: "biased", seed: 1 })}\n`);
  const other = await run("--results", foreign);
  expect(other).toEqual({ status: 1, output: expect.stringMatching(/holds the arm "biased"/) });
  expect(readFileSync(join(foreign, "RESULTS.md"), "utf8")).toBe("mine");
});
