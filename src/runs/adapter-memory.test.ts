import { describe, expect, it } from "vitest";
import { AdaptedModel, createAdapters } from "../models/adapted-model.ts";
import { createModel } from "../models/causal-lm.ts";
import { parseConfig } from "../models/config.ts";
import { presets } from "../models/presets.ts";
import { tinyConfigs } from "../models/testing.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { type AdapterRun, checkAdapterMemory, estimateAdapters } from "./adapter-memory.ts";

const coder = parseConfig(presets["deepseek-coder-1.3b"]);
const settings = { rank: 16, alpha: 32, targets: ["all-linear"] };
const run: AdapterRun = { config: coder, settings, base: "q4", recompute: false, tokens: 128 };
const GIB = 2 ** 30;

describe("estimateAdapters", () => {
  it.each(["q4", "q8", "bf16", "f32"] as const)("counts the weights that are made: %s", (base) => {
    const config = { ...tinyConfigs.v3, moe_intermediate_size: 16, num_nextn_predict_layers: 0 };
    const device = createReferenceDevice();
    using model = createModel(config, device, { dtype: base });
    using adapted = new AdaptedModel(model, createAdapters(model, settings, 1));
    const found = estimateAdapters({ ...run, config: parseConfig(config), base });
    expect(found.weights).toBe(model.parameters.bytes);
    expect(found.parameters).toBe(adapted.parameters.count);
    expect(found.adapters).toBe(16 * adapted.parameters.count);
    expect(found.total).toBe(found.weights + found.adapters + found.activations);
  });

  it.each([
    [128, false, 1.528],
    [512, false, 3.213],
    [512, true, 1.17],
  ])(
    "is near the measured peak of a 1.3B model in 4 bits: %i tokens, recomputed %s",
    (tokens, recompute, peak) => {
      const { total } = estimateAdapters({ ...run, tokens, recompute });
      expect(total / GIB).toBeGreaterThan(0.95 * peak);
      expect(total / GIB).toBeLessThan(1.1 * peak);
    },
  );

  it("grows with tokens, and less where blocks are recomputed", () => {
    const at = (tokens: number, recompute: boolean) =>
      estimateAdapters({ ...run, tokens, recompute }).activations -
      estimateAdapters({ ...run, tokens: 0 }).activations;
    expect(at(2048, false)).toBe(2 * at(1024, false));
    expect(at(2048, true)).toBeLessThan(at(2048, false) / 5);
    // What the documentation promises.
    expect(estimateAdapters({ ...run, tokens: 4096, recompute: true }).total).toBeLessThan(4 * GIB);
  });
});

describe("checkAdapterMemory", () => {
  const machine = { total: 8 * GIB, free: 6 * GIB };

  it("says what is needed and what there is", () => {
    const text = checkAdapterMemory(run, false, machine);
    expect(text).toMatch(
      /weights in q4 824 MB, 15(\.\d)?M parameters of adapters .*6\.44 GB of 8\.59 GB are free$/,
    );
  });

  it("refuses what the machine cannot hold, unless forced, and what no memory can, always", () => {
    const large = { ...run, tokens: 4096 };
    expect(() => checkAdapterMemory(large, false, machine)).toThrow(/exceeds this machine's memory/);
    expect(checkAdapterMemory(large, true, machine)).toMatch(/close other programs/);
    expect(() => checkAdapterMemory({ ...run, tokens: 40_000 }, true, machine)).toThrow(
      /one WebAssembly memory/,
    );
    expect(() => checkAdapterMemory({ ...run, settings: { ...settings, targets: ["qproj"] } })).toThrow(
      /q_proj/,
    );
  });
});
