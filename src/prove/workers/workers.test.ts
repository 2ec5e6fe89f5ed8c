import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BullmqQueue } from "../../jobs/bullmq-queue.ts";
import { JobFailedError } from "../../jobs/errors.ts";
import { MemoryQueue } from "../../jobs/memory-queue.ts";
import { redisProgram, startRedis } from "../../jobs/testing-redis.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { Attempt } from "../search/attempt.ts";
import type { SearchEvent } from "../search/search.ts";
import { corridorTools, toyTask } from "../search/testing-world.ts";
import { ProofStore } from "../store/store.ts";
import { storedAttempts, storedSearch } from "../store/stored-search.ts";
import { jobKind } from "./jobs.ts";
import { QueuedProver, queuedTools } from "./queued-prover.ts";
import { serveGenerate, serveSearch, serveVerify } from "./serve.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "workers-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const settings = { style: "official", search: "rmaxts" } as const;
const parts = { settings, contextTokens: 4096, parallel: 1 };
const options = { samples: 60, trees: 2, stop: "never", seed: 11 } as const;
const length = (text: string) => text.length;

async function all(events: AsyncIterable<SearchEvent>): Promise<SearchEvent[]> {
  const found: SearchEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

/** The same search without workers. */
async function direct(): Promise<readonly Attempt[]> {
  using store = await ProofStore.open(":memory:");
  const given = { ...options, ...settings, parallel: 1 };
  await all(storedSearch(store, toyTask(), corridorTools(), given));
  return storedAttempts(store, toyTask(), corridorTools(), given);
}

describe("a prover whose parts are workers", () => {
  it("searches as one process does, and asks each thing once", async () => {
    using store = await ProofStore.open(":memory:");
    await using queue = new MemoryQueue();
    const world = corridorTools();
    serveVerify(queue, store, world.lean);
    serveGenerate(queue, store, world.generator);
    const tools = await queuedTools(queue, store, length);
    serveSearch(queue, store, tools);
    const prover = new QueuedProver(queue, store, { ...parts, ...tools });
    await prover.announce(toyTask(), options);
    const events = await all(prover.proveTask(toyTask(), options));
    expect(events.map(({ type }) => type)).toContain("proved");
    const kept = storedAttempts(store, toyTask(), prover, prover.searchOptions(options));
    // Texts of a node's limit are counted alike, so the searches are the same.
    expect(kept).toEqual(await direct());
    const asked = world.generator.batches.flat().length;
    await all(prover.proveTask(toyTask(), options));
    expect(world.generator.batches.flat().length).toBe(asked);
    await expect(all(prover.proveTask(toyTask(), { ...options, fresh: true }))).rejects.toThrow(/anew/);
  });

  it("says which worker is missing, and refuses work for another model or Lean", async () => {
    using store = await ProofStore.open(":memory:");
    await using queue = new MemoryQueue();
    await expect(queuedTools(queue, store, length, { waitMs: 0 })).rejects.toThrow(/kind verify/);
    const world = corridorTools();
    serveVerify(queue, store, world.lean);
    await expect(queuedTools(queue, store, length, { waitMs: 0 })).rejects.toThrow(/kind generate/);
    serveGenerate(queue, store, world.generator);
    const other = queuedTools(queue, store, () => 7);
    await expect(other).rejects.toThrow(/toy: .*another tokenizer.*tokens of a known text; found: 7/);
    const text = await queue.add(jobKind("generate"), { keys: ["a"], model: "other" });
    await expect(text.result()).rejects.toThrow(/another model.*expected: other; found: toy/);
    const check = await queue.add(jobKind("verify"), { key: "a", lean: "4.1", timeout: null });
    await expect(check.result()).rejects.toThrow(/another Lean/);
    const lost = await queue.add(jobKind("verify"), { key: "a", lean: "toy", timeout: null });
    await expect(lost.result()).rejects.toThrow(/must share one store/);
  });

  it("goes on by itself with a search that its workers give up, and tells of a wrong theorem as one process does", async () => {
    using store = await ProofStore.open(":memory:");
    await using queue = new MemoryQueue();
    const world = corridorTools();
    const check = world.lean.check.bind(world.lean);
    world.lean.check = async (input, given) => ({
      ...(await check(input, given)),
      refused: input.code.includes("nothing")
        ? { reason: "unknown 'nothing'", at: { line: 1, column: 0, index: 0 } }
        : null,
    });
    serveVerify(queue, store, world.lean);
    serveGenerate(queue, store, world.generator);
    const tools = await queuedTools(queue, store, length);
    let tries = 0;
    queue.process(jobKind("search"), async () => {
      tries++;
      throw new JobFailedError("the worker ended", { where: "search" });
    });
    const prover = new QueuedProver(queue, store, { ...parts, ...tools });
    const events = await all(prover.proveTask(toyTask(), options));
    expect([tries, events.map(({ type }) => type).includes("proved")]).toEqual([3, true]);
    expect(storedAttempts(store, toyTask(), prover, prover.searchOptions(options))).toEqual(await direct());
    const wrong = toyTask("theorem t : nothing := by\n");
    await expect(all(prover.proveTask(wrong, options))).rejects.toThrow(FormatError);
  });

  it("lets its model pause while more than four batches wait for Lean", async () => {
    using store = await ProofStore.open(":memory:");
    await using queue = new MemoryQueue();
    let open = () => {};
    const door = new Promise<void>((resolve) => {
      open = resolve;
    });
    const world = corridorTools();
    queue.process(jobKind("verify"), () => door);
    serveGenerate(queue, store, world.generator);
    store.ask("a", "text", { prompt: "p", seed: 1, maxTokens: 9, temperature: 1, topP: 1, stop: [] });
    // One runs, five wait: more than four of one prompt each.
    for (let i = 0; i < 6; i++) await queue.add(jobKind("verify"), i);
    await wait(20);
    const job = await queue.add(jobKind("generate"), { keys: ["a"], model: "toy" });
    await wait(250);
    expect([await queue.waiting(jobKind("verify")), store.written("a")]).toEqual([5, null]);
    open();
    await job.result();
    expect(store.written("a")).not.toBe(null);
  });
});

const program = fileURLToPath(new URL("testing-worker.ts", import.meta.url));

describe.skipIf(redisProgram === null)("workers in processes of their own", () => {
  it("lose nothing and count nothing twice when they are killed", { timeout: 300_000 }, async () => {
    using redis = await startRedis();
    const path = join(folder, "store.sqlite");
    const children: ChildProcess[] = [];
    const start = async (kind: string): Promise<ChildProcess> => {
      const child = spawn(process.execPath, [program, redis.url, "toy", path, kind], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      children.push(child);
      await once(child.stdout!, "data");
      return child;
    };
    try {
      using store = await ProofStore.open(path);
      await using queue = await BullmqQueue.open(redis.url, { prefix: "toy", lockSeconds: 1 });
      await Promise.all(["generate", "verify"].map(start));
      const searcher = await start("search");
      const tools = await queuedTools(queue, store, length);
      const prover = new QueuedProver(queue, store, { ...parts, ...tools });
      const searching = all(prover.proveTask(toyTask(), options));
      const attempts = () => storedAttempts(store, toyTask(), prover, prover.searchOptions(options)).length;
      const until = async (count: number) => {
        while (attempts() < count) await wait(10);
      };
      // Each kind of worker dies in the middle of something; another one takes its place.
      await until(5);
      searcher.kill("SIGKILL");
      await start("search");
      await until(25);
      children[1].kill("SIGKILL");
      await start("verify");
      await until(45);
      children[0].kill("SIGKILL");
      await start("generate");
      const events = await searching;
      expect(events.some(({ type }) => type === "proved")).toBe(true);
      const kept = storedAttempts(store, toyTask(), prover, prover.searchOptions(options));
      const numbers = kept.map(({ tree, seq }) => 60 * tree + seq);
      expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: 120 }, (_, i) => i));
      expect(kept).toEqual(await direct());
    } finally {
      for (const child of children) child.kill("SIGKILL");
    }
  });
});
