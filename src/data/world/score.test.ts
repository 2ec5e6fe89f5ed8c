import { describe, expect, it } from "vitest";
import { type WorldSample, worldSample } from "./sample.ts";
import { boxOverlap, type DescribeScore, describeTotals, type FindScore, scoreAnswer } from "./score.ts";
import { worldPieces } from "./vocabulary.ts";

/** The first sample of a task. */
function sampleOf(task: string): WorldSample {
  for (let i = 0; ; i++) {
    const sample = worldSample("questions", 1, i);
    if (sample.task === task) return sample;
  }
}

const box = (numbers: string) => `<|det|>[[${numbers}]]<|/det|>`;

describe("boxOverlap", () => {
  it("is intersection over union", () => {
    expect(boxOverlap([0, 0, 10, 10], [0, 0, 10, 10])).toBe(1);
    expect(boxOverlap([0, 0, 10, 10], [5, 0, 15, 10])).toBeCloseTo(50 / 150, 12);
    expect(boxOverlap([0, 0, 10, 10], [10, 0, 20, 10])).toBe(0);
    expect(boxOverlap([10, 10, 0, 0], [10, 10, 0, 0])).toBe(0);
    expect(boxOverlap([5, 5, 5, 5], [5, 5, 5, 5])).toBe(0);
  });
});

describe("scoreAnswer", () => {
  it("gives every answer of the world to itself, by tokens alone", () => {
    for (let i = 0; i < 60; i++) {
      for (const stream of ["questions", "text", "charts", "tables", "language"] as const) {
        const sample = worldSample(stream, 6, i);
        expect(scoreAnswer(sample, sample.answer).correct).toBe(true);
        expect(scoreAnswer(sample, worldPieces(sample.answer).join(" ")).correct).toBe(true);
        expect(scoreAnswer(sample, "").correct).toBe(false);
      }
    }
  });

  it("is exact where there are no boxes", () => {
    const text = { task: "text", answer: "WWSPR" } as const;
    expect(scoreAnswer(text, "W W S P R")).toEqual({ kind: "exact", correct: true });
    expect(scoreAnswer(text, "WWSP").correct).toBe(false);
    expect(scoreAnswer(text, "WWSPRR").correct).toBe(false);
    expect(scoreAnswer(text, "wwspr").correct).toBe(false);
    expect(scoreAnswer({ task: "color", answer: "red" }, "red.").correct).toBe(false);
  });

  it("finds by half of the overlap", () => {
    const find = { task: "find", answer: `<|ref|>the red ring<|/ref|>${box("100, 100, 200, 200")}` } as const;
    const score = (given: string) => scoreAnswer(find, given) as FindScore;
    const at = (numbers: string) => score(`<|ref|>the red ring<|/ref|>${box(numbers)}`);
    expect(at("100, 100, 200, 200")).toEqual({ kind: "find", correct: true, overlap: 1 });
    expect(at("100, 100, 200, 150")).toMatchObject({ correct: true, overlap: 0.5 });
    expect(at("100, 100, 200, 149").correct).toBe(false);
    expect(at("200, 200, 100, 100")).toMatchObject({ correct: false, overlap: 0 });
    // The first box counts, and only a whole one.
    const other = `<|ref|>x<|/ref|>${box("1, 1, 2, 2")}`;
    expect(score(`${other}<|ref|>the red ring<|/ref|>${box("100, 100, 200, 200")}`).correct).toBe(false);
    expect(at("100, 100, 200").overlap).toBe(0);
    expect(at("100, 100, 200, 200, 300").overlap).toBe(0);
    expect(score("the red ring [[100, 100, 200, 200]]").overlap).toBe(0);
  });

  it("matches descriptions object by object", () => {
    const object = (noun: string, numbers: string) => `<|ref|>${noun}<|/ref|>${box(numbers)}`;
    const ring = object("a small red ring", "100, 100, 200, 200");
    const cross = object("a large orange cross", "500, 500, 700, 700");
    const wanted = { task: "describe", answer: `${ring} , ${cross} .` } as const;
    const score = (...parts: string[]) => scoreAnswer(wanted, `${parts.join(" , ")} .`) as DescribeScore;
    expect(score(ring, cross)).toEqual({
      kind: "describe",
      correct: true,
      matched: 2,
      named: 2,
      present: 2,
      precision: 1,
      recall: 1,
      f1: 1,
    });
    expect(score(cross, ring).correct).toBe(true);
    expect(score(ring)).toMatchObject({ correct: false, precision: 1, recall: 0.5, f1: 2 / 3 });
    // Naming one twice finds it once; what is cut off counts as named.
    expect(score(ring, ring)).toMatchObject({ matched: 1, named: 2, precision: 0.5, recall: 0.5 });
    expect(score(ring, "<|ref|>a large")).toMatchObject({ matched: 1, named: 2, f1: 0.5 });
    for (const wrong of ["a large red ring", "a small blue ring", "a small red cross", "small red ring"]) {
      expect(score(object(wrong, "100, 100, 200, 200")).matched).toBe(0);
    }
    expect(score(object("a small red ring", "100, 100, 200, 149")).matched).toBe(0);
    expect(score()).toMatchObject({ matched: 0, named: 0, precision: 0, f1: 0 });
  });

  it("scores a scene's answer against a slightly moved one", () => {
    const { task, answer } = sampleOf("describe");
    const moved = answer.replace(/\[\[(\d+)/, (_, x) => `[[${Number(x) + 10}`);
    expect(moved).not.toBe(answer);
    expect((scoreAnswer({ task, answer }, moved) as DescribeScore).f1).toBe(1);
  });
});

describe("describeTotals", () => {
  it("adds objects, not scores", () => {
    const totals = describeTotals([
      { matched: 1, named: 1, present: 1 },
      { matched: 0, named: 3, present: 5 },
    ]);
    expect(totals).toEqual({ matched: 1, named: 4, present: 6, precision: 0.25, recall: 1 / 6, f1: 0.2 });
    expect(describeTotals([])).toMatchObject({ precision: 0, recall: 0, f1: 0 });
  });
});
