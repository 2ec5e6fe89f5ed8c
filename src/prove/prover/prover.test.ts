import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SearchEvent } from "../search/search.ts";
import { corridorTools, toyTask } from "../search/testing-world.ts";
import { ProofStore } from "../store/store.ts";
import { FilledFile } from "./filled-file.ts";
import { Prover, promptSettings } from "./prover.ts";
import { proverSettings } from "./settings.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "prover-"));
});
afterEach(() => rm(folder, { recursive: true }));

const sourceOf = (path: string, repo?: string) =>
  ({ kind: repo === undefined ? "folder" : "hub", path, repo }) as const;

function proverOf(store: ProofStore | null) {
  const tools = corridorTools();
  const settings = { style: "short", search: "sample", maxTokens: 100 } as const;
  const more = { store, settings, contextTokens: 150, parallel: 3, close: async () => {} };
  return { tools, prover: new Prover({ ...tools, ...more }) };
}

async function all(events: AsyncIterable<SearchEvent>): Promise<SearchEvent[]> {
  const found: SearchEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

describe("a prover", () => {
  it("asks as the model was trained to be asked, unless it is told otherwise", () => {
    const { prover } = proverOf(null);
    expect(prover.searchOptions()).toEqual({
      ...{ search: "sample", style: "short", parallel: 3 },
      // Half of the context is left for the prompt.
      maxTokens: 75,
    });
    expect(prover.searchOptions({ search: "rmaxts", maxTokens: 20, parallel: undefined })).toMatchObject({
      ...{ search: "rmaxts", maxTokens: 20, parallel: 3 },
    });
  });

  it("tells of a proof again from its store, and asks nobody", async () => {
    using store = await ProofStore.open(":memory:");
    const options = { search: "rmaxts", samples: 300, seed: 2, parallel: 1 } as const;
    const first = await all(proverOf(store).prover.proveTask(toyTask(), options));
    expect(first.at(-1)?.type).toBe("proved");
    const { prover, tools } = proverOf(store);
    const again = await all(prover.proveTask(toyTask(), options));
    expect(again.map(({ type }) => type)).toEqual(["root", "proved"]);
    expect(tools.generator.batches).toEqual([]);
    const anew = await all(prover.proveTask(toyTask(), { ...options, fresh: true }));
    expect(anew.length).toBe(first.length);
  });

  it("shows the official prompts' header to a released prover and to Lean, and refuses other prompts", async () => {
    const repo = "deepseek-ai/DeepSeek-Prover-V1.5-RL";
    const released = { name: repo, source: sourceOf(folder, repo) };
    const none = await proverSettings(folder);
    expect(promptSettings(none, released)).toEqual({ style: "official" });
    expect(() => promptSettings(none, released, "short")).toThrow(/only the prompts of their papers/);
    await writeFile(join(folder, "prover.json"), JSON.stringify({ style: "short", search: "sample" }));
    const own = { name: "mine", source: sourceOf(folder) };
    const settings = await proverSettings(folder);
    expect(promptSettings(settings, own)).toEqual({ style: "short", search: "sample" });
    expect(promptSettings(settings, own, "official")).toEqual({ style: "official", search: "sample" });
  });

  it("is asked as the file beside it says, also one in a GGUF file, and names what is wrong with that file", async () => {
    await writeFile(join(folder, "prover.json"), '{"style": "short"}');
    expect(await proverSettings(join(folder, "mine.gguf"))).toEqual({ style: "short" });
    for (const [text, fault] of [
      ["", /prover\.json: .*JSON/],
      ["[]", /prover\.json: .*object/],
      ['{"style": "long"}', /prover\.json: invalid setting; name: style; expected: official/],
      ['{"style": "short", "contextTokens": -1}', /prover\.json: .*name: contextTokens/],
      ['{"style": "short", "tokens": 1}', /prover\.json: .*name: tokens/],
    ] as const) {
      await writeFile(join(folder, "prover.json"), text);
      await expect(proverSettings(folder)).rejects.toThrow(fault);
    }
  });
});

describe("a filled file", () => {
  const source = "theorem t : 1 = 1 := by\r\n  sorry\r\n";
  const result = { text: source.replace("sorry", "rfl"), ends: [], fault: "" };

  it("is a patch first, and put in place only while the file is what was read", async () => {
    const path = join(folder, "a.lean");
    await writeFile(path, source);
    const filled = new FilledFile(path, source, result);
    expect(filled.patch()).toMatch(
      /^--- a\/.*a\.lean\n\+\+\+ b\/.*a\.lean\n@@[^\n]*\n[^\n]*\n- {2}sorry\r?\n\+ {2}rfl/,
    );
    await filled.apply();
    expect(await readFile(path, "utf8")).toBe("theorem t : 1 = 1 := by\r\n  rfl\r\n");
    await writeFile(path, `${source}-- edited\n`);
    await expect(filled.apply()).rejects.toThrow(/exists|a\.lean/);
    expect(await readFile(path, "utf8")).toBe(`${source}-- edited\n`);
  });
});
