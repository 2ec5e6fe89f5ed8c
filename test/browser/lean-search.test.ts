/** A proof that the small prover finds in Chromium as in Node, on a second visit that fetches nothing large, and a Lean that dies. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMIT, openLean } from "../lean/embedded-lean.ts";
import { type ProofPackages, searchReport } from "./lean-job.ts";
import { absent, type LeanSite, openLeanSite } from "./lean-site.ts";
import type { OnPage } from "./page.ts";

/** In the page only: what page.ts puts there. */
declare const onPage: OnPage;

const statement = "theorem add_swap (a b c : Nat) : a + b + c = c + (b + a) := by";

describe.skipIf(absent !== null)(`a search with Lean in Chromium ${absent ?? ""}`, () => {
  let site: LeanSite;
  beforeAll(async () => {
    site = await openLeanSite();
  }, 10 * LIMIT);
  afterAll(async () => {
    await site?.[Symbol.asyncDispose]();
  });

  it("finds the proof that Node finds with the same seed, on a second visit that fetches nothing large", {
    timeout: 10 * LIMIT,
  }, async () => {
    await site.page.evaluate(() => onPage.verdicts("/lean", []));
    expect(site.large(0)).toHaveLength(2);
    const from = site.server.asked.length;
    await site.page.reload();
    const inPage = await site.page.evaluate((sent) => onPage.proof(...sent), [
      "/lean",
      "world-prover",
      statement,
    ] as const);
    expect(site.large(from)).toEqual([]);
    expect(inPage.code).toContain("theorem add_swap");
    const load = (part: string) =>
      import(/* @vite-ignore */ pathToFileURL(join(site.folder, "dist", part)).href);
    const packages: ProofPackages = {
      ...{ deepseek: await load("index.js"), checkpoint: await load("checkpoint/index.js") },
      ...{ engine: await load("engine/index.js"), prove: await load("prove/browser.js") },
    };
    const read = async (path: string) => new Uint8Array(readFileSync(join(site.folder, path)));
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
    const verdicts = await site.page.evaluate(
      (sent) => onPage.verdicts("/lean", sent),
      [proof(2), proof(2500), proof(3)],
    );
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(["proved", "crash", "proved"]);
  });
});
