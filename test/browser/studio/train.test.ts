/** Runs in the studio's page: list, curves, range by buttons, load of the experts by keys, stop and resume. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestStudio } from "../../../src/serve/studio/testing.ts";
import { findChromium, startChromium } from "../chromium.ts";
import { pageFolder, type StubServer } from "./stub-server.ts";
import { buildPage, expectAccessible, NARROW, openStudio, startStub, WIDE } from "./studio-page.ts";
import { exampleFiles, examplePresets, exampleRun } from "./train-examples.ts";

const executablePath = findChromium();

describe.skipIf(executablePath === null)("runs in the studio (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
    stub = await startStub({
      hello: { roots: [{ name: "runs", path: "/home/ada/runs" }] },
      runs: [
        exampleRun("first", "stopped"),
        exampleRun("deep/second", "running", {
          ...{ pace: 1.6, config: { seed: 2, training: { steps: 4000, batch: { size: 32 } } } },
        }),
        exampleRun("rewards", "stopped", { kind: "grpo", config: { kind: "policy" } }),
      ],
      ...{ presets: examplePresets, files: exampleFiles },
      checkTraining: ({ config, out }) => {
        const { steps } = (config.training ?? {}) as { steps?: unknown };
        if (typeof steps === "string") {
          return {
            message: `config: invalid setting; name: training.steps; expected: an integer; found: "${steps}"`,
            param: "body.config.training.steps",
          };
        }
        return out.path === "demo-1"
          ? { message: "'runs/demo-1' exists. Choose another name.", param: "body.out" }
          : null;
      },
      script: ({ kind }) => ({
        ...{ events: [], stays: kind === "train" },
        ...(kind === "train" && {
          events: [
            { type: "progress", progress: { done: 0, total: null, unit: "steps", text: "reads 412 files" } },
          ],
        }),
      }),
    });
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
      await expect
        .poll(() => page.locator(".chart strong").allTextContents())
        .toEqual(["Held-out bits a byte", "Loss", "Gradient norm", "Learning rate"]);
      await page.waitForSelector("text=read 2,000 rows, 240 of 260 kB");
      await page.focus(".heat");
      await page.keyboard.press("ArrowLeft");
      await page.waitForSelector("text=/Step [\\d,]+, expert 1: [\\d.]+ of the even load/");
      await page.click("text=Closer");
      await page.waitForSelector("text=All steps");
      await page.click("text=The numbers as a table");
      expect(await page.locator(".numbers tbody tr").count()).toBe(20);
      await page.waitForSelector("text=return a + b");
      expect(await page.locator(".as-written mark").textContent()).toBe("function");
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

  it("compares ticked runs: settings that differ, curves by color and dash, values at a step, by keys alone", async () => {
    for (const size of [WIDE, { ...NARROW, colorScheme: "dark" as const }]) {
      const { page, complaints, close } = await openStudio(browser, stub, size, "#/train");
      await page.getByLabel("Compare runs/first").focus();
      await page.keyboard.press("Space");
      await page.waitForSelector("text=1 run ticked");
      expect(await page.getByRole("button", { name: "Compare", exact: true }).isDisabled()).toBe(true);
      await page.getByLabel("Compare runs/deep/second").press("Space");
      await expectAccessible(page, "list with ticked runs");
      await page.getByRole("button", { name: "Compare", exact: true }).press("Enter");
      await page.waitForSelector("h1:text('Compare 2 runs')");
      await page.waitForSelector(".chart canvas");
      const settings = page.getByRole("group", { name: "Settings of the runs" });
      expect(await settings.locator("tbody th").allTextContents()).toEqual(["seed", "training.batch.size"]);
      expect(await settings.locator("tbody td").allTextContents()).toEqual(["1", "2", "16", "32"]);
      await page.getByLabel("All settings").check();
      await expect.poll(() => settings.locator("tbody tr").count()).toBe(4);
      await expect
        .poll(() => page.locator(".chart strong").allTextContents())
        .toEqual(["Held-out bits a byte", "Loss", "Gradient norm", "Learning rate"]);
      const dashes = await page
        .locator(".line-sample line")
        .evaluateAll((lines) => lines.slice(0, 2).map((line) => line.getAttribute("stroke-dasharray")));
      expect(new Set(dashes).size).toBe(2);
      const values = () =>
        page.getByRole("group", { name: "Runs and their values" }).locator("td.number").allTextContents();
      const atEnd = await values();
      await page.locator(".step-slider input").focus();
      await page.keyboard.press("Home");
      await page.waitForSelector("text=Values at step 10");
      expect(await values()).not.toEqual(atEnd);
      await expectAccessible(page, "comparison");
      expect(complaints).toEqual([]);
      await close();
    }
  });

  it("ticks no more than eight", async () => {
    const many = await startStub({
      runs: Array.from({ length: 10 }, (_, i) => exampleRun(`r${i}`, "finished")),
    });
    const { page, close } = await openStudio(browser, many, WIDE, "#/train");
    for (let i = 0; i < 8; i++) await page.getByLabel(`Compare runs/r${i}`).check();
    await page.waitForSelector("text=8 runs ticked, which is the most");
    expect(await page.getByLabel("Compare runs/r9").isDisabled()).toBe(true);
    await page.getByLabel("Compare runs/r0").uncheck();
    expect(await page.getByLabel("Compare runs/r9").isDisabled()).toBe(false);
    await close();
    await many.kill();
  });

  it("fills in a new training, shows refusals at their field and line, starts it and shows it being prepared", async () => {
    for (const size of [WIDE, { ...NARROW, colorScheme: "dark" as const }]) {
      const { page, complaints, close } = await openStudio(browser, stub, size, "#/train");
      await page.click("text=New training");
      await page.waitForSelector("text=Memory: about 173 MB");
      const name = page.getByLabel("Name of the run");
      expect(await name.inputValue()).toBe("demo-2");
      await expectAccessible(page, "new training");
      await name.fill("demo-1");
      await page.waitForSelector("#fault-out:has-text('Choose another name')");
      expect(await page.getByRole("button", { name: "Start training" }).isDisabled()).toBe(true);
      await page.getByRole("radio", { name: /llm-small/ }).check();
      await name.fill("poems");
      await page.getByLabel("A folder or file of yours").check();
      await page.click("text=notes/");
      await page.click("text=letters.md");
      await page.waitForSelector("text=Learns from runs/notes/letters.md");
      await page.click("summary:has-text('All settings')");
      const settings = page.getByLabel("Settings as JSON");
      await settings.fill('{\n  "preset": "llm-small",\n  "training": {\n    "steps": "many"\n  }\n}');
      await page.waitForSelector(".fault:has-text('Line 4:')");
      expect(await page.locator(".bad-line").textContent()).toContain("4");
      await page.click("text=Go to line 4");
      expect(
        await settings.evaluate((area: HTMLTextAreaElement) =>
          area.value.slice(area.selectionStart, area.selectionEnd),
        ),
      ).toBe('    "steps": "many"');
      await expectAccessible(page, "new training with a refusal");
      await settings.fill('{\n  "preset": "llm-small"\n  "training": {}\n}');
      await page.waitForSelector(".fault:has-text('Line 3:')");
      await settings.fill('{\n  "preset": "llm-small",\n  "training": { "steps": 50 }\n}');
      await page.waitForSelector("text=Memory: about");
      const before = stub.requests.length;
      await page.click("text=Start training");
      await page.waitForSelector("text=It is being prepared: reads 412 files");
      await expectAccessible(page, "run that is being prepared");
      expect(stub.requests.slice(before).map(({ kind, body }) => ({ kind, body }))).toEqual([
        {
          kind: "train",
          body: {
            out: { root: "runs", path: "poems" },
            data: { root: "runs", path: "notes/letters.md" },
            config: { preset: "llm-small", training: { steps: 50 } },
          },
        },
      ]);
      await page.click("text=Stop");
      await page.waitForSelector("text=nothing is left of it");
      expect(complaints).toEqual([]);
      await close();
    }
  });

  it("says why a run of rewards is not continued here", async () => {
    const { page, close } = await openStudio(browser, stub, WIDE, "#/train/runs%2Frewards");
    await page.waitForSelector("text=deepseek-ts grpo --resume FOLDER");
    expect(await page.getByRole("button", { name: "Resume" }).count()).toBe(0);
    await close();
  });

  it("trains a small model from the first run's card, and offers to open it", async () => {
    const trained = await startStub({
      hello: { roots: [{ name: "runs", path: "/home/ada/runs" }] },
      files: exampleFiles,
      script: ({ kind }) =>
        kind === "train"
          ? {
              rate: 4,
              events: [100, 300, 500].map((done) => ({
                type: "progress" as const,
                progress: { done, total: 600, unit: "steps" as const, text: "trains" },
              })),
            }
          : { events: [] },
    });
    const { page, complaints, close } = await openStudio(browser, trained, NARROW);
    await page.click("text=Train it");
    await page.waitForSelector("text=/Step \\d+ of 600/");
    await expectAccessible(page, "first run that trains");
    await page.waitForSelector("text=The small model is trained");
    const card = page.getByRole("region", { name: "The small model is trained" });
    await card.getByText("Open it").click();
    await expect
      .poll(() => trained.requests.at(-1))
      .toMatchObject({ kind: "open", body: { model: "runs/demo-2" } });
    expect(trained.requests[0]).toMatchObject({
      kind: "train",
      body: { out: { root: "runs", path: "demo-2" }, data: "typescript", config: { preset: "demo" } },
    });
    expect(complaints).toEqual([]);
    await close();
    await trained.kill();
  });

  it("starts a real training on a folder, whose curves grow; stops it, goes on with it", async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../../../package.json"), "utf8"));
    await using t = await startTestStudio({ model: null, page: pageFolder, version });
    mkdirSync(join(t.root, "texts"), { recursive: true });
    for (let i = 0; i < 12; i++) {
      const lines = Array.from(
        { length: 20 },
        (_, n) => `const name_${i}_${n} = call(${(i * 7 + n * 13) % 101});`,
      );
      writeFileSync(join(t.root, "texts", `file-${i}.ts`), lines.join("\n"));
    }
    const { page, complaints, close } = await openStudio(
      browser,
      { url: t.studio.url.replace(/\/$/, "") },
      WIDE,
      `#token=${t.studio.token}`,
    );
    await page.getByRole("link", { name: "Train" }).click();
    await page.click("text=New training");
    await page.getByRole("radio", { name: /llm-small/ }).check();
    await page.getByLabel("A folder or file of yours").check();
    await page.click("text=texts/");
    await page.click("text=Choose this folder");
    await page.click("summary:has-text('All settings')");
    const tiny = {
      ...{ preset: "llm-small", vocabSize: 280, data: { heldOut: 0.3 } },
      model: {
        ...{ hidden_size: 16, num_hidden_layers: 1, intermediate_size: 16 },
        ...{ num_attention_heads: 2, num_key_value_heads: 2 },
      },
      training: {
        ...{ steps: 20_000, sequenceLength: 16, batch: { size: 2 }, saveEvery: 5000 },
        ...{ evaluateEvery: 10, evaluateSequences: 2 },
      },
    };
    const settings = page.getByLabel("Settings as JSON");
    await settings.fill(JSON.stringify({ ...tiny, vocabSize: 3 }, null, 2));
    await page.waitForSelector(".fault:has-text('Line 3:')");
    await settings.fill(JSON.stringify(tiny, null, 2));
    await page.waitForSelector("text=Memory: about");
    await page.click("text=Start training");
    await page.waitForSelector("h1:text('work/llm-small-1')");
    await page.waitForSelector(".chart canvas");
    const stepNow = async () => {
      const { body } = await t.ask("/studio/api/runs/work/llm-small-1");
      return body.step as number;
    };
    const rows = async () =>
      Number(/read ([\d,]+) rows/.exec((await page.textContent(".page")) ?? "")?.[1].replaceAll(",", ""));
    const first = await rows();
    await expect.poll(rows, { timeout: 20_000 }).toBeGreaterThan(first);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.waitForSelector("text=/stopped, step/", { timeout: 30_000 });
    const stopped = await stepNow();
    await page.getByRole("button", { name: "Resume" }).click();
    await page.waitForSelector("text=/running, step/", { timeout: 30_000 });
    await expect.poll(stepNow, { timeout: 20_000 }).toBeGreaterThan(stopped);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.waitForSelector("text=/stopped, step/", { timeout: 30_000 });
    expect(complaints).toEqual([]);
    await close();
  });

  it("shows a run of 100,000 steps; how long it took is printed", async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../../../package.json"), "utf8"));
    await using t = await startTestStudio({ model: null, page: pageFolder, version });
    mkdirSync(join(t.root, "long"), { recursive: true });
    writeFileSync(join(t.root, "long", "run.json"), JSON.stringify({ training: { steps: 100_000 } }));
    const rows = Array.from({ length: 100_000 }, (_, i) => {
      const loss = 2 + 4 * Math.exp(-i / 2e4) + 0.2 * Math.sin(i);
      const row = {
        kind: "step",
        step: i + 1,
        loss,
        gradientNorm: 1 + (i % 97) / 97,
        learningRate: 1e-3,
        speed: 6000,
      };
      const held = { kind: "evaluation", step: i + 1, loss, bitsPerByte: loss / 2 };
      return i % 1000 === 999
        ? `${JSON.stringify(row)}\n${JSON.stringify(held)}\n`
        : `${JSON.stringify(row)}\n`;
    });
    writeFileSync(join(t.root, "long", "metrics.jsonl"), rows.join(""));
    const { page, complaints, close } = await openStudio(
      browser,
      { url: t.studio.url.replace(/\/$/, "") },
      WIDE,
      `#token=${t.studio.token}`,
    );
    await page.evaluate(() => {
      const seen = { longTasks: [] as number[], first: 0 };
      Object.assign(globalThis, { seen });
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) seen.longTasks.push(Math.round(duration));
      }).observe({ type: "longtask" });
      new MutationObserver(() => {
        if (seen.first > 0 || document.querySelector(".chart canvas") === null) return;
        requestAnimationFrame(() => {
          seen.first = performance.now();
        });
      }).observe(document.body, { childList: true, subtree: true });
    });
    await page.getByRole("link", { name: "Train" }).click();
    await page.click("text=work/long");
    await page.waitForSelector("text=read 100,100 rows");
    await page.waitForSelector(".chart canvas");
    const measured = await page.evaluate(async () => {
      const { seen } = globalThis as unknown as { seen: { longTasks: number[]; first: number } };
      const frame = () =>
        new Promise<number>((resolve) => requestAnimationFrame(() => resolve(performance.now())));
      const [answer] = performance
        .getEntriesByType("resource")
        .filter(({ name }) => name.includes("/series?")) as PerformanceResourceTiming[];
      const opened = [...seen.longTasks];
      const redraws: number[] = [];
      for (let i = 0; i < 20; i++) {
        await frame();
        const button = [...document.querySelectorAll("button")].find(
          ({ textContent }) => textContent === (i % 2 === 0 ? "Closer" : "Farther"),
        )!;
        const began = performance.now();
        button.click();
        // A task of its own after the page's, which draws.
        await frame();
        await new Promise((resolve) => setTimeout(resolve));
        redraws.push(performance.now() - began);
      }
      redraws.sort((a, b) => a - b);
      return {
        answered: answer.responseEnd - answer.startTime,
        firstCurve: seen.first - answer.responseEnd,
        redraw: redraws[10],
        slowestRedraw: redraws.at(-1)!,
        opened,
        redrawn: seen.longTasks.slice(opened.length),
      };
    });
    const ms = (value: number) => `${value.toFixed(0)} ms`;
    console.log(
      `100,000 steps: curves answered after ${ms(measured.answered)}, first curve ${ms(measured.firstCurve)} after their bytes; ` +
        `six charts redrawn and painted in ${ms(measured.redraw)} (slowest ${ms(measured.slowestRedraw)}); ` +
        `long tasks: ${measured.opened.join(", ") || "none"} ms while it opened, ${measured.redrawn.join(", ") || "none"} ms in 20 redraws`,
    );
    expect(await page.locator(".chart canvas").count()).toBe(6);
    expect(complaints).toEqual([]);
    await close();
  });
});
