/** Proving by way of the studio's server: real Lean, and the small prover of the package on the engine's thread. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { JobEvent, JobRequest, JobView } from "../../src/serve/studio/protocol.ts";
import { startTestStudio, type TestStudio } from "../../src/serve/studio/testing.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";

let t: TestStudio;
beforeAll(async () => {
  process.env.DEEPSEEK_TS_CACHE = cache;
  t = await startTestStudio({ model: null });
});
afterAll(() => t[Symbol.asyncDispose]());

async function done(request: JobRequest): Promise<{ events: JobEvent[]; job: JobView }> {
  const { id } = await t.job(request);
  const events = await t.events(id);
  const last = events.at(-1)!.event;
  if (last.type !== "end") throw new Error("no end");
  return { events, job: last.job };
}
const newsOf = (events: readonly JobEvent[]) =>
  events.flatMap(({ event }) => (event.type === "proof" ? [event.news] : []));

it.skipIf(missing !== null)("checks, verifies and fills a text", { timeout: 20 * LIMIT }, async () => {
  const { body: hello } = await t.ask("/studio/api/hello");
  expect(hello.lean).toMatchObject({ version: expect.stringMatching(/\d/), missing: null });
  const source = "theorem swap (a b : Nat) (h : a = b) : b = a := by\n  sorry\n";
  const checked = await done({ kind: "check", body: { source: source.replace("sorry", "exact h") } });
  expect(checked.job).toMatchObject({ state: "done", result: { complete: false } });
  expect(checked.job.result!.messages).toMatchObject([{ severity: "error" }]);
  const goals = await done({ kind: "check", body: { source: source.replace("sorry", "subst h\n  rfl") } });
  expect(goals.job.result).toMatchObject({ complete: true });
  const steps = goals.job.result!.steps as readonly { goalsBefore: string[] | null }[];
  expect(steps.some(({ goalsBefore }) => goalsBefore?.some((goal) => goal.includes("⊢ b = a")))).toBe(true);

  const verified = await done({
    kind: "verify",
    body: { statement: source.trim(), proof: source.replace("sorry", "exact h.symm") },
  });
  expect(verified.job).toMatchObject({ state: "done", error: null });
  expect(newsOf(verified.events)).toMatchObject([{ type: "verdict", verdict: "proved" }]);

  await t.open("world-prover");
  const filled = await done({
    kind: "prove",
    body: { model: "world-prover", source, search: "rmaxts", budget: 200, seed: 1 },
  });
  expect(filled.job).toMatchObject({ state: "done", error: null, result: { proved: 1, open: 0, fault: "" } });
  expect(newsOf(filled.events).map(({ type }) => type)).toEqual(
    expect.arrayContaining(["plan", "unit", "root", "sample", "ended", "filled"]),
  );
  const { text } = filled.job.result as { text: string };
  expect(text).not.toContain("sorry");
  const again = await done({ kind: "check", body: { source: text, steps: false } });
  expect(again.job.result).toMatchObject({ complete: true, messages: [], steps: [] });

  const endless = await t.job({
    kind: "prove",
    body: {
      model: "world-prover",
      source: "theorem no (a b : Nat) : a = b := by\n  sorry\n",
      search: "rmaxts",
      budget: 10_000,
    },
  });
  await t.events(endless.id, 0, ({ event }) => event.type === "proof" && event.news.type === "sample");
  const { body: stopped } = await t.ask(`/studio/api/jobs/${endless.id}`, undefined, { method: "DELETE" });
  expect(stopped.state).toBe("canceled");
  expect(t.studio.engineOf("world-prover")!.active).toBe(0);
});
