import { describe, expect, test } from "vitest";
import { canonicalForm } from "../text/canonical.ts";
import { problemRow } from "./problems.ts";
import { placeOf } from "./split.ts";
import { readTruth, truthColumn } from "./truth.ts";

const COUNT = 2000;
const rows = Array.from({ length: COUNT }, (_, i) => problemRow(1, i));
const truths = rows.map(({ hidden }) => readTruth(hidden));
const withDefect = (defect: string) => truths.filter((each) => each.defect === defect);

describe("the stream of problems", () => {
  test("has its defects in known numbers", () => {
    const share = (defect: string) => withDefect(defect).length / COUNT;
    expect(share("wrong answer")).toBeCloseTo(0.2, 1);
    expect(share("contradiction")).toBeCloseTo(0.08, 1);
    expect(share("trivial") + share("duplicate")).toBeCloseTo(0.1, 1);
    expect(share("trivial")).toBeGreaterThan(0.03);
    expect(share("duplicate")).toBeGreaterThan(0.03);
    expect(share("contradiction")).toBeGreaterThan(0.06);
  });
  test("gives any problem alone, the same as in a row", () => {
    expect(problemRow(1, 321)).toEqual(rows[321]);
    expect(readTruth(problemRow(1, 321).hidden)).toEqual(truths[321]);
    expect(problemRow(2, 321).problem.informal).not.toBe(rows[321].problem.informal);
  });
  test("repeats problems as other texts of the same statement", () => {
    const repeats = truths
      .map((truth, i) => ({ truth, i }))
      .filter(({ truth }) => truth.repeats !== undefined);
    for (const { truth, i } of repeats) {
      expect(truth.repeats).toBeLessThan(i);
      expect(canonicalForm(truth.gold)).toBe(canonicalForm(truths[truth.repeats!].gold));
    }
    const other = repeats.filter(
      ({ truth, i }) => rows[i].problem.informal !== rows[truth.repeats!].problem.informal,
    );
    expect(other.length).toBeGreaterThan(repeats.length / 2);
  });
  test("says what is false of what is false", () => {
    for (const truth of withDefect("wrong answer")) expect(truth.truth).toBe("false");
    for (const truth of withDefect("contradiction")) expect(truth.truth).toBe("vacuous");
    expect(truths.filter(({ defect, truth }) => defect === "none" && truth !== "true")).toEqual([]);
  });
  test("stays within the training split", () => {
    for (const { gold, defect } of truths.slice(0, 500))
      if (defect !== "trivial") expect(placeOf("", gold).split).toBe("train");
  });
});

test("a problem does not show its truth", () => {
  const row = rows.find(({ hidden }) => readTruth(hidden).defect === "wrong answer")!;
  expect(JSON.stringify(row)).not.toMatch(/truth|false|wrong|gold/);
  expect(Object.keys(row.hidden)).toEqual([]);
  expect(Reflect.ownKeys(row.hidden)).toEqual([]);
  expect(Object.keys(row.problem).sort()).toEqual(["id", "informal", "source"]);
  expect(JSON.parse(truthColumn(row.hidden)).truth).toBe("false");
});
