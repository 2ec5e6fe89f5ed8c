/** The log of a run after a crash: what is whole stays byte for byte, what is damaged goes with a word about it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MetricsLog } from "./metrics-log.ts";

let root: string;
let log: MetricsLog;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "metrics-"));
  log = new MetricsLog(join(root, "metrics.jsonl"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const step = (n: number) => `{"kind":"step","step":${n},"loss":${n}.0}\n`;
const evaluation = (n: number) => `{"kind":"evaluation","step":${n},"loss":1e-07}\n`;
const write = (...parts: (string | Uint8Array)[]) =>
  writeFileSync(log.path, Buffer.concat(parts.map((part) => Buffer.from(part as string))));
const text = () => readFileSync(log.path, "utf8");

describe("MetricsLog", () => {
  it("has nothing to say where there is no log", async () => {
    expect(await log.trim(5)).toBeNull();
    await log.append({ kind: "step", step: 1 });
    expect(text()).toBe('{"kind":"step","step":1}\n');
  });

  it("drops what comes after the step, silently", async () => {
    write(step(1), step(2), evaluation(2), step(3), step(4), evaluation(4));
    expect(await log.trim(2)).toBeNull();
    expect(text()).toBe(step(1) + step(2) + evaluation(2));
    expect(await log.trim(0)).toBeNull();
    expect(text()).toBe("");
  });

  it.each<[string, (string | Uint8Array)[]]>([
    ["torn", ['{"kind":"step","st\n']],
    ["no JSON", ["x\n"]],
    ["no object", ["3\n"]],
    ["without a step", ['{"kind":"step"}\n']],
    ["empty", ["\n"]],
    ["binary", [new Uint8Array([0, 1, 2, 255, 10])]],
    ["half a character", ['{"kind":"step","step":9,"note":"', new Uint8Array([0xe2, 0x82]), '"}\n']],
    ["zeros after a power cut", [new Uint8Array(5000), "\n"]],
    ["far too long", [`${"x".repeat(3_000_000)}\n`]],
  ])("drops a line that is %s, and says which", async (_, damage) => {
    write(step(1), ...damage, step(2), evaluation(2));
    expect(await log.trim(9)).toBe(`${log.path}: line 2 was damaged and is dropped`);
    expect(text()).toBe(step(1) + step(2) + evaluation(2));
    expect(await log.trim(9)).toBeNull();
  });

  it("drops a last line without its end", async () => {
    write(step(1), step(2).slice(0, -1));
    expect(await log.trim(2)).toMatch(/line 2 was damaged/);
    expect(text()).toBe(step(1));
  });

  it("says which step a kind reached, from 0 on", async () => {
    expect(await log.lastStep("evaluation")).toBe(-1);
    write(evaluation(0), step(1), step(2), evaluation(2), step(3), evaluation(4).slice(0, -1));
    expect(await log.lastStep("evaluation")).toBe(2);
    expect(await log.lastStep("step")).toBe(3);
    expect(await log.lastStep("other")).toBe(-1);
    expect(await log.trim(0)).toMatch(/line 6/);
    expect(text()).toBe(evaluation(0));
  });

  it("drops lines that repeat earlier steps", async () => {
    write(step(1), step(1), step(2), step(2), evaluation(2), evaluation(2), step(3));
    expect(await log.trim(3)).toMatch(/3 damaged or repeated lines are dropped \(lines 2, 4, 6\)$/);
    expect(text()).toBe(step(1) + step(2) + evaluation(2) + step(3));
  });
});
