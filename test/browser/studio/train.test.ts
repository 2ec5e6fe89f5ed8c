/** Runs in the studio's page: list, curves, range by buttons, load of the experts by keys, stop and resume. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RunDetail, RunSeries } from "../../../src/studio/backend/wire.ts";
import { findChromium, startChromium } from "../chromium.ts";
import type { StubServer } from "./stub-server.ts";
import { buildPage, expectAccessible, NARROW, openStudio, startStub, WIDE } from "./studio-page.ts";

const executablePath = findChromium();

const STEPS = Array.from({ length: 200 }, (_, i) => 10 * (i + 1));
const curve = (of: (i: number) => number) => ({
  least: STEPS.map((_, i) => 0.95 * of(i)),
  most: STEPS.map((_, i) => of(i) * (i === 150 ? 2.5 : 1.05)),
  last: STEPS.map((_, i) => of(i)),
});

/** A run whose loss falls. */
export function exampleRun(
  path: string,
  state: RunDetail["state"],
): { detail: RunDetail; series: RunSeries } {
  const loss = curve((i) => 2 + 4 * Math.exp(-i / 40) + 0.1 * Math.sin(i));
  const held = {
    ...curve((i) => 1.5 + 2 * Math.exp(-i / 60)),
    last: STEPS.map((_, i) => (i % 20 === 19 ? 1.5 + 2 * Math.exp(-i / 60) : null)),
  };
  const experts = STEPS.slice(0, 60).map((_, t) =>
    [0, 1].map((layer) =>
      Array.from({ length: 8 }, (_, e) => 1 + Math.sin(e + layer + t / 20) * Math.exp(-t / 30)),
    ),
  );
  return {
    detail: {
      run: { root: "runs", path },
      kind: "train",
      state,
      step: 2000,
      steps: 4000,
      loss: loss.last.at(-1)!,
      heldOut: 1.57,
      speed: 6200,
      changed: 1_790_000_000_000,
      curve: loss.last.filter((_, i) => i % 5 === 0),
      config: { training: { steps: 4000, batch: 16 } },
      samples: [
        { step: 1000, text: "function a( {" },
        { step: 2000, text: "function add(a, b) {\n  return a + b;\n}" },
      ],
      job: state === "running" ? "job-1" : null,
    },
    series: {
      read: { lines: 2000, bytes: 240_000, of: 260_000 },
      steps: STEPS,
      curves: {
        learningRate: curve((i) => 3e-4 * (1 - i / 220)),
        loss,
        gradientNorm: curve((i) => 1 + Math.abs(Math.sin(i / 9))),
        "heldOut.bitsPerByte": held,
      },
      experts,
    },
  };
}

describe.skipIf(executablePath === null)("runs in the studio (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
    stub = await startStub({ runs: [exampleRun("first", "stopped"), exampleRun("deep/second", "running")] });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await stub?.kill();
  });

  it("shows a run's curves, how far it was read, its experts, samples and numbers, and resumes it", async () => {
    for (const size of [WIDE, { ...NARROW, colorScheme: "dark" as const }]) {
      const { page, complaints, close } = await openStudio(browser, stub, size, "#/train");
      await page.waitForSelector("text=runs/deep/second");
      await expectAccessible(page, "list of runs");
      await page.click("text=runs/first");
      await page.waitForSelector(".chart canvas");
      expect(await page.$$eval(".chart strong", (all) => all.map((each) => each.textContent))).toEqual([
        "Held-out bits a byte",
        "Loss",
        "Gradient norm",
        "Learning rate",
      ]);
      await page.waitForSelector("text=read 2,000 rows, 240 of 260 kB");
      await page.focus(".heat");
      await page.keyboard.press("ArrowLeft");
      await page.waitForSelector("text=/Step [\\d,]+, expert 1: [\\d.]+ of the even load/");
      await page.click("text=Closer");
      await page.waitForSelector("text=All steps");
      await page.click("text=The numbers as a table");
      expect(await page.locator(".numbers tbody tr").count()).toBe(20);
      await page.waitForSelector("text=return a + b");
      await expectAccessible(page, "run");
      await page.click("text=Resume");
      await expect.poll(() => stub.requests.length).toBe(size === WIDE ? 1 : 2);
      expect(complaints).toEqual([]);
      await close();
    }
    expect(stub.requests.map(({ kind, body }) => ({ kind, body }))).toEqual([
      { kind: "resume", body: { run: { root: "runs", path: "first" } } },
      { kind: "resume", body: { run: { root: "runs", path: "first" } } },
    ]);
  });
});
