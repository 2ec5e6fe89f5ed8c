import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Random } from "../../tensor/random.ts";
import type { Attempt } from "../search/attempt.ts";
import type { SearchEvent } from "../search/search.ts";
import { searchIdentity } from "../search/search-identity.ts";
import type { SearchOptions } from "../search/search-options.ts";
import { corridorTools as tools, toyTask } from "../search/testing-world.ts";
import { ProofStore } from "./store.ts";
import { type StoredSearchOptions, storedSearch, taskHash } from "./stored-search.ts";

/** How often the test kills; more of it by hand: `KILLS=200`. */
const KILLS = Number(process.env.KILLS ?? 2);
/** Generations in each of two trees: enough for so many kills. */
const SAMPLES = Math.max(60, 4 * KILLS);

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "search-"));
  path = join(folder, "proofs.sqlite");
});
afterEach(() => rm(folder, { recursive: true }));

async function all(store: ProofStore, options: StoredSearchOptions, used = tools()): Promise<SearchEvent[]> {
  const events: SearchEvent[] = [];
  for await (const event of storedSearch(store, toyTask(), used, options)) events.push(event);
  return events;
}

/** What is kept of the search: attempts, proofs, status. */
function kept(store: ProofStore, options: SearchOptions) {
  const { id, status } = store.beginSearch(
    taskHash(toyTask()),
    searchIdentity(tools(), options),
    options.seed ?? 0,
  );
  const attempts = store.attempts(id).map(({ event }) => event as Attempt);
  return { attempts, proofs: store.proofsOfSearch(id).map(({ text, cost }) => ({ text, cost })), status };
}

const program = fileURLToPath(new URL("testing-search.ts", import.meta.url));

/** Runs the search in a process that is killed after some generations, again and again until it ends. */
async function killed(options: SearchOptions, random: Random): Promise<number> {
  let kills = 0;
  for (;;) {
    const child = spawn(process.execPath, [program, path, JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let left = kills < KILLS ? 1 + random.int(Math.floor((2 * SAMPLES) / KILLS)) : Number.POSITIVE_INFINITY;
    child.stdout.on("data", (data: Buffer) => {
      left -= data.toString().split("\n").length - 1;
      // Somewhere in the next generations, between any two instructions.
      if (left <= 0) setTimeout(() => child.kill("SIGKILL"), random.uniform() * 8);
    });
    const [code, signal] = (await once(child, "close")) as [number | null, string | null];
    if (signal === null) {
      expect(code).toBe(0);
      return kills;
    }
    kills++;
  }
}

describe("a stored search", () => {
  it("is told once, its proofs and its end every time", async () => {
    const options = { samples: 300, parallel: 1, seed: 2 };
    using store = await ProofStore.open(path);
    const first = await all(store, options);
    expect(first.at(-1)?.type).toBe("proved");
    const used = tools();
    const again = await all(store, options, used);
    expect(again.map(({ type }) => type)).toEqual(["root", "proved"]);
    expect(again[1]).toMatchObject({ proof: (first.at(-1) as { proof: string }).proof });
    expect([used.generator.batches, used.lean.verified]).toEqual([[], []]);
    const { attempts, proofs, status } = kept(store, options);
    expect(attempts.length).toBe(first.filter(({ type }) => type === "sample").length);
    expect(proofs).toEqual([{ text: attempts.at(-1)!.proof, cost: attempts.length }]);
    expect(status).toBe("proved");
    // A new one asks the verifier nothing that it was asked before.
    const fresh = tools();
    const renewed = await all(store, { ...options, fresh: true }, fresh);
    expect(renewed).toEqual(first);
    expect(fresh.lean.verified).toEqual([]);
    expect(fresh.generator.batches.length).toBeGreaterThan(0);
  });

  it("ends as exhausted, and goes on only under the same settings", async () => {
    using store = await ProofStore.open(path);
    const options = { search: "sample" as const, samples: 6, parallel: 2 };
    for await (const event of storedSearch(store, toyTask(), tools(), options))
      if (event.type === "sample") break;
    expect(kept(store, options).status).toBe("open");
    await expect(all(store, { ...options, temperature: 0.5 })).rejects.toThrow(
      /temperature 1; found: temperature 0\.5/,
    );
    expect((await all(store, options)).at(-1)?.type).toBe("exhausted");
    expect(kept(store, options)).toMatchObject({ status: "exhausted", proofs: [] });
    expect(kept(store, options).attempts.length).toBe(6);
  });

  it("is refused to a second process that does the same at the same time", async () => {
    using store = await ProofStore.open(path);
    using other = await ProofStore.open(path);
    const options = { samples: 5, parallel: 1 };
    const running = storedSearch(store, toyTask(), tools(), options);
    for await (const event of running) {
      if (event.type !== "root") break;
      await all(other, options).catch(() => {});
      await expect(running.next()).rejects.toThrow(/another process goes on with this search/);
    }
  });

  it("is the same search after kills, one generation at a time", { timeout: 600_000 }, async () => {
    const options: SearchOptions = { samples: SAMPLES, trees: 2, parallel: 1, stop: "never", seed: 11 };
    expect(await killed(options, new Random(1))).toBeGreaterThan(KILLS / 2);
    using store = await ProofStore.open(path);
    using plain = await ProofStore.open(":memory:");
    await all(plain, options);
    expect(kept(plain, options).attempts.some(({ proof }) => proof !== null)).toBe(true);
    expect(kept(store, options)).toEqual(kept(plain, options));
  });

  it("is the same search after kills, in rounds of several", { timeout: 600_000 }, async () => {
    const options: SearchOptions = {
      samples: SAMPLES,
      trees: 2,
      parallel: 4,
      order: "rounds",
      stop: "never",
      seed: 12,
    };
    expect(await killed(options, new Random(2))).toBeGreaterThan(0);
    using store = await ProofStore.open(path);
    using plain = await ProofStore.open(":memory:");
    await all(plain, options);
    expect(kept(store, options)).toEqual(kept(plain, options));
  });

  it("loses and doubles no generation when several run at the same time", { timeout: 600_000 }, async () => {
    const options: SearchOptions = { samples: SAMPLES, trees: 2, parallel: 5, stop: "never", seed: 13 };
    expect(await killed(options, new Random(3))).toBeGreaterThan(0);
    using store = await ProofStore.open(path);
    const { attempts, proofs, status } = kept(store, options);
    const numbers = attempts.map(({ tree, seq }) => SAMPLES * tree + seq).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 2 * SAMPLES }, (_, i) => i));
    expect(new Set(proofs.map(({ text }) => text))).toEqual(
      new Set(attempts.flatMap(({ proof }) => (proof === null ? [] : [proof]))),
    );
    expect(status).toBe(proofs.length > 0 ? "proved" : "exhausted");
  });
});
