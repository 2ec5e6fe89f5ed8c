/**
 * Lean in Chromium: verdicts as in Node, a proof that the small prover finds there as in Node, a Lean that dies, and a second visit
 * that fetches nothing large.
 */
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writePageFolder } from "../../src/prove/lean/wasm/page-folder.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { cache, LIMIT, missing, openLean } from "../lean/embedded-lean.ts";
import { type Listed, lines } from "../lean/lists.ts";
import { buildSite, findChromium, openPage, type Site, serveSite, startChromium } from "./chromium.ts";
import { type ProofPackages, searchReport, verdictsOf } from "./lean-job.ts";
import type { OnPage } from "./page.ts";

/** In the page only: what page.ts puts there. */
declare const onPage: OnPage;

const executablePath = findChromium();
const absent = executablePath === null ? "no Chromium is installed" : missing;
const model = join(import.meta.dirname, "../../models/world-prover");
const statement = "theorem add_swap (a b c : Nat) : a + b + c = c + (b + a) := by";

describe.skipIf(absent !== null)(`Lean in Chromium ${absent ?? ""}`, () => {
  let site: string;
  let server: Site;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    site = buildSite("lean");
    cpSync(model, join(site, "world-prover"), { recursive: true });
    await writePageFolder(join(site, "lean"), await prepareLean({ cache }));
    server = await serveSite(site);
    browser = await startChromium(executablePath!);
    page = await openPage(browser, server.url, complaints);
  }, 10 * LIMIT);
  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
  });
  const large = (from: number) => server.asked.slice(from).filter((path) => path.endsWith(".gz"));

  it("verifies proofs and refuses cheats as in Node, and fetches what is large once", {
    timeout: 10 * LIMIT,
  }, async () => {
    const some = <T>(list: readonly T[], step: number) => list.filter((_, i) => i % step === 0);
    const honest = some(
      lines<Listed>("genuine.jsonl").filter(({ options }) => options === undefined),
      7,
    );
    const cheats = some(
      lines<Listed>("soundness.jsonl").filter(({ options }) => options === undefined),
      13,
    );
    expect([honest.length > 5, cheats.length > 5]).toEqual([true, true]);
    const proofs = [...honest, ...cheats].map(({ preamble, statement, proof }) => ({
      preamble,
      statement,
      proof,
    }));
    const inPage = await page.evaluate((sent) => onPage.verdicts("/lean", sent), proofs);
    expect(inPage.slice(0, honest.length).map(({ verdict }) => verdict)).toEqual(honest.map(() => "proved"));
    expect(inPage.slice(honest.length).filter(({ verdict }) => verdict === "proved")).toEqual([]);
    await using lean = await openLean();
    expect(inPage).toEqual(await verdictsOf(lean, proofs));
    expect(large(0)).toHaveLength(2);
  });

  it("finds the proof that Node finds with the same seed, on a second visit that fetches nothing large", {
    timeout: 10 * LIMIT,
  }, async () => {
    const from = server.asked.length;
    await page.reload();
    const inPage = await page.evaluate((sent) => onPage.proof(...sent), [
      "/lean",
      "world-prover",
      statement,
    ] as const);
    expect(large(from)).toEqual([]);
    expect(inPage.code).toContain("theorem add_swap");
    const load = (part: string) => import(/* @vite-ignore */ pathToFileURL(join(site, "dist", part)).href);
    const packages: ProofPackages = {
      ...{ deepseek: await load("index.js"), checkpoint: await load("checkpoint/index.js") },
      ...{ engine: await load("engine/index.js"), prove: await load("prove/browser.js") },
    };
    const read = async (path: string) => new Uint8Array(readFileSync(join(site, path)));
    await using lean = await openLean();
    expect(inPage).toEqual(await searchReport(packages, lean, "world-prover", statement, read));
  });

  it("starts a new Lean when one dies, whose proof is a crash", { timeout: 10 * LIMIT }, async () => {
    const head = "theorem t (n : Nat) : n + 0 = n";
    const proof = (steps: number) => ({
      ...{ preamble: "", statement: `${head} := sorry` },
      proof: `${head} := by\n${"  refine id ?_\n".repeat(steps)}  simp`,
    });
    // Deeper than the stack of a page's worker.
    const verdicts = await page.evaluate(
      (sent) => onPage.verdicts("/lean", sent),
      [proof(2), proof(2500), proof(3)],
    );
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(["proved", "crash", "proved"]);
  });

  it("says what a page lacks that is not isolated, and where files are missing", async () => {
    const plain = await openPage(browser, `${server.url}/plain`, complaints);
    expect(await plain.evaluate(() => onPage.verdicts("/lean", []).catch(String))).toMatch(
      /LeanError: .*cross-origin isolated page.*Cross-Origin-Opener-Policy: same-origin/,
    );
    await plain.close();
    expect(await page.evaluate(() => onPage.verdicts("/nowhere", []).catch(String))).toMatch(
      /nowhere\/manifest\.json.*status 404.*deepseek-ts prover page DIR/,
    );
  });
});
