/** What a process knows of a prover whose weights other processes have. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { withTemporaryFolder } from "../files/temporary.ts";
import { TestingHub } from "../pretrained/testing-hub.ts";
import { defaultProver } from "../prove/prover/settings.ts";
import { askedAs } from "./prover-worker.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";
afterEach(() => vi.unstubAllEnvs());

it("reads tokenizer and prompts of a folder and of a name on the hub alike, there without the weights", async () => {
  const own = await askedAs({});
  const folder = defaultProver();
  await using hub = await TestingHub.start();
  const files = new Map(
    readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  );
  hub.repos.set("org/prover", { commit, files });
  await withTemporaryFolder("deepseek-ts-hub-", async (cache) => {
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HUB_CACHE", cache);
    vi.stubEnv("HF_TOKEN", "");
    const remote = await askedAs({ model: "org/prover" });
    expect(remote.settings).toEqual(own.settings);
    expect(own.settings.style).toBe("short");
    const text = "theorem t (n : Nat) : n + 0 = n := by simp";
    expect(remote.countTokens(text)).toBe(own.countTokens(text));
    expect(hub.seen.filter(({ url }) => url.includes("safetensors"))).toEqual([]);
    expect(readdirSync(cache)).toEqual([]);
    await expect(askedAs({ model: "org/prover", offline: true })).rejects.toThrow(/org\/prover/);
    await expect(askedAs({ model: "org/none" })).rejects.toThrow(/neither a file or folder here nor a model/);
    await expect(askedAs({ revision: "main" })).rejects.toThrow(/--revision applies to models on the hub/);
  });
});
