import { expect, it } from "vitest";
import type { RunSeries } from "../backend/wire.ts";
import { joined, orderedCurves, settingsOf, valueAt } from "./curves.ts";
import { comparedOf, compareItem, MOST_COMPARED, NEW_RUN } from "./names.ts";

const series = (steps: number[], last: (number | null)[]): RunSeries => ({
  read: { lines: 0, bytes: 0, of: 0 },
  ...{ steps, curves: { loss: { least: last, most: last, last } }, experts: null },
});

it("puts held-out figures first, then losses", () => {
  expect(orderedCurves(["speed", "zeta", "loss", "mtpLoss", "heldOut.bitsPerByte", "gradientNorm"])).toEqual([
    ...["heldOut.bitsPerByte", "loss", "mtpLoss", "gradientNorm", "speed", "zeta"],
  ]);
});

it("joins runs over the steps that any of them has, and reads the last value up to a step", () => {
  const [a, b] = [series([10, 20, 30], [3, null, 1]), series([5, 20], [9, 8])];
  expect(joined([a, b], "loss")).toEqual({
    steps: [5, 10, 20, 30],
    values: [
      [null, 3, null, 1],
      [9, null, 8, null],
    ],
  });
  expect(joined([a], "none").values).toEqual([[null, null, null]]);
  expect([null, 29, 10, 9].map((step) => valueAt(a, "loss", step))).toEqual([1, 3, 3, null]);
});

it("tells the settings that differ, missing ones too, and bounds what it tells", () => {
  const found = settingsOf([
    { seed: 1, training: { steps: 5, batch: { size: 4 } }, data: { extensions: ["md"] } },
    { seed: 2, training: { steps: 5 }, data: { extensions: ["md"] } },
  ]);
  expect(found.filter(({ differs }) => differs)).toEqual([
    { name: "seed", values: ["1", "2"], differs: true },
    { name: "training.batch.size", values: ["4", null], differs: true },
  ]);
  expect(found.map(({ name }) => name)).toContain("data.extensions");
  const many = Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`k${i}`, i]));
  expect(settingsOf([many]).length).toBe(2000);
  let deep: Record<string, unknown> = { end: 1 };
  for (let i = 0; i < 5000; i++) deep = { inner: deep };
  expect(settingsOf([deep])).toHaveLength(1);
});

it("names comparisons in the address so that no run has such a name, at most eight", () => {
  const names = ["runs/a,b", "runs/deep/c:d", "roots"];
  expect(comparedOf(compareItem(names))).toEqual(names);
  expect(comparedOf("runs/compare")).toBeNull();
  expect(comparedOf(NEW_RUN)).toBeNull();
  const many = Array.from({ length: 12 }, (_, i) => `runs/${i}`);
  expect(comparedOf(compareItem(many))).toHaveLength(MOST_COMPARED);
});
