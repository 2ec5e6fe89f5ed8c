import { describe, expect, it } from "vitest";
import { shareInterval } from "../../statistics/share-interval.ts";
import { readBenchmark } from "../formats/benchmark.ts";
import type { CheckInput, CheckOptions, LeanProblem } from "../lean/session.ts";
import { Prover } from "../prover/prover.ts";
import {
  corridor,
  corridorTactics,
  drawing,
  STATEMENT,
  ToyGenerator,
  ToyLean,
} from "../search/testing-world.ts";
import { ProofStore } from "../store/store.ts";
import { proofPrompt } from "../text/prompts.ts";
import { type BenchmarkEvent, type BenchmarkOptions, benchmarkRow, reportText, runBenchmark } from "./run.ts";
import { budgets, scores } from "./score.ts";

/** Takes the contradiction of a hypothesis that is called `absurd` for proved, and no statement that says `unknown`. */
class WorldLean extends ToyLean {
  override async check(input: CheckInput, options?: CheckOptions) {
    const answer = await super.check(input, options);
    if (!input.code.includes("unknown")) return answer;
    const place = { line: 1, column: 0, index: 0 };
    const error = {
      severity: "error",
      kind: "",
      start: place,
      end: place,
      text: "unknown identifier",
    } as const;
    return { ...answer, complete: false, messages: [error] };
  }

  override async verify(problem: LeanProblem, code: string, options?: CheckOptions) {
    const answer = await super.verify(problem, code, options);
    if (!problem.statement.includes(" : False")) return answer;
    const proved = problem.statement.includes("absurd") && code.includes("omega");
    return { ...answer, verdict: proved ? ("proved" as const) : ("error" as const) };
  }
}

const row = (name: string, split: string, formal_statement: string, more = {}) =>
  JSON.stringify({ name, split, header: "", formal_statement, ...more });
const TEXT = [
  row("a", "test", STATEMENT, { family: "one", automation: ["B1"], truth: "true" }),
  row("b", "valid", STATEMENT, { family: "one" }),
  row("c", "test", "theorem c (absurd : 1 = 2) : goal := by", { family: "two" }),
  row("d", "test", "theorem d : unknown := by", { family: "two" }),
  row("a", "test", STATEMENT, { family: "two", automation: [] }),
].join("\n");

function world(store: ProofStore | null) {
  const lean = new WorldLean(corridor(1));
  const generator = new ToyGenerator(drawing(corridorTactics(1)));
  const settings = { style: "short" } as const;
  const more = { store, settings, contextTokens: 1000, parallel: 1, close: async () => {} };
  return { generator, prover: new Prover({ lean, generator, ...more }) };
}

async function read(prover: Prover, options: BenchmarkOptions, stopAt = Number.POSITIVE_INFINITY) {
  const events: BenchmarkEvent[] = [];
  let samples = 0;
  for await (const event of runBenchmark(prover, await readBenchmark(TEXT, "toy"), options)) {
    events.push(event);
    if (event.type === "search" && event.event.type === "sample" && ++samples === stopAt) return events;
  }
  return events;
}

const reportOf = (events: readonly BenchmarkEvent[]) => {
  const last = events.at(-1);
  if (last?.type !== "report") throw new Error("no report");
  return last;
};

const options: BenchmarkOptions = { split: "test", search: "sample", samples: 40, seed: 3 };

