/** Truth of Inside: with a small random model behind the page, what is on screen is what `/v1` says of the same request. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestStudio, type TestStudio } from "../../../src/serve/studio/testing.ts";
import type { InsideToken, JobRequest } from "../../../src/studio/backend/wire.ts";
import { findChromium, startChromium } from "../chromium.ts";
import { pageFolder } from "./stub-server.ts";
import { buildPage, openStudio, WIDE } from "./studio-page.ts";

const executablePath = findChromium();

interface Scored {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs: readonly Scored[];
}

describe.skipIf(executablePath === null)("Inside of a model (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let t: TestStudio;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
    t = await startTestStudio({
      page: pageFolder,
      version: "0.1.0",
      model: { maxPositions: 4096, layers: 3, std: 0.15 },
    });
    const { id } = await t.job({ kind: "open", body: { model: "work/tiny", speculative: true } });
    await t.events(id);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await t?.[Symbol.asyncDispose]();
  });

  it("shows the log-probabilities, drafts and experts that /v1 tells, and leaves the text as it is", async () => {
    const url = t.studio.url.replace(/\/$/, "");
    const { page, complaints, close } = await openStudio(browser, { url }, WIDE, `#code=${t.studio.code}`);
    const asked: JobRequest[] = [];
    page.on("request", (request) => {
      if (request.method() === "POST" && request.url().endsWith("/jobs")) asked.push(request.postDataJSON());
    });
    await page.waitForSelector(".model-button >> text=ready");
    await page.click("text=Settings");
    await page.fill("label:has-text('Most tokens') input", "40");
    await page.fill("label:has-text('Seed') input", "5");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+i");
    await page.waitForSelector(".inside");
    await page.fill("[aria-label=Message]", "the of and to in is that for it as was with on be by at");
    await page.press("[aria-label=Message]", "Control+Enter");
    await page.waitForSelector(".turn.assistant[aria-busy=false]");
    await page.waitForSelector(".token-text .token");
    const [{ body, inside, id }] = asked;
    expect(inside).toBe(true);
    const { stream, stream_options, ...plain } = body as Record<string, unknown>;
    expect([stream, plain.seed, plain.max_tokens]).toEqual([true, 5, 40]);
    // The page's request found nothing in a cache, which would change the last bits.
    const same = { ...plain, cache_prompt: false };
    const v1 = async (more: object) => (await t.ask("/v1/chat/completions", { ...same, ...more })).body;
    const scored = await v1({ logprobs: true, top_logprobs: 5 });
    const told = await v1({ inside: true });
    const tokens = told.inside.tokens as readonly InsideToken[];
    const entries = scored.choices[0].logprobs.content as readonly Scored[];
    expect(await page.locator(".token-text .token").count()).toBe(entries.length);

    const chunks = (await t.events(id!)).flatMap(({ event }) =>
      event.type === "chunk" ? [event.chunk] : [],
    );
    const text = chunks.map(
      (chunk) => (chunk.choices as { delta: { content?: string } }[])[0]?.delta.content ?? "",
    );
    expect(text.join("")).toBe(scored.choices[0].message.content);

    await page.focus(".token-text");
    await page.keyboard.press("Home");
    for (const [i, { logprob, top_logprobs: top }] of entries.entries()) {
      if (i > 0) await page.keyboard.press("ArrowRight");
      await page.waitForSelector(`.token-detail >> text=token ${i + 1},`);
      const shown = await page.$$eval(".alternatives tbody tr td:nth-child(3)", (cells) =>
        cells.map((cell) => cell.textContent),
      );
      expect(shown).toEqual(top.map((other) => other.logprob.toFixed(3)));
      const name = await page.getAttribute(".token[aria-selected=true]", "aria-label");
      expect(name).toContain(`${(100 * Math.exp(logprob)).toFixed(1)}%`);
    }
    const drafted = tokens.filter(({ from }) => from === "drafted").length;
    const refused = tokens.filter((token) => token.refused !== null).length;
    expect(drafted).toBeGreaterThan(0);
    expect(await page.locator(".token-text .drafted").count()).toBe(drafted);
    expect(await page.locator(".token-text s").count()).toBe(refused);

    await page.click("[role=tab] >> text=Speed");
    const speed = await page.textContent("[aria-label=Drafts]");
    expect(speed).toBe(
      `DraftsDrafted${drafted + refused}Accepted${drafted}Share${((100 * drafted) / (drafted + refused)).toFixed(1)}%`,
    );
    await page.click("[role=tab] >> text=Experts");
    await page.click("text=All experts as a table");
    const { body: inspected } = await t.ask("/studio/api/models/inspect?model=work/tiny");
    const { layers, routed, perToken } = inspected.report.experts;
    expect([layers, perToken]).toEqual([[1, 2], tokens[0].experts[0].ids.length]);
    const largest = Math.max(...tokens.flatMap(({ experts }) => experts.flatMap(({ ids }) => ids)));
    expect(routed).toBeGreaterThan(largest);
    // Layer 0 has none. The first page of the table is 25 tokens in two layers.
    const rows = await page.$$eval(".inside-numbers tbody tr", (all) =>
      all.map((row) => [...row.querySelectorAll("th, td")].map((cell) => cell.textContent)),
    );
    const wanted = tokens.flatMap(({ experts }, at) =>
      experts.map(({ ids, weights }, layer) => ({
        token: String(at + 1),
        layer: String(layer + 1),
        experts: ids.map((expert, k) => `${expert} (${weights[k].toFixed(3)})`).join(", "),
      })),
    );
    expect(rows.map(([token, , layer, experts]) => ({ token, layer, experts }))).toEqual(wanted.slice(0, 50));
    expect(complaints).toEqual([]);
    await close();
  });
});
