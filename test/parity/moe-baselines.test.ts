import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { createModel } from "../../src/models/causal-lm.ts";
import { parseConfig, parseOwnConfig, toConfigJson } from "../../src/models/config.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import { describeCases, type ParityCase } from "./checked-cases.ts";

const root = new URL("../fixtures/moe-baselines/", import.meta.url).pathname;
const counted: readonly ParityCase[] = [
  ["dense-wide", 24],
  ["hash", 76],
  ["switch", 80],
  ["gshard", 80],
  ["deepseekmoe", 224],
];
const cases = counted.map(([name]) => name);
const configOf = (name: string) => JSON.parse(readFileSync(`${root}${name}/config.json`, "utf8"));
const hash = { ...configOf("hash"), hash_seed: 3 };

describeCases(counted, (name) => nodeFolder(root + name));

describe("configurations of baselines", () => {
  it.each(cases)("%s is read back as it was written", (name) => {
    const config = parseConfig(name === "hash" ? hash : configOf(name));
    expect(parseConfig(toConfigJson(config))).toEqual(config);
  });

  it("deal token ids out evenly among the experts of a hash layer, differently for each seed", () => {
    const tableOf = (hash_seed: number) => {
      const baseline = parseConfig({ ...hash, hash_seed }).moe!.baseline!;
      if (baseline.kind !== "hash") throw new Error("no hash layer");
      return baseline.table;
    };
    const loads = Array.from({ length: 8 }, (_, e) => tableOf(3).filter((expert) => expert === e).length);
    expect(loads).toEqual(Array(8).fill(12));
    expect(tableOf(3)).toEqual(tableOf(3));
    expect(tableOf(3)).not.toEqual(tableOf(4));
  });

  it.each([
    ["gshard", { kind: "base" }, /kind/],
    ["gshard", { kind: undefined }, /kind/],
    ["gshard", { top_k: 3 }, /top_k/],
    ["gshard", { capacity_factor: 1 }, /capacity_factor/],
    ["gshard", { experts: 1 }, /experts/],
    ["switch", { normalize: true }, /normalize/],
    ["switch", { shared: 1 }, /shared/],
    ["hash", { alpha: 0.01 }, /alpha/],
    ["hash", { hash_table: [0, 1] }, /hash_table/],
    ["hash", { hash_table: Array(96).fill(8) }, /hash_table/],
    ["hash", { experts: 2 ** 25 }, /experts/],
    ["deepseekmoe", { n_routed_experts: 64 }, /[Oo]fficial/],
  ])("%s with %j is refused", (name, change, message) => {
    expect(() => parseConfig({ ...configOf(name), ...change })).toThrow(message);
  });

  it("refuse a table for a rule that has none", () => {
    expect(() => parseOwnConfig({ ...configOf("switch"), hash_seed: 1 }, "config", "")).toThrow(/hash_seed/);
  });
});

it("a hash layer needs ids, not embeddings", () => {
  using model = createModel(hash, createReferenceDevice(), { seed: 1 });
  const { device } = model;
  expect(() => device.tidy(() => [model.hidden(device.tensor(new Float32Array(64), [1, 2, 32]))])).toThrow(
    /token ids/,
  );
});

it("hash layers choose for a continued sequence as for the whole", async () => {
  using model = createModel(hash, createReferenceDevice(), { seed: 1, std: 0.05 });
  const { device } = model;
  const ids = [3, 50, 7, 91, 12];
  const [whole] = device.inference(() => [model.last(model.hidden(model.ids([ids])))]);
  using cache = model.createCache();
  device.inference(() => {
    model.hidden(model.ids([ids.slice(0, 3)]), { cache });
    return [];
  });
  const [continued] = device.inference(() => [
    model.last(model.hidden(model.ids([ids.slice(3)]), { cache })),
  ]);
  const found = await continued.data();
  for (const [i, value] of (await whole.data()).entries()) expect(found[i]).toBeCloseTo(value, 5);
  whole.dispose();
  continued.dispose();
});
