import { describe, expect, it } from "vitest";
import type { StepMetrics } from "../train/trainer.ts";
import { bars, condense, evaluationText, LiveView } from "./live-view.ts";

const metrics = (step: number, loss: number): StepMetrics => ({
  step,
  tokens: step * 2048,
  loss,
  mtpLoss: loss + 0.5,
  balanceLoss: 1,
  gradientNorm: 0.75,
  learningRate: 0.001,
  speed: 5000,
  experts: [{ layer: 1, counts: [10, 30, 20, 20] }],
  samples: 4,
  maxViolation: 0.5,
});

describe("history and figures", () => {
  it("draws bars between nothing and the largest, or a given top", () => {
    expect(bars([0, 1, 2])).toBe("▁▅█");
    expect(bars([1, 5], 2)).toBe("▅█");
    expect(bars([0, 0])).toBe("▁▁");
  });

  it("condenses a history into means of equal parts", () => {
    expect(condense([1, 3, 5, 7], 2)).toEqual([2, 6]);
    expect(condense([1, 2], 5)).toEqual([1, 2]);
    const long = condense(
      Array.from({ length: 1001 }, (_, i) => i),
      48,
    );
    expect(long).toHaveLength(48);
    expect(long.every((v, i) => i === 0 || v > long[i - 1])).toBe(true);
  });

  it("shows bits per byte where they are known", () => {
    const known = { loss: 1.5, tokens: 1, bytes: 4, bitsPerByte: 0.541 };
    expect(evaluationText(known)).toBe("1.500 nats/token, 0.541 bits/byte");
    expect(evaluationText({ ...known, bitsPerByte: null })).toBe("1.500 nats/token");
    expect(evaluationText({ ...known, bitsPerByte: null, unit: "squared error" })).toBe(
      "1.500 squared error",
    );
  });
});

const at = (seconds: number | null, steps: number | null = 10) => ({ steps, seconds });

describe("LiveView", () => {
  const written = (terminal: boolean, columns?: number) => {
    const chunks: string[] = [];
    const out = { write: (text: string) => chunks.push(text), isTTY: terminal, columns };
    return { chunks, view: new LiveView(out) };
  };

  it("redraws one block in place on a terminal, no line wider than it", () => {
    const { chunks, view } = written(true, 40);
    view.step(metrics(1, 5), at(null));
    view.step(metrics(2, 4), at(61));
    expect(chunks[0]).not.toContain("\x1b[");
    const lines = chunks[0].split("\n").length - 1;
    expect(chunks[1]).toBe(`\x1b[${lines}A\x1b[0J`);
    expect(chunks[2]).toContain("step 2/10");
    for (const line of chunks[2].split("\n")) expect([...line].length).toBeLessThan(40);
  });

  it("shows the total of a long run, and none while it is not known", () => {
    const { chunks, view } = written(true, 100);
    view.step(metrics(3, 5), at(61, 2_000_000));
    expect(chunks.at(-1)).toContain("step 3/2,000,000 ");
    view.step(metrics(4, 5), at(null, null));
    expect(chunks.at(-1)).toContain("step 4  ");
    expect(chunks.at(-1)).toContain("measuring speed");
  });

  it("shows an evaluation at once, so that the block ends with the last one", () => {
    const { chunks, view } = written(true, 100);
    const held = (loss: number) => ({ loss, tokens: 8, bytes: 8, bitsPerByte: loss });
    view.evaluation(0, held(3));
    expect(chunks).toEqual([]);
    view.step(metrics(10, 5), at(0));
    expect(chunks.at(-1)).toContain("held out: 3.000");
    view.evaluation(10, held(2));
    expect(chunks.at(-1)).toContain("held out: 2.000");
    expect(chunks.at(-1)).toContain("step 10/10");
    expect(chunks.at(-2)).toBe(`\x1b[5A\x1b[0J`);
  });

  it("shows experts and the last evaluation", () => {
    const { chunks, view } = written(true, 200);
    view.evaluation(1, { loss: 2, tokens: 8, bytes: 8, bitsPerByte: 2.885 });
    view.step(metrics(1, 5), at(3));
    const text = chunks.join("");
    expect(text).toContain("busiest 1.50x mean");
    expect(text).toContain("held out: 2.000 nats/token");
    expect(text).toContain("0:03 left");
  });

  it("writes plain lines elsewhere: the first step and the last, not each", () => {
    const { chunks, view } = written(false);
    for (let step = 1; step <= 10; step++) view.step(metrics(step, 5 - step / 10), at(10 - step));
    expect(chunks.map((line) => line.split("  ")[0])).toEqual(["step 1/10", "step 10/10"]);
    expect(chunks.join("")).not.toContain("\x1b");
  });

  it("keeps what stands above when a note comes, and what came before when it ends", () => {
    const { chunks, view } = written(true, 100);
    view.step(metrics(1, 5), at(3));
    view.note("saved");
    expect(chunks.slice(-2)).toEqual(["\x1b[4A\x1b[0J", "saved\n"]);
    view.step(metrics(2, 5), at(3));
    view.end();
    view.note("below");
    expect(chunks.at(-1)).toBe("below\n");
    expect(chunks.at(-2)).toContain("step 2");
  });
});
