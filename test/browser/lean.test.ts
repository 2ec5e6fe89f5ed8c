/** Lean in Chromium: verdicts as in Node, and what a page is told that cannot have it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMIT, openLean } from "../lean/embedded-lean.ts";
import { type Listed, lines } from "../lean/lists.ts";
import { openPage } from "./chromium.ts";
import { verdictsOf } from "./lean-job.ts";
import { absent, type LeanSite, openLeanSite } from "./lean-site.ts";
import type { OnPage } from "./page.ts";

/** In the page only: what page.ts puts there. */
declare const onPage: OnPage;

describe.skipIf(absent !== null)(`Lean in Chromium ${absent ?? ""}`, () => {
  let site: LeanSite;
  beforeAll(async () => {
    site = await openLeanSite();
  }, 10 * LIMIT);
  afterAll(async () => {
    await site?.[Symbol.asyncDispose]();
  });

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
    const inPage = await site.page.evaluate((sent) => onPage.verdicts("/lean", sent), proofs);
    expect(inPage.slice(0, honest.length).map(({ verdict }) => verdict)).toEqual(honest.map(() => "proved"));
    expect(inPage.slice(honest.length).filter(({ verdict }) => verdict === "proved")).toEqual([]);
    await using lean = await openLean();
    expect(inPage).toEqual(await verdictsOf(lean, proofs));
    expect(site.large(0)).toHaveLength(2);
  });

  it("says what a page lacks that is not isolated, and where files are missing", async () => {
    const plain = await openPage(site.browser, `${site.server.url}/plain`, site.complaints);
    expect(await plain.evaluate(() => onPage.verdicts("/lean", []).catch(String))).toMatch(
      /LeanError: .*cross-origin isolated page.*Cross-Origin-Opener-Policy: same-origin/,
    );
    await plain.close();
    expect(await site.page.evaluate(() => onPage.verdicts("/nowhere", []).catch(String))).toMatch(
      /nowhere\/manifest\.json.*status 404.*deepseek-ts prover page DIR/,
    );
  });
});
