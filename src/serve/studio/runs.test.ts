import { appendFileSync, mkdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lockRun } from "../../runs/lock.ts";
import { startTestStudio, type TestStudio, testFolder } from "./testing.ts";

let t: TestStudio;
const outside = testFolder();
const folderOf = (name: string) => join(t.root, name);
const logOf = (name: string) => join(folderOf(name), "metrics.jsonl");
const step = (n: number, more: object = {}) =>
  `${JSON.stringify({ kind: "step", step: n, loss: 10 - n / 100, ...more })}\n`;

beforeAll(async () => {
  t = await startTestStudio({ model: null });
});
afterAll(async () => {
  await t[Symbol.asyncDispose]();
  outside.remove();
});

function makeRun(name: string, settings: object, log = ""): void {
  mkdirSync(folderOf(name), { recursive: true });
  writeFileSync(join(folderOf(name), "run.json"), JSON.stringify(settings));
  if (log !== "") writeFileSync(logOf(name), log);
}
const series = async (name: string, bins = 400) =>
  (await t.ask(`/studio/api/series?run=work/${name}&bins=${bins}`)).body;

describe("runs", () => {
  it("are listed with their kind, state and last figures", async () => {
    const held = `${JSON.stringify({ kind: "evaluation", step: 200, loss: 2.5, bitsPerByte: 1.25 })}\n`;
    const rows = Array.from({ length: 200 }, (_, i) => step(i + 1)).join("");
    makeRun("text/one", { training: { steps: 300 } }, rows + held);
    makeRun("two", { kind: "stages", stages: [{ steps: 5 }, { steps: 7 }] });
    makeRun("three", { kind: "policy" });
    makeRun("four", { kind: "dpo" });
    const held2 = await lockRun(folderOf("two"));
    const { body } = await t.ask("/studio/api/runs");
    await held2.release();
    const found = (name: string) => body.runs.find(({ run }: { run: { path: string } }) => run.path === name);
    expect(found("text/one")).toMatchObject({
      ...{ kind: "train", state: "stopped", step: 200, steps: 300, loss: 8, heldOut: 1.25 },
    });
    expect(found("text/one").curve).toHaveLength(40);
    expect(found("text/one").curve.at(-1)).toBe(8);
    expect(found("two")).toMatchObject({
      kind: "stages",
      state: "running",
      step: 0,
      steps: 12,
      loss: null,
      curve: [],
    });
    expect([found("three").kind, found("four").kind]).toEqual(["grpo", "dpo"]);
    mkdirSync(join(folderOf("four"), "model"));
    writeFileSync(join(folderOf("four"), "model", "config.json"), "{}");
    const { body: detail } = await t.ask("/studio/api/runs/work/four");
    expect(detail).toMatchObject({ state: "finished", config: { kind: "dpo" }, job: null });
  });

  it("have curves that keep every spike, in as many bins as were asked for", async () => {
    let log = "";
    for (let n = 1; n <= 10_000; n++) log += step(n, { loss: n === 5003 ? 99 : n === 7001 ? -5 : 1 });
    makeRun("long", {}, log);
    const fine = await series("long", 4096);
    const coarse = await series("long", 10);
    expect(coarse.steps.length).toBeLessThanOrEqual(10);
    for (const { curves, read, steps } of [fine, coarse]) {
      expect(read).toEqual({ lines: 10_000, bytes: log.length, of: log.length });
      expect(Math.max(...curves.loss.most)).toBe(99);
      expect(Math.min(...curves.loss.least)).toBe(-5);
      expect(curves.loss.last.every((loss: number) => loss === 1 || loss === 99 || loss === -5)).toBe(true);
      expect(steps.at(-1)).toBe(10_000);
      expect(curves.loss.most[steps.findIndex((last: number) => last >= 5003)]).toBe(99);
    }
    expect((await t.ask("/studio/api/series?run=work/long&bins=5000")).status).toBe(400);
    expect((await t.ask("/studio/api/series?run=work/long&bins=-1")).status).toBe(400);
  });

  it("are read on from where they were read to, and half-written lines are waited for", async () => {
    makeRun("live", {}, step(1) + step(2));
    expect((await series("live")).curves.loss.last).toEqual([9.99, 9.98]);
    const third = step(3);
    appendFileSync(logOf("live"), third.slice(0, 20));
    const half = await series("live");
    expect(half.curves.loss.last).toEqual([9.99, 9.98]);
    expect(half.read.of - half.read.bytes).toBe(20);
    const fifth = step(5);
    appendFileSync(logOf("live"), third.slice(20) + step(4) + fifth.slice(0, 9));
    const [a, b] = await Promise.all([series("live"), series("live")]);
    expect(a).toEqual(b);
    expect(a.steps).toEqual([1, 2, 3, 4]);
    expect([a.read.lines, a.read.of - a.read.bytes]).toEqual([4, 9]);
    appendFileSync(logOf("live"), fifth.slice(9));
    expect((await series("live")).steps).toEqual([1, 2, 3, 4, 5]);
    // As a run that goes on from an earlier state leaves it: cut, or another file.
    truncateSync(logOf("live"), (step(1) + step(2)).length);
    expect((await series("live")).steps).toEqual([1, 2]);
    writeFileSync(`${logOf("live")}.new`, step(1, { loss: 7 }) + step(2) + step(3) + step(4) + step(5));
    renameSync(`${logOf("live")}.new`, logOf("live"));
    expect((await series("live")).curves.loss.last[0]).toBe(7);
  });

  it("have the load of experts as shares of the even one, and the terms of objectives", async () => {
    const experts = [
      { layer: 1, counts: [1, 3] },
      { layer: 2, counts: [2, 2] },
    ];
    const log =
      step(1, { experts, terms: { margin: 0.5 } }) +
      step(2, { experts: [{ layer: 1, counts: [3, 1] }, experts[1]] });
    makeRun(
      "experts",
      {},
      `${log}${JSON.stringify({ kind: "evaluation", step: 2, loss: 3, terms: { accuracy: 0.25 } })}\n`,
    );
    const fine = await series("experts");
    expect(fine.experts).toEqual([
      [
        [0.5, 1.5],
        [1, 1],
      ],
      [
        [1.5, 0.5],
        [1, 1],
      ],
    ]);
    expect((await series("experts", 1)).experts).toEqual([
      [
        [1, 1],
        [1, 1],
      ],
    ]);
    expect(fine.curves.margin.last).toEqual([0.5, null]);
    expect(fine.curves["heldOut.accuracy"].last).toEqual([null, 0.25]);
  });

  it("have what they said at evaluations, evenly over the last of them, of whole lines alone", async () => {
    const sample = (n: number) =>
      `${JSON.stringify({ kind: "sample", step: n, prompt: "a", text: `b${n}` })}\n`;
    makeRun("said", {}, step(1));
    writeFileSync(
      join(folderOf("said"), "samples.jsonl"),
      `${Array.from({ length: 250 }, (_, i) => sample(i + 1)).join("")}{"step":3,"text":4}\n{"step":251,"pro`,
    );
    const { body } = await t.ask("/studio/api/runs/work/said");
    expect(body.samples).toHaveLength(84);
    expect(body.samples[0]).toEqual({ step: 1, prompt: "a", text: "b1" });
    expect(body.samples.at(-1).step).toBe(250);
    expect((await t.ask("/studio/api/runs/work/long")).body.samples).toEqual([]);
  });

  it("may have the name of a route", async () => {
    for (const name of ["series", "deep/series"]) {
      makeRun(name, { training: { steps: 9 } }, step(1));
      expect((await t.ask(`/studio/api/runs/work/${name}`)).body).toMatchObject({ step: 1, steps: 9 });
      expect((await series(name)).curves.loss.last).toEqual([9.99]);
    }
  });

  it("of very many experts answer in fewer bins, whatever was asked for", async () => {
    const experts = [{ layer: 1, counts: Array.from({ length: 16_000 }, () => 1) }];
    const log = Array.from({ length: 200 }, (_, i) => step(i, { experts }));
    makeRun("many", {}, log.join(""));
    const { steps, curves, experts: loads } = await series("many", 4096);
    expect(loads).toHaveLength(100);
    expect(steps).toHaveLength(100);
    expect(curves.loss.most[0]).toBe(10);
  });

  it("with damaged, hostile or endless lines are read as far as they make sense", async () => {
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`m${i}`, i]));
    const lines = [
      "not json\n",
      "null\n[]\n7\n",
      `${"x".repeat(2 ** 20 + 10)}\n`,
      step(-1),
      step(1.5),
      step(Number.MAX_SAFE_INTEGER, { loss: 1 }),
      step(3, { loss: "text", gradientNorm: 2, experts: "all" }),
      step(4, { loss: 5, experts: [{ counts: Array(20_000).fill(1) }] }),
      `{"kind":"step","step":5,"loss":1e999}\n`,
      step(6, many),
    ];
    makeRun("hostile", {}, lines.join(""));
    const { curves, experts, read } = await series("hostile");
    expect(read.bytes).toBe(read.of);
    expect(curves.gradientNorm.last).toContain(2);
    expect(Object.keys(curves).length).toBeLessThanOrEqual(64);
    expect(experts).toBeNull();
    expect((await t.ask("/studio/api/runs")).status).toBe(200);
  });

  it("are those below the roots alone", async () => {
    mkdirSync(join(outside.path, "run"));
    writeFileSync(join(outside.path, "run", "run.json"), "{}");
    writeFileSync(join(outside.path, "metrics.jsonl"), step(1));
    symlinkSync(join(outside.path, "run"), folderOf("away"));
    makeRun("linked", {});
    symlinkSync(join(outside.path, "metrics.jsonl"), logOf("linked"));
    const { body } = await t.ask("/studio/api/runs");
    expect(body.runs.some(({ run }: { run: { path: string } }) => run.path === "away")).toBe(false);
    for (const run of [
      "work/away",
      "work/..%2f..%2fetc",
      "work/%2e%2e/x",
      "other/run",
      "work/none",
      "work",
      "%2Fetc",
    ]) {
      for (const path of [`runs/${run}`, `series?run=${run}`]) {
        expect((await t.ask(`/studio/api/${path}`)).status, path).toBeGreaterThanOrEqual(400);
      }
    }
    expect((await series("linked")).read).toEqual({ lines: 0, bytes: 0, of: 0 });
    expect((await t.ask("/studio/api/runs/work%2Flinked")).status).toBe(200);
  });
});