describe("a benchmark", () => {
  it("leaves out what says nothing, scores the rest, and tells what it did", async () => {
    const events = await read(world(null).prover, options);
    const report = reportOf(events);
    expect(report).toMatchObject({
      ...{ rows: 5, chosen: 4, statements: 2, measure: "pass@k", split: "test", samples: 80 },
      hash: (await readBenchmark(TEXT, "toy")).hash,
      settings: { search: "sample", samples: 40, seed: 3, temperature: 1, style: "short", lean: "toy" },
    });
    expect(report.unusable.map(({ name, finding, detail }) => [name, finding, detail])).toEqual([
      ["c", "vacuous", "omega"],
      ["d", "broken", "unknown identifier"],
    ]);
    const ended = events.filter((event) => event.type === "ended");
    // Two rows of one name are two statements; here they say the same.
    expect(ended.map(({ index, automated }) => [index, automated])).toEqual([
      [0, true],
      [4, false],
    ]);
    expect(ended[0].right).toBeGreaterThan(0);
    expect(ended[0].right).toBeLessThan(40);
    expect(ended[0].first).toBeLessThanOrEqual(40 - ended[0].right + 1);
    expect(report.scores.find(({ k }) => k === 1)?.share).toBeCloseTo(ended[0].right / 40, 12);
    expect(report.families).toEqual([
      { family: "one", statements: 1, proved: 1, automated: 1 },
      { family: "two", statements: 1, proved: 1, automated: 0 },
    ]);
    expect(reportText(report)).toMatch(/4 chosen, 1 that Lean does not accept, 1 whose hypotheses/);
  });

  it("goes on where it was stopped, at whatever sample, and counts the same", async () => {
    using whole = await ProofStore.open(":memory:");
    const expected = reportOf(await read(world(whole).prover, options));
    for (const stopAt of [1, 17, 40]) {
      using store = await ProofStore.open(":memory:");
      await read(world(store).prover, options, stopAt);
      const { prover, generator } = world(store);
      const events = await read(prover, options);
      expect(reportOf(events)).toEqual(expected);
      // Both rows say the same, so there is one search of 40 samples.
      const samples = events.filter((event) => event.type === "search" && event.event.type === "sample");
      expect(samples.length).toBe(40 - stopAt);
      expect(generator.batches.flat().length).toBe(40 - stopAt);
    }
  });

  it("counts by the first proof where samples build on each other", async () => {
    const report = reportOf(await read(world(null).prover, { ...options, search: "rmaxts" }));
    expect(report.measure).toBe("solved within k");
    expect(report.scores.at(-1)).toMatchObject({ k: 40 });
  });

  it("refuses a split or a name that is not there, with those that are", async () => {
    await expect(read(world(null).prover, { split: "train" })).rejects.toThrow(/test, valid.*found: train/);
    await expect(read(world(null).prover, { names: ["z"] })).rejects.toThrow(/no such name/);
  });

  it("asks a released prover to the letter, and a small one by definitions alone", async () => {
    const { problems } = await readBenchmark(TEXT, "toy");
    const plain = { ...problems[0], header: undefined, preamble: "def f := 1\n" };
    const official = benchmarkRow(plain, "official");
    expect(official.header).toMatch(/^import Mathlib\nimport Aesop\n[\s\S]*def f := 1\n\n$/);
    expect(official.problem.imports).toEqual(["Mathlib", "Aesop"]);
    const short = benchmarkRow(plain, "short");
    expect(proofPrompt(short, { style: "short" })).toBe(`Prove:\n\n\`\`\`lean4\ndef f := 1\n\n${STATEMENT}`);
  });
});

describe("scores", () => {
  const result = (right: number, first: number | null) => ({
    ...{ index: 0, name: "a", samples: 32, right, first, tokens: 0, proof: null, axioms: [] },
  });

  it("are the unbiased estimate, or shares solved so far", () => {
    const results = [result(4, 9), result(0, null)];
    const estimate = scores(results, "pass@k", 32).find(({ k }) => k === 8);
    expect(estimate?.share).toBeCloseTo(0.704505 / 2, 6);
    expect(scores(results, "solved within k", 32).map(({ share }) => share)).toEqual([0, 0, 0, 0, 0.5, 0.5]);
    expect(budgets(12)).toEqual([1, 2, 4, 8, 12]);
  });

  it("have Wilson's intervals", () => {
    // 10 of 40, as R's prop.test(10, 40, correct = FALSE) has it.
    const [low, high] = shareInterval(0.25, 40);
    expect([low, high].map((value) => value.toFixed(4))).toEqual(["0.1419", "0.4019"]);
    expect(shareInterval(0, 10)[0]).toBe(0);
    expect(shareInterval(1, 10)[1]).toBeCloseTo(1, 12);
  });
});
