/** A host over a small random model, in the thread that asks it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { load } from "../../pretrained/node-load.ts";
import { writeModelFolder } from "../testing-folder.ts";
import { EngineClient } from "./engine-client.ts";
import type { GenerationNews } from "./generation-job.ts";
import { localChannel } from "./local-channel.ts";
import type { CompletionRequest } from "./protocol.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-host-"));
let client: EngineClient;

beforeAll(async () => {
  await writeModelFolder(folder, { maxPositions: 4096 });
  client = await EngineClient.connect(localChannel({ maxBatch: 2, cacheTokens: 8192 }, () => load(folder)));
});
afterAll(async () => {
  await client.shutdown();
  rmSync(folder, { recursive: true, force: true });
});

const completion = (maxTokens: number, more: Partial<CompletionRequest> = {}): CompletionRequest => ({
  kind: "completion",
  prompts: ["the of and"],
  suffix: null,
  addSpecialTokens: true,
  format: { type: "text" },
  maxTokens,
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: [],
  seed: 3,
  stop: [],
  logprobs: null,
  n: 1,
  ignoreEos: true,
  minTokens: 0,
  stopIds: [],
  includeStop: false,
  skipSpecial: true,
  reusePrefix: true,
  echo: false,
  ...more,
});

async function textOf(news: AsyncIterable<GenerationNews>): Promise<string> {
  let text = "";
  for await (const event of news) if (event.type === "delta") text += event.delta.content ?? "";
  return text;
}

it("generates where nobody reads, and tells it afterwards from any event", async () => {
  const job = await client.generate(completion(40), { id: "unread" });
  const [end] = await job.job.result();
  expect(end).toMatchObject({ choice: 0, reason: "length", usage: { completionTokens: 40 } });
  const whole = await textOf(job);
  expect(whole.length).toBeGreaterThan(40);
  const { lastEvent } = job.job.info();
  // Quick steps are told together.
  expect(lastEvent).toBeGreaterThan(8);
  const later = await client.generation("unread");
  const tail = await textOf(later!.news(lastEvent - 5));
  expect(tail.length).toBeGreaterThan(0);
  expect(whole.endsWith(tail)).toBe(true);
  expect(tail.length).toBeLessThan(whole.length);
  // Read while it happens, the text is the same.
  expect(await textOf(await client.generate(completion(40)))).toBe(whole);
});

it("goes on when its reader leaves, and frees its place when it is canceled", async () => {
  const job = await client.generate(completion(4000));
  for await (const news of job) if (news.type === "delta") break;
  const before = job.job.info().lastEvent;
  await vi.waitFor(() => expect(job.job.info().lastEvent).toBeGreaterThan(before + 5), 20_000);
  expect(await client.figures()).toMatchObject({ running: 1 });
  await job.cancel();
  expect(job.job.info().state).toBe("canceled");
  const figures = await client.figures();
  expect(figures).toMatchObject({ running: 0, waiting: 0 });
  expect(figures!.ended.canceled).toBe(1);
  // Nothing of it comes any more.
  const after = job.job.info().lastEvent;
  await textOf(await client.generate(completion(20)));
  expect(job.job.info().lastEvent).toBe(after);
});

it("frees the places of all choices, and of those that still wait", async () => {
  const jobs = await Promise.all([1, 2, 3].map((seed) => client.generate(completion(3000, { seed, n: 2 }))));
  await Promise.all(jobs.map((job) => job.accepted()));
  await vi.waitFor(
    async () => expect(await client.figures()).toMatchObject({ running: 2, waiting: 4 }),
    20_000,
  );
  await Promise.all(jobs.map((job) => job.cancel()));
  expect(await client.figures()).toMatchObject({ running: 0, waiting: 0 });
  expect(client.active).toBe(0);
});

it("refuses what does not fit, and goes on", async () => {
  const job = await client.generate(completion(5000));
  await expect(job.accepted()).rejects.toMatchObject({
    fault: { kind: "invalid", code: "context_length_exceeded" },
  });
  expect(job.job.info()).toMatchObject({ state: "failed", lastEvent: 0 });
  expect((await textOf(await client.generate(completion(8)))).length).toBeGreaterThan(0);
});
