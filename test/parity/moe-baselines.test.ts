import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { CausalLM, createModel } from "../../src/models/causal-lm.ts";
import { parseConfig, parseOwnConfig, toConfigJson } from "../../src/models/config.ts";
import { Captured } from "../../src/parity/comparison.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import { differentiate } from "../../src/tensor/tape.ts";
import { nextTokenBatch, nextTokenLoss } from "../../src/train/objectives/next-token.ts";
import { describeCases, type ParityCase } from "./checked-cases.ts";

const root = new URL("../fixtures/moe-baselines/", import.meta.url).pathname;
const counted: readonly ParityCase[] = [
  ["dense-wide", 24],
  ["hash", 76],
  ["switch", 80],
  ["gshard", 80],
  ["switch-capacity", 80],
  ["gshard-capacity", 80],
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
    ["gshard", { capacity_factor: 0 }, /above 0/],
    ["switch", { capacity_factor: "1" }, /capacity_factor/],
    ["hash", { capacity_factor: 1 }, /capacity_factor/],
    ["dense-wide", { capacity_factor: 1 }, /capacity_factor/],
    ["deepseekmoe", { capacity_factor: 1 }, /capacity_factor/],
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

/** A text whose tokens are few, so that its choices crowd at few experts. */
const text = [3, 50, 3, 3, 12, 3, 50, 3, 3, 12, 3, 3];

const logitsOf = (model: CausalLM, training: boolean) =>
  model.device.inference(() => [model.logits(model.hidden(model.ids([text]), { training }))])[0];

describe.each(["switch", "gshard"])("%s with a capacity", (kind) => {
  const withFactor = (capacity_factor: number | null) =>
    createModel({ ...configOf(`${kind}-capacity`), capacity_factor }, createReferenceDevice(), {
      seed: 1,
      std: 0.3,
    });

  it("drops in training passes alone", async () => {
    using dropping = withFactor(0.5);
    using without = withFactor(null);
    using scored = logitsOf(dropping, false);
    using full = logitsOf(without, true);
    using trained = logitsOf(dropping, true);
    expect(await scored.data()).toEqual(await full.data());
    expect(await trained.data()).not.toEqual(await full.data());
  });

  it("drops in the training objective where gradients are recorded, and not where held-out text is scored", async () => {
    using model = withFactor(0.5);
    const { device } = model;
    const batch = nextTokenBatch(Int32Array.from(text), 1);
    const trained = differentiate(device, () => {
      const { tokens: _, ...tensors } = nextTokenLoss(model, batch);
      return tensors;
    });
    const { tokens: _, ...scored } = device.noGrad(() => nextTokenLoss(model, batch));
    using unlimited = withFactor(1e6);
    const free = differentiate(unlimited.device, () => {
      const { tokens: _, ...tensors } = nextTokenLoss(unlimited, batch);
      return tensors;
    });
    const value = async (losses: typeof scored) => (await losses.loss.data())[0];
    expect(await value(free)).toBeCloseTo(await value(scored), 12);
    expect(Math.abs((await value(trained)) - (await value(scored)))).toBeGreaterThan(1e-4);
  });

  it("gives an expert's only place to the first token that wants it", async () => {
    using model = withFactor(1e-9);
    using captured = new Captured();
    model.device.inference(() => {
      model.hidden(model.ids([text]), { training: true, capture: captured.capture });
      return [];
    });
    const ids = Array.from(await captured.values("router.0.topk_ids"));
    const { topK } = model.config.moe!.router;
    const taken = Array.from(await captured.values("router.0.taken"));
    expect(taken).toEqual(taken.map((_, expert) => (ids.includes(expert) ? 1 : 0)));
    const kept = Array.from(await captured.values("router.0.kept"));
    const firstOf = ids.map((id, choice) => (ids.indexOf(id) === choice ? 1 : 0));
    if (topK === 1) expect(kept).toEqual(firstOf);
    else expect(kept.filter((each) => each === 1)).toHaveLength(taken.filter((each) => each === 1).length);
  });

  it("gives the same gradients where blocks are computed again", async () => {
    const gradients = async (recompute: boolean) => {
      using model = withFactor(0.5);
      const { device } = model;
      const batch = nextTokenBatch(Int32Array.from(text), 1);
      const hidden: CausalLM["hidden"] = (input, options) =>
        CausalLM.prototype.hidden.call(model, input, { ...options, recompute });
      model.hidden = hidden;
      differentiate(device, () => {
        const { tokens: _, ...tensors } = nextTokenLoss(model, batch);
        return tensors;
      });
      using gate = model.parameters.gradient("model.layers.0.mlp.gate.weight");
      return await gate!.data();
    };
    expect(await gradients(true)).toEqual(await gradients(false));
  });
});

it.each(["hash", "switch-capacity", "gshard-capacity"])(
  "%s gives for a continued sequence what it gives for the whole",
  async (name) => {
    const config = name === "hash" ? hash : configOf(name);
    using model = createModel(config, createReferenceDevice(), { seed: 1, std: 0.05 });
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
  },
);
